"""The lecture's picture of "it": lines from a word to those that it attends to, heads as colours.

The width of a line is the weight; its opacity grows with its share of the largest one that is
drawn, so that even weights are seen. A second set of lines, dashed, shows the deltas of
the scores: where the loss would change most.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphgrad.errors import ConfigurationError
from graphgrad.lecture.scene import HEADS, Box, Role, Scene, text_width
from graphgrad.lecture.sentences import SentenceAttention, visible

LEAST = 0.05  # weights below are not drawn
MOST = 64  # tokens of a side
_STEP, _GAP, _MARK = 24.0, 220.0, 7.0


def lines_scene(
    item: SentenceAttention, heads: Sequence[int], deltas: bool = True, word: int | None = None
) -> Scene:
    """The weights and beside them the deltas, with the heads' colours above.

    With `word`, only the lines of the query at that place; each key has a mark for each head, as
    strong as its weight.
    """
    scene = Scene()
    for scene_of in lines_scenes(item, heads, deltas, word):
        start = scene.extent()[2] + 50 if scene.items else 0.0
        scene.items += scene_of.moved(start - scene_of.extent()[0], 0).items
    return scene


def lines_scenes(
    item: SentenceAttention, heads: Sequence[int], deltas: bool = True, word: int | None = None
) -> list[Scene]:
    """The parts of `lines_scene`: the weights, and the deltas if there are any."""
    found = [_lines("weights", item, item.weights, heads, word)]
    if deltas and item.deltas is not None:
        chosen = item.deltas[list(heads)] if word is None else item.deltas[list(heads), word]
        largest = float(np.abs(chosen).max()) or 1.0
        strengths = np.abs(item.deltas) / largest
        found.append(_lines("δ of the scores", item, strengths, heads, word))
    return found


def _lines(
    title: str,
    item: SentenceAttention,
    strengths: np.ndarray,
    heads: Sequence[int],
    word: int | None,
) -> Scene:
    """Both columns of words and the lines between them."""
    scene = Scene()
    queries, keys = (_readable(side) for side in (item.queries, item.keys))
    left = max(text_width(token, 13) for token in queries) + 10
    right = left + _GAP
    whose = "each word" if word is None else f"{queries[word]!r}"
    _legend(scene, heads, f"{title}: from {whose}")
    rows = range(len(queries)) if word is None else (word,)
    largest = float(strengths[list(heads)][:, list(rows)].max()) or 1.0
    for number, head in enumerate(heads):
        shift = (number - (len(heads) - 1) / 2) * min(2.4, 14 / len(heads))
        for row in rows:
            for column in range(len(keys)):
                strength = float(strengths[head, row, column])
                if strength >= LEAST:
                    scene.line(
                        (left + 4, _STEP * row + 9 + shift),
                        (right - 4, _STEP * column + 9 + shift),
                        role=HEADS[head % len(HEADS)],
                        width=0.6 + 3.4 * strength,
                        strength=0.15 + 0.8 * (strength / largest) ** 0.5,
                        dashed=title != "weights",
                    )
    for row, token in enumerate(queries):
        role: Role = "ink" if word in (None, row) else "muted"
        scene.text(left - 2, _STEP * row + 9, token, 13, role, "end", bold=row == word)
    room = 0.0 if word is None else _MARK * len(heads) + 6
    for column, token in enumerate(keys):
        if word is not None:
            _marks(scene, right, _STEP * column + 9, strengths[:, word, column], heads)
        scene.text(right + 2 + room, _STEP * column + 9, token, 13, anchor="start")
    return scene


def _legend(scene: Scene, heads: Sequence[int], title: str) -> None:
    """What is drawn, and below it the colours of the heads, eight in a row."""
    rows = (len(heads) + 7) // 8
    scene.text(0, -26.0 - 22 * rows, title, 12.5, "muted", "start")
    for number, head in enumerate(heads):
        x, y = 74.0 * (number % 8), -26.0 - 22 * (rows - 1 - number // 8)
        scene.line((x, y), (x + 14, y), role=HEADS[head % len(HEADS)], width=5)
        scene.text(x + 19, y, f"head {head}", 12, anchor="start")


def _marks(scene: Scene, x: float, y: float, strengths: np.ndarray, heads: Sequence[int]) -> None:
    """A mark for each head, as strong as its weight."""
    for number, head in enumerate(heads):
        role = HEADS[head % len(HEADS)]
        strength = min(float(strengths[head]), 1.0)
        scene.add(Box(x + _MARK * number, y - 8, _MARK - 1, 16, None, role, strength))


def _readable(tokens: Sequence[str]) -> list[str]:
    if len(tokens) > MOST:
        raise ConfigurationError(
            f"the sentence has {len(tokens)} tokens, and {MOST} can be drawn", fix="shorten it"
        )
    return [visible(token) for token in tokens]
