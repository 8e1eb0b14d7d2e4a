"""Draws decoding: teacher forcing beside autoregressive decoding, and the output layer's choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphgrad.lecture.notation import Notation
from graphgrad.lecture.scene import Box, Role, Scene, text_width, words

_ROW, _HIGH, _BETWEEN = 40.0, 28.0, 62.0


@dataclass(frozen=True)
class Step:
    """A place of the answer: what the decoder reads, what it gives, and the probability."""

    read: str
    given: str
    probability: float
    right: bool = True
    """Whether what is given is what the target has at this place."""


def ways_scenes(forced: Sequence[Step], free: Sequence[Step], part: int | None) -> list[Scene]:
    """Both ways, place by place from above; a line where they part.

    In autoregressive decoding an arrow leads from what is given to what is read next.
    """
    tokens = [
        text for steps in (forced, free) for step in steps for text in (step.read, step.given)
    ]
    wide = max(56.0, *(text_width(token, 13) * 1.06 + 18 for token in tokens))
    sides = (("Teacher forcing", "target", forced), ("Autoregressive", "its own", free))
    return [_way(title, reads, steps, wide, part) for title, reads, steps in sides]


def _way(title: str, reads: str, steps: Sequence[Step], wide: float, part: int | None) -> Scene:
    scene, own = Scene(), reads == "its own"
    left, right = 40.0, 40.0 + wide + _BETWEEN
    scene.text(0, -46, title, 14, anchor="start", bold=True)
    scene.text(left + wide / 2, -20, f"reads {reads}", 12, "muted")
    scene.text(right + wide / 2, -20, "gives", 12, "muted")
    for place, step in enumerate(steps):
        top = _ROW * place
        scene.text(24, top + _HIGH / 2, str(place), 12, "muted", "end")
        first: Role = "input" if not own or not place else "value"
        scene.add(_token(step.read, left, top, wide, first))
        scene.line(
            (left + wide, top + _HIGH / 2), (right, top + _HIGH / 2), role="muted", arrow=True
        )
        scene.add(_token(step.given, right, top, wide, "value" if step.right else "delta"))
        note = f"{step.probability:.2f}" + ("" if step.right else "  wrong")
        role: Role = "muted" if step.right else "delta"
        scene.text(right + wide + 8, top + _HIGH / 2, note, 12, role, "start")
        if own and place + 1 < len(steps):
            scene.line(
                (right, top + _HIGH - 4), (left + wide, top + _ROW + 4), role="value", arrow=True
            )
    if part is not None and 0 < part < len(steps):
        y = _ROW * part - (_ROW - _HIGH) / 2
        scene.line((0, y), (right + wide + 70, y), role="delta", dashed=True)
        scene.text(right + wide + 74, y, "here they part", 12, "delta", "start")
    return scene


def _token(text: str, x: float, y: float, wide: float, role: Role) -> Box:
    inside = words(x + wide / 2, y + _HIGH / 2, text, 13, bold=True)
    return Box(x, y, wide, _HIGH, role, role, round=5, texts=(inside,))


def output_scene(vocabulary: int, best: str) -> Scene:
    """The way from the decoder to a word, as on the slide."""
    scene = Scene()
    steps: tuple[tuple[str, str, Role], ...] = (
        ("decoder", "its last layer", "value"),
        ("Linear: logits", f"[{vocabulary}]", "violet"),
        ("log softmax", f"log-probabilities [{vocabulary}]", "delta"),
        ("argmax", best, "output"),
    )
    x = 0.0
    for number, (title, below, role) in enumerate(steps):
        box = scene.box(x, 0, [title, below], role, role, 110)
        if number + 1 < len(steps):
            scene.line(
                (x + box.width, box.height / 2), (x + box.width + 34, box.height / 2), arrow=True
            )
        x += box.width + 34
    return scene


def probability_bars(rows: Sequence[tuple[str, float, float, float]]) -> Scene:
    """For each token (name, logit, log-probability, probability) a bar, the most probable first."""
    scene = Scene()
    margin = max(50.0, *(text_width(name, 13) for name, *_ in rows)) + 10
    columns = (margin + 54, margin + 124)
    for x, title in zip(columns, ("logit", "log p"), strict=True):
        scene.text(x, 0, title, 12, "muted", "end")
    scene.text(columns[1] + 24, 0, Notation("p = e^{log p}"), 12, "muted", "start")
    for number, (name, logit, log, probability) in enumerate(rows):
        y = 24.0 + 24 * number
        scene.text(margin - 8, y, name, 13, anchor="end", bold=not number)
        for x, value in zip(columns, (logit, log), strict=True):
            scene.text(x, y, f"{value:.2f}".replace("-", "−"), 12.5, anchor="end")
        left, long = columns[1] + 24, max(240 * probability, 1.0)
        scene.add(Box(left, y - 9, long, 18, None, "output" if not number else "value", 0.75))
        scene.text(left + long + 8, y, f"{probability:.3f}", 12, "muted", "start")
    return scene
