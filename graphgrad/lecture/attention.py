"""Self-attention of a text as matrices, and the mask in its four steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphgrad.backprop import derive
from graphgrad.graph import Graph, input
from graphgrad.layers import attention, causal_mask
from graphgrad.lecture.blocks import Formula, Lesson, Picture, Prose, Table, shown, shown_all
from graphgrad.lecture.charts import CELL, column_width, matrix
from graphgrad.lecture.notation import Notation
from graphgrad.lecture.request import Request
from graphgrad.lecture.scene import Scene
from graphgrad.lecture.values import computed, drawn_state
from graphgrad.models.attention import self_attention
from graphgrad.ops import multiply, sum

ATTENTION = {"width": "4", "key_width": "4", "seed": "3"}
MASK = {"width": "4", "seed": "5"}
SENTENCE = "The animal was tired"


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
        Notation("Self-attention: softmax(Q K^T / √D_k) V"),
        (
            Prose(
                Notation(
                    "Each word asks with its query which words it attends to; the keys answer, and "
                    "the values are mixed. The embedding X and W^Q, W^K, W^V are drawn "
                    f"at random here (seed {seed}); training finds better ones."
                )
            ),
            Formula(
                (
                    "Q = X W^Q        K = X W^K        V = X W^V",
                    f"scores = Q K^T / √D_k    with D_k = {keys}, 1/√D_k = {shown(keys**-0.5)}",
                    "weights = softmax(scores)        Attention(Q, K, V) = weights V",
                )
            ),
            *(_matrix_table(name, found[name], tokens) for name in ("scores", "weights")),
            Picture.of("Q, K, V, scores, weights and values", *_flow(found, tokens)),
        ),
    )


def _matrix_table(title: str, values: np.ndarray, tokens: Sequence[str]) -> Table:
    rows = [[token, *shown_all(row, 2)] for token, row in zip(tokens, values, strict=True)]
    return Table(("query \\ key", *tokens), rows, title, drawn=True)


def _flow(found: Mapping[str, np.ndarray], tokens: Sequence[str]) -> list[Scene]:
    """A matrix for each value, in the order of the formula."""
    wide = column_width(tokens)
    titles = {
        "X": "X",
        **{name: f"{name} = X W^{name}" for name in "QKV"},
        "scores": "scores = Q K^T · 1/√D_k",
        "weights": "weights = softmax(scores)",
        "values": "values = weights · V",
    }
    scenes = []
    for name, title in titles.items():
        words = name in ("scores", "weights")
        scenes.append(Scene())
        matrix(
            scenes[-1],
            0,
            0,
            Notation(title),
            found[name],
            tokens,
            tokens if words else (),
            wide if words else CELL,
            line=None if words else "",
        )
    return scenes


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
    asked = {name: name for name in ("mask", "scores", "masked_scores", "weights", "values")}
    found = computed(graph, {**asked, "δ": graph.delta("scores")}, {}, **feeds)
    allowed = found["mask"]
    exact = bool((found["δ"][~allowed] == 0).all())
    titles = {
        "mask": Notation("1  mask: 1 is allowed"),
        "scores": Notation("2  scores = Q K^T / √D_k"),
        "masked_scores": Notation("3  masked scores: −∞"),
        "weights": Notation("4  weights = softmax"),
        "values": Notation("weights · V"),
        "δ": Notation("δ of the scores"),
    }
    return Lesson(
        "The mask: no word looks at a later one",
        (
            Formula(
                (
                    "mask_{ij} = 1 where j ≤ i, else 0",
                    "masked_{ij} = scores_{ij} where mask_{ij} = 1, else −∞",
                    "weights = softmax(masked)        values = weights V",
                )
            ),
            *(
                _matrix_table(titles[name], found[name].astype(float), tokens)
                for name in titles
                if name != "values"
            ),
            Prose(
                f"The deltas of the {int((~allowed).sum())} masked scores are "
                f"{'exactly 0' if exact else 'not 0'}: nothing is learned from the future."
            ),
            Picture.of("The four steps, and the deltas", *_steps(found, titles, tokens)),
        ),
    )


def _steps(
    found: Mapping[str, np.ndarray], titles: Mapping[str, str], tokens: Sequence[str]
) -> list[Scene]:
    """A matrix for each of the four steps, the values, and the deltas of the scores."""
    scenes, wide = [], column_width(tokens)
    for name, title in titles.items():
        features = name == "values"
        columns = () if features else tokens
        line = "" if features else None
        scenes.append(Scene())
        values = found[name].astype(float)
        matrix(scenes[-1], 0, 0, title, values, tokens, columns, wide, line=line)
    return scenes
