"""The slide's picture of several heads: sentence, X, each head's Q, K, V and Z, concat, W^O, Z."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphgrad.lecture.charts import matrix
from graphgrad.lecture.notation import Notation
from graphgrad.lecture.scene import HEADS, Scene, text_width

_GAP, _ABOVE = 44.0, 22.0


def split_scene(found: Mapping[str, np.ndarray], tokens: Sequence[str]) -> Scene:
    """Five columns, as on the slide; `found` has the values by name, with a batch of one."""
    scene, count = Scene(), found["weights"].shape[1]
    high = max(6.0, min(13.0, 76 / len(tokens)))
    row = high * len(tokens) + _ABOVE + 20
    total = row * count - 20
    middle = total / 2
    left = _sentence(scene, tokens, high, middle)
    right = _embedded(scene, found["X"][0], left, high, middle)
    right = _heads(scene, found, right + _GAP, high, row, middle)
    _joined(scene, found, right + _GAP, high, middle)
    return scene


def _title(scene: Scene, x: float, number: int, lines: Sequence[str]) -> None:
    """The heading of a column."""
    for place, line in enumerate(lines):
        text = f"{number}  {line}" if not place else line
        scene.text(x, -44 + 18 * place, Notation(text), 13, anchor="start", bold=not place)


def _sentence(scene: Scene, tokens: Sequence[str], high: float, middle: float) -> float:
    """The words, one below the other; returns the left edge of the next column."""
    _title(scene, 0, 1, ("sentence",))
    step = max(high, 17.0)
    for place, token in enumerate(tokens):
        y = middle + step * (place + 0.5 - len(tokens) / 2)
        scene.text(0, y, token, 13, anchor="start")
    wide = max(74.0, *(text_width(token, 13) for token in tokens))
    scene.line((wide + 4, middle), (wide + _GAP - 8, middle), arrow=True)
    return wide + _GAP


def _embedded(scene: Scene, x: np.ndarray, left: float, high: float, middle: float) -> float:
    """The embedded words."""
    _title(scene, left, 2, ("embed", "each word"))
    cell = max(1.0, min(5.0, 160 / x.shape[1]))
    top = middle - high * len(x) / 2 - _ABOVE
    right, _ = matrix(scene, left, top, "X", x, cell=cell, high=high, numbers=False)
    return max(right, left + 74)


def _heads(
    scene: Scene,
    found: Mapping[str, np.ndarray],
    left: float,
    high: float,
    row: float,
    middle: float,
) -> float:
    """A row for each head: Q, K, V, the weights, and Z; returns the right edge."""
    count, size = found["Q"].shape[1], found["Q"].shape[-1]
    cell = max(2.0, min(11.0, 60 / size))
    wide = max(cell * size, 36.0) + 14
    second = left + 3 * wide + 20
    _title(scene, left, 3, (f"split into {count} heads", "Q_i = X W_i^Q, …"))
    _title(scene, second, 4, ("attend: softmax(Q_i K_i^T / √D_k)", "Z_i = weights · V_i"))
    widest = max(high * found["weights"].shape[-1], 62.0)
    third = second + widest + 16
    after = max(third + max(cell * size, 32.0), second + 236) - 20
    for head in range(count):
        top, role = row * head, HEADS[head % len(HEADS)]
        half = top + _ABOVE + high * found["Q"].shape[2] / 2
        scene.line((left - _GAP + 6, middle), (left - 16, half), (left - 6, half), role=role)
        for place, name in enumerate("QKV"):
            title = Notation(f"{name}_{{{head}}}")
            values = found[name][0, head]
            x = left + place * wide
            matrix(scene, x, top, title, values, cell=cell, high=high, numbers=False)
        scene.line((second - 26, half), (second - 8, half), role=role, arrow=True)
        weights, values = found["weights"][0, head], found["values"][0, head]
        name = Notation(f"weights_{{{head}}}")
        matrix(scene, second, top, name, weights, cell=high, high=high, numbers=False, scale=1.0)
        z = Notation(f"Z_{{{head}}}")
        right, _ = matrix(scene, third, top, z, values, cell=cell, high=high, numbers=False)
        scene.line((right + 6, half), (after + 14, half), (after + 28, middle), role=role)
    return float(after)


def _joined(
    scene: Scene, found: Mapping[str, np.ndarray], left: float, high: float, middle: float
) -> None:
    """Concat, the matrix W^O and their product Z."""
    _title(scene, left, 5, ("concat Z_0, Z_1, …,", "multiply by W^O"))
    concat, result, weights = found["concat"][0], found["output.a"][0], found["output.w"]
    cell = max(1.0, min(5.0, 180 / concat.shape[1]))
    block = high * len(concat) + _ABOVE
    side = cell * len(weights) + _ABOVE
    top = middle - (2 * block + side + 56) / 2
    matrix(scene, left, top, "concat", concat, cell=cell, high=high, numbers=False)
    below = top + block + 28
    matrix(scene, left, below, Notation("× W^O"), weights, cell=cell, high=cell, numbers=False)
    last = below + side + 28
    matrix(scene, left, last, "= Z", result, cell=cell, high=high, numbers=False)
