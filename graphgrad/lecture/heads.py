"""Several heads: how they are split and joined, and lines from word to word, heads as colours.

With a run, the sentence is read by the run's own model; without one, by attention whose matrices
are drawn at random. The deltas of the scores are a second set of lines, dashed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphgrad.backprop import derive
from graphgrad.errors import ConfigurationError, UnknownNameError
from graphgrad.figures.attention import attention_values, by_example, find_attentions
from graphgrad.figures.token_labels import token_labels, tokens_text
from graphgrad.graph import Graph, input
from graphgrad.layers import multi_head_attention
from graphgrad.lecture.blocks import Block, Formula, Lesson, Picture, Prose, Table, shown
from graphgrad.lecture.charts import matrix
from graphgrad.lecture.request import Request
from graphgrad.lecture.scene import Box, Scene, text_width
from graphgrad.lecture.values import computed, drawn_state
from graphgrad.text import suggestion
from graphgrad.training.runs import OpenRun

HEADS = {"heads": "8", "width": "32", "seed": "3", "attention": "", "of": "", "answer": ""}
COLOURS = ("#d1495b", "#2563a8", "#2f7d5b", "#c2701c", "#6d4aa3", "#0f8b8d", "#a15c38", "#7a8794")
LEAST = 0.05  # weights below are not drawn
MOST = 64  # tokens of a side


@dataclass(frozen=True, eq=False)
class SentenceAttention:
    """The attention of a sentence: weights [head, query, key], and the deltas of the scores."""

    name: str
    weights: np.ndarray
    deltas: np.ndarray | None
    queries: tuple[str, ...]
    keys: tuple[str, ...]


def sentence_attentions(run: OpenRun, text: str, answer: str = "") -> list[SentenceAttention]:
    """Every attention of a run for a sentence, in the order of the graph.

    The deltas are those of the loss of `answer`, by default what the model itself answers. Raises
    ConfigurationError for a model that reads no text.
    """
    prompts = run.task.prompts
    if prompts is None:
        raise ConfigurationError(
            f"the model {run.model.short_name} reads no text", fix="use a run of transformer or gpt"
        )
    feeds = prompts.feeds([text], answer or prompts.answer(run.state, text))
    graph = derive(prompts.graph, "loss")
    found = list(find_attentions(graph))
    if not found:
        raise UnknownNameError("the model has no attention", fix="use a run of transformer or gpt")
    values = attention_values(graph, found, feeds, run.state)
    result = []
    for item in found:
        sides = [_tokens(run, feeds, name) for name in (item.query, item.key)]
        weights = by_example(values[item.weights])[0]
        queries, keys = (
            side or tuple(map(str, range(size)))
            for side, size in zip(sides, weights.shape[1:], strict=True)
        )
        deltas = None if item.delta is None else by_example(values[item.delta])[0]
        name = graph.name_of(item.weights).rpartition(".")[0]
        result.append(SentenceAttention(name, weights, deltas, queries, keys))
    return result


def _tokens(run: OpenRun, feeds: dict[str, np.ndarray], name: str | None) -> tuple[str, ...] | None:
    """The tokens of an input of ids: of the vocabulary of its axis, else of that of the logits."""
    prompts = run.task.prompts
    if name is None or prompts is None:
        return None
    ids = feeds[name][0].tolist()
    tokens = token_labels(prompts.graph, run.task.files, run.task.labels).get(name)
    return tuple(map(prompts.token, ids)) if tokens is None else tokens_text(ids, tokens)


def chosen(found: Sequence[SentenceAttention], name: str) -> SentenceAttention:
    """The attention of a name; the first by default."""
    names = [item.name for item in found]
    if not name:
        return found[0]
    if name not in names:
        raise UnknownNameError(
            f"no attention is called {name!r:.60}", fix=suggestion(name, names, "attentions")
        )
    return found[names.index(name)]


def heads_of(text: str, count: int) -> tuple[int, ...]:
    """Numbers of heads, from 0: `0, 3`; all by default."""
    try:
        found = (
            tuple(int(part) for part in text.split(",")) if text.strip() else tuple(range(count))
        )
    except ValueError:
        found = ()
    if not found or not all(0 <= head < count for head in found):
        raise ConfigurationError(
            f"the heads are 0 to {count - 1}, not {text!r:.60}", fix="--set of=0,1"
        )
    return found


def heads_lesson(request: Request) -> Lesson:
    """Two heads in two colours, all heads, and what is concatenated and multiplied by W_O."""
    if request.run is None:
        item, blocks = _fresh(request)
    else:
        if not request.text.strip():
            raise ConfigurationError("a sentence is needed", fix='graphgrad show heads RUN "…"')
        found = sentence_attentions(request.run, request.text, request.options["answer"])
        item = chosen(found, request.options["attention"])
        blocks = [
            Prose(
                f"{item.name} of {request.run.folder.path.name} after step {request.run.step}; it "
                f"has {', '.join(each.name for each in found)} (--set attention=…)."
            )
        ]
    heads = heads_of(request.options["of"], len(item.weights))
    two = heads if request.options["of"] else _different(item)
    pictures = [Picture(f"Heads {', '.join(map(str, two))}", lines_scene(item, two))]
    if heads != two:
        pictures.append(Picture("All heads", lines_scene(item, heads)))
    return Lesson(
        "Several heads of attention",
        (*blocks, *(_strongest(item, head) for head in two), *pictures),
    )


def _different(item: SentenceAttention) -> tuple[int, ...]:
    """The two heads whose weights differ most."""
    pairs = [(a, b) for a in range(len(item.weights)) for b in range(a)]
    if not pairs:
        return (0,)
    return tuple(
        sorted(
            max(pairs, key=lambda pair: float(np.abs(np.subtract(*item.weights[list(pair)])).sum()))
        )
    )


def _strongest(item: SentenceAttention, head: int) -> Table:
    """For each query the key with the largest weight of a head."""
    rows = []
    for token, weights in zip(item.queries, item.weights[head], strict=True):
        best = int(weights.argmax())
        rows.append([token, item.keys[best], shown(float(weights[best]), 2)])
    return Table(("word", "attends most to", "weight"), rows, f"Head {head}", 2)


def _fresh(request: Request) -> tuple[SentenceAttention, list[Block]]:
    tokens = request.words(2, 12)
    width, count = request.whole("width", 2, 512), request.whole("heads", 1, 16)
    if width % count or width < 2 * count:
        raise ConfigurationError(
            f"a width of {width} does not split into {count} heads of 2 or more features",
            fix=f"--set width={4 * count}",
        )
    seed = request.whole("seed", 0, 10**6)
    x = input("X", (1, len(tokens), width), "float64")
    graph = Graph({"y": multi_head_attention(x, x, None, count)})
    names = ("Q", "scores", "weights", "values", "concat", "output.a")
    embedded = np.random.default_rng(seed).normal(size=(1, len(tokens), width))
    asked = {name: f"attention.{name}" for name in names}
    found = computed(graph, asked, drawn_state(graph, seed + 1), X=embedded)
    shapes = " → ".join(
        f"{name} [{', '.join(map(str, found[name].shape[1:]))}]"
        for name in ("Q", "weights", "values", "concat", "output.a")
    )
    item = SentenceAttention("attention", found["weights"][0], None, tokens, tokens)
    blocks: list[Block] = [
        Prose(
            f"The width {width} is split into {count} heads of D_k = {width // count}; each looks "
            "at the sentence in its own way. What the heads give is put side by side (concat) and "
            f"multiplied by W_O. The matrices are drawn at random here (seed {seed}); a RUN shows "
            "trained ones."
        ),
        Formula(("Z = Concat(head_1, …, head_h) W_O", shapes)),
        Picture("Split, attend, concat, W_O", _pipeline(found, tokens)),
    ]
    return item, blocks


def _pipeline(found: dict[str, np.ndarray], tokens: Sequence[str]) -> Scene:
    """The weights of every head as small heat maps, then concat and its product with W_O."""
    scene, cell, count = Scene(), 15.0, found["weights"].shape[1]
    across = max(len(tokens) * cell + 34, 120.0)
    low = 0.0
    for head in range(count):
        column, row = head % 4, head // 4
        top = row * (len(tokens) * cell + 54)
        _, low = matrix(
            scene,
            column * across,
            top,
            f"head {head}",
            found["weights"][0, head],
            cell=cell,
            numbers=False,
            scale=1.0,
        )
    names = (("concat", "concat: the values of all heads"), ("output.a", "Z = concat · W_O"))
    for name, title in names:
        small = min(cell, 640 / found[name].shape[-1])
        _, low = matrix(scene, 0, low + 26, title, found[name][0], cell=small, numbers=False)
    return scene


# ---------------------------------------------------------------- lines


def lines_scene(item: SentenceAttention, heads: Sequence[int], deltas: bool = True) -> Scene:
    """Lines from each word to those that it attends to, a colour for each head.

    The width of a line is the weight. Where there are deltas of the scores, dashed lines at the
    right of a second copy show where the loss would change most.
    """
    scene = Scene()
    right = _lines(scene, 0.0, "weights", item, item.weights, heads)
    if deltas and item.deltas is not None:
        largest = float(np.abs(item.deltas[list(heads)]).max()) or 1.0
        _lines(scene, right + 60, "δ of the scores", item, np.abs(item.deltas) / largest, heads)
    for number, head in enumerate(heads):
        left = 96.0 * (number % 8)
        top = -46.0 - 24 * (number // 8)
        scene.line((left, top), (left + 22, top), width=4, colour=COLOURS[head % len(COLOURS)])
        scene.text(left + 28, top, f"head {head}", 12.5, anchor="start")
    return scene


def _lines(
    scene: Scene,
    x: float,
    title: str,
    item: SentenceAttention,
    strengths: np.ndarray,
    heads: Sequence[int],
) -> float:
    """Both columns of words and the lines between them; returns the right edge."""
    queries, keys = (_readable(side) for side in (item.queries, item.keys))
    left = x + max(text_width(word, 13) for word in queries) + 8
    right = left + 190
    step = 24.0
    dashed = title != "weights"
    scene.text(x, -18, f"{title}: word → what it attends to", 12.5, "muted", "start")
    for head in heads:
        colour = COLOURS[head % len(COLOURS)]
        shift = (heads.index(head) - (len(heads) - 1) / 2) * min(2.4, 14 / len(heads))
        for row in range(len(queries)):
            for column in range(len(keys)):
                strength = float(strengths[head, row, column])
                if strength >= LEAST:
                    scene.line(
                        (left + 4, step * row + 9 + shift),
                        (right - 4, step * column + 9 + shift),
                        width=0.6 + 3.4 * strength,
                        strength=0.15 + 0.8 * strength,
                        colour=colour,
                        dashed=dashed,
                    )
    for row, word in enumerate(queries):
        scene.text(left - 2, step * row + 9, word, 13, anchor="end")
    for row, word in enumerate(keys):
        scene.text(right + 2, step * row + 9, word, 13, anchor="start")
        for number, head in enumerate(heads):
            if len(heads) <= 3:
                total = float(strengths[head, :, row].max())
                scene.add(
                    Box(
                        right - 3.5,
                        step * row + 4 + 4 * number,
                        3,
                        3,
                        None,
                        "muted",
                        min(total, 1.0),
                    )
                )
    return right + max(text_width(word, 13) for word in keys)


def _readable(tokens: Sequence[str]) -> list[str]:
    if len(tokens) > MOST:
        raise ConfigurationError(
            f"the sentence has {len(tokens)} tokens, and {MOST} can be drawn", fix="shorten it"
        )
    return [token.replace(" ", "␣") or "␣" for token in tokens]
