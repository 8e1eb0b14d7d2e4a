"""Attention step by step: the look-up with numbers, self-attention, heads, and the mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphgrad.backprop import derive
from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph, input
from graphgrad.layers import attention, causal_mask
from graphgrad.lecture.blocks import Formula, Lesson, Picture, Prose, Table, shown, shown_all
from graphgrad.lecture.charts import bars, column_width, matrix
from graphgrad.lecture.request import Request
from graphgrad.lecture.scene import Scene
from graphgrad.lecture.values import computed, drawn_state
from graphgrad.models.attention import self_attention
from graphgrad.ops import multiply, sum

LOOKUP = {"scores": "112, 96", "width": "64", "values": "1, 2"}
ATTENTION = {"width": "4", "key_width": "4", "seed": "3"}
MASK = {"width": "4", "seed": "5"}
SENTENCE = "The animal was tired"


def lookup_lesson(request: Request) -> Lesson:
    """A query to a store of keys and values: inner products, ÷ √D_k, softmax, the mixture."""
    wanted, width = np.array(request.numbers("scores")), request.whole("width", 1, 4096)
    values = np.array(request.numbers("values"))
    if len(values) != len(wanted):
        raise ConfigurationError(
            f"there are {len(wanted)} scores and {len(values)} values; each key has one value",
            fix="--set values=" + ",".join(str(n) for n in range(1, len(wanted) + 1)),
        )
    # a query of ones, and keys of equal elements whose inner products with it are the scores
    feeds = {
        "q": np.ones((1, width)),
        "k": np.repeat(wanted[:, None] / width, width, axis=1),
        "v": values[:, None],
    }
    q, k = input("q", (1, width), "float64"), input("k", (len(wanted), width), "float64")
    v = input("v", (len(wanted), 1), "float64")
    graph = Graph({"o": attention(q, k, v)})
    asked = {name: name for name in ("matches", "scores", "weights", "values")}
    found = computed(graph, asked, {}, **feeds)
    steps = [
        shown_all(found[name][0], 2 if name == "weights" else 6)
        for name in ("matches", "scores", "weights")
    ]
    rows = [
        [f"k_{n + 1}", *(step[n] for step in steps), shown(values[n])] for n in range(len(wanted))
    ]
    answer = " + ".join(f"{a} · {shown(b)}" for a, b in zip(steps[2], values, strict=True))
    scene = Scene()
    shares = [
        (f"k_{n + 1}", float(found["weights"][0, n]), f"α = {steps[2][n]}")
        for n in range(len(wanted))
    ]
    bars(scene, 0, 0, "The attention weights α of the query", shares)
    return Lesson(
        "Attention as a look-up of values by their keys",
        (
            Formula(
                (
                    "score(q, k) = q · k      α_n = exp(score_n) / Σ exp(score)      o = Σ α_n v_n",
                    f"D_k = {width}, √D_k = {shown(width**0.5)}",
                )
            ),
            Table(("key", "q · k", "÷ √D_k", "softmax", "value v"), rows, "Step by step"),
            Prose(f"The answer is o = {answer} = {shown(float(found['values'][0, 0]))}."),
            Picture("The weights", scene),
        ),
    )


def attention_lesson(request: Request) -> Lesson:
    """Self-attention of the words of a text: Q, K, V, scores, weights and values as matrices."""
    tokens = request.words(2, 8)
    width, keys = request.whole("width", 2, 8), request.whole("key_width", 2, 8)
    x = input("X", (len(tokens), width), "float64")
    graph = Graph({"y": self_attention(x, keys, keys)})
    seed = request.whole("seed", 0, 10**6)
    embedded = np.random.default_rng(seed).normal(size=(len(tokens), width))
    asked = {"X": "X"} | {
        name: f"attention.{name}"
        for name in ("Q", "K", "V", "matches", "scores", "weights", "values")
    }
    found = computed(graph, asked, drawn_state(graph, seed + 1), X=embedded)
    return Lesson(
        "Self-attention: softmax(Q Kᵀ / √D_k) V",
        (
            Prose(
                "Each word asks with its query which words it attends to; the keys answer, and the "
                "values are mixed. The embedding X and the matrices W^Q, W^K, W^V are drawn at "
                f"random here (seed {seed}); training finds better ones."
            ),
            Formula(
                (
                    "Q = X W^Q        K = X W^K        V = X W^V",
                    f"scores = Q Kᵀ / √D_k, with D_k = {keys}, 1/√D_k = {shown(keys**-0.5)}",
                    "weights = softmax(scores)        Attention(Q, K, V) = weights V",
                )
            ),
            *(_matrix_table(name, found[name], tokens) for name in ("scores", "weights")),
            Picture("Q, K, V, scores, weights and values", _flow(found, tokens)),
        ),
    )


def _matrix_table(title: str, values: np.ndarray, tokens: Sequence[str]) -> Table:
    rows = [[token, *shown_all(row, 2)] for token, row in zip(tokens, values, strict=True)]
    return Table(("query \\ key", *tokens), rows, title)


def _flow(found: Mapping[str, np.ndarray], tokens: Sequence[str]) -> Scene:
    scene = Scene()
    wide = column_width(tokens)
    right, bottom = matrix(scene, 0, 0, "X", found["X"], tokens)
    for name in ("Q", "K", "V"):
        right, _ = matrix(scene, right + 40, 0, f"{name} = X W_{name}", found[name])
    top, right = bottom + 40, 0.0
    for name, title in (("scores", "scores = Q Kᵀ · 1/√D_k"), ("weights", "weights = softmax")):
        left = right + (60 if right else 0)
        right, _ = matrix(scene, left, top, title, found[name], tokens, tokens, wide)
    matrix(scene, right + 60, top + 18, "weights · V", found["values"])
    return scene


# ---------------------------------------------------------------- the mask


def mask_lesson(request: Request) -> Lesson:
    """The mask of a decoder in four steps, and the deltas of masked scores, which are exactly 0."""
    tokens = request.words(2, 8)
    width, seed = request.whole("width", 2, 8), request.whole("seed", 0, 10**6)
    q, k, v = (input(name, (len(tokens), width), "float64") for name in "QKV")
    y = attention(q, k, v, causal_mask(len(tokens), name="mask"))
    graph = derive(Graph({"loss": sum(multiply(y, y), name="loss")}), "loss")
    generator = np.random.default_rng(seed)
    feeds = {name: generator.normal(size=(len(tokens), width)) for name in "QKV"}
    asked = {name: name for name in ("mask", "scores", "masked_scores", "weights")}
    found = computed(graph, {**asked, "δ": graph.delta("scores")}, {}, **feeds)
    allowed = found["mask"]
    exact = bool((found["δ"][~allowed] == 0).all())
    scene, right, wide = Scene(), 0.0, column_width(tokens)
    titles = {
        "mask": "1  mask: 1 is allowed",
        "scores": "2  scores Q Kᵀ / √D_k",
        "masked_scores": "3  masked: −∞",
        "weights": "4  weights = softmax",
        "δ": "δ of the scores",
    }
    for place, (name, title) in enumerate(titles.items()):
        row, column = divmod(place, 2)
        height = 28 * len(tokens) + 80
        left = right + 50 if column else 0.0
        right, _ = matrix(
            scene, left, row * height, title, found[name].astype(float), tokens, tokens, wide
        )
    return Lesson(
        "The mask: no word looks at a later one",
        (
            Formula(
                (
                    "mask_ij = 1 where j ≤ i        masked_ij = scores_ij where mask, else −∞",
                    "weights = softmax(masked)        values = weights V",
                )
            ),
            *(_matrix_table(titles[name], found[name].astype(float), tokens) for name in titles),
            Prose(
                f"The deltas of the {int((~allowed).sum())} masked scores are "
                f"{'exactly 0' if exact else 'not 0'}: nothing is learned from the future."
            ),
            Picture("The four steps, and the deltas", scene),
        ),
    )
