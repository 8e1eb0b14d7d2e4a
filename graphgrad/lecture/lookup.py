"""The look-up of a value by its key, as on the slide: q · k, ÷ √D_k, softmax, the sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph, input
from graphgrad.layers import attention
from graphgrad.lecture.blocks import Formula, Lesson, Picture, Prose, Table, shown, shown_all
from graphgrad.lecture.notation import Notation
from graphgrad.lecture.request import Request
from graphgrad.lecture.scene import Box, Role, Scene, text_width, words
from graphgrad.lecture.values import computed

LOOKUP = {"scores": "112, 96", "width": "64", "values": "1, 2"}
WORDS = "Thinking Machines"
MOST = 12  # keys
_LEFT, _ROW, _HIGH = 170.0, 52.0, 34.0


@dataclass(frozen=True)
class Found:
    """What the graph of the look-up computes, as texts: one for each key, and the answer."""

    steps: tuple[tuple[str, ...], ...]
    """q · k, then ÷ √D_k, then softmax."""
    weights: np.ndarray
    products: tuple[str, ...]
    answer: str


def lookup_lesson(request: Request) -> Lesson:
    """A query to a store of keys and values: inner products, ÷ √D_k, softmax, the mixture."""
    wanted, width = np.array(request.numbers("scores")), request.whole("width", 1, 4096)
    values = np.array(request.numbers("values"))
    if len(values) != len(wanted):
        raise ConfigurationError(
            f"there are {len(wanted)} scores and {len(values)} values; each key has one value",
            fix="--set values=" + ",".join(str(n) for n in range(1, len(wanted) + 1)),
        )
    if len(wanted) > MOST:
        raise ConfigurationError(f"there are {len(wanted)} scores, and {MOST} can be shown")
    names = _words(request, len(wanted))
    found = looked_up(wanted, values, width)
    value_texts = shown_all(values)
    rows = [
        [Notation(f"k_{n + 1}"), *(step[n] for step in found.steps), value_texts[n]]
        for n in range(len(wanted))
    ]
    mixture = " + ".join(f"{a} · {b}" for a, b in zip(found.steps[2], value_texts, strict=True))
    headings = ("key", "q · k", Notation("÷ √D_k"), "softmax", "value v")
    return Lesson(
        "Attention as a look-up of values by their keys",
        (
            Formula(
                (
                    "score(q, k) = q · k      α_n = exp(score_n) / Σ exp(score)      o = Σ α_n v_n",
                    f"D_k = {width}, √D_k = {shown(width**0.5)}",
                )
            ),
            Table(headings, rows, "Step by step", drawn=True),
            Prose(f"The answer is o = {mixture} = {found.answer}."),
            Picture(
                "From the query to its answer",
                _drawing(found, value_texts, names, f"÷ √D_k = {shown(width**0.5)}"),
            ),
        ),
    )


def _words(request: Request, count: int) -> tuple[str, ...]:
    """A word for each key; those by default only if their number fits."""
    given = request.words(0, MOST)
    if len(given) == count:
        return given
    if not given or request.text == WORDS:
        return ()
    raise ConfigurationError(
        f"there are {count} scores and {len(given)} words; each word has one key"
    )


def looked_up(scores: np.ndarray, values: np.ndarray, width: int) -> Found:
    """The attention of a query of ones to keys of equal elements with these inner products."""
    feeds = {
        "q": np.ones((1, width)),
        "k": np.repeat(scores[:, None] / width, width, axis=1),
        "v": values[:, None],
    }
    q, k = input("q", (1, width), "float64"), input("k", (len(scores), width), "float64")
    v = input("v", (len(scores), 1), "float64")
    graph = Graph({"o": attention(q, k, v)})
    asked = {name: name for name in ("matches", "scores", "weights", "values")}
    found = computed(graph, asked, {}, **feeds)
    weights = found["weights"][0]
    return Found(
        tuple(
            shown_all(found[name][0], 2 if name == "weights" else 6)
            for name in ("matches", "scores", "weights")
        ),
        weights,
        shown_all(weights * values, 2),
        shown(float(found["values"][0, 0])),
    )


def _drawing(found: Found, values: Sequence[str], names: Sequence[str], divided: str) -> Scene:
    """The slide: a column for each key, a row for each step, from the query down to the answer."""
    scene = Scene()
    texts = [*names, *values, *(text for step in found.steps for text in step)]
    wide = max(76.0, *(text_width(text, 14) + 20 for text in texts))
    columns = [_LEFT + (wide + 34) * n for n in range(len(values))]
    middle = (columns[0] + columns[-1] + wide) / 2
    top = 0.0
    if names:
        scene.text(0, top, "Input", 13, "muted", "start")
        for x, name in zip(columns, names, strict=True):
            scene.text(x + wide / 2, top, name, 14, bold=True)
        top += 30
    titles = ("Score: query · key", divided, "Softmax", "Softmax × value", "Sum")
    scene.text(0, top + _HIGH / 2, "Query", 13, "muted", "start")
    scene.add(_cell("q_1", middle - wide / 2, top, wide, "input"))
    below = top + _ROW + 14
    scene.text(0, below + _HIGH / 2, "Keys", 13, "muted", "start")
    for n, x in enumerate(columns):
        strength = float(found.weights[n])
        scene.line(
            (middle, top + _HIGH), (x + wide / 2, below), role="value", width=1 + 3 * strength
        )
        scene.add(_cell(f"k_{n + 1}", x, below, wide, "weight"))
    last = below
    rows = [*found.steps, tuple(f"{p}" for p in found.products)]
    for number, (title, row) in enumerate(zip(titles, rows, strict=False)):
        last = below + _ROW * (number + 1)
        scene.text(0, last + _HIGH / 2, Notation(title), 13, "muted", "start")
        for n, (x, text) in enumerate(zip(columns, row, strict=True)):
            scene.line((x + wide / 2, last - _ROW + _HIGH), (x + wide / 2, last), arrow=True)
            shade = float(found.weights[n]) if number >= 2 else 0.0
            scene.add(_number(text, x, last, wide, shade))
            if number == 3:
                scene.text(
                    x + wide / 2 + 6,
                    last - 9,
                    Notation(f"· v_{n + 1} = {values[n]}"),
                    11.5,
                    "output",
                    "start",
                )
    down = last + _ROW + 14
    for x in columns:
        scene.line((x + wide / 2, last + _HIGH), (middle, down), arrow=True)
    scene.text(0, down + _HIGH / 2, titles[4], 13, "muted", "start")
    answer = f"o_1 = {found.answer}"
    size = max(wide, text_width(answer, 14) + 20)
    scene.add(_cell(answer, middle - size / 2, down, size, "output"))
    return scene


def _cell(text: str, x: float, y: float, wide: float, role: Role) -> Box:
    inside = words(x + wide / 2, y + _HIGH / 2, Notation(text), 14, bold=True)
    return Box(x, y, wide, _HIGH, role, role, round=6, texts=(inside,))


def _number(text: str, x: float, y: float, wide: float, shade: float) -> Box:
    inside = words(x + wide / 2, y + _HIGH / 2, text, 14, on=shade > 0.62)
    return Box(x, y, wide, _HIGH, "faint", "value", shade, texts=(inside,))
