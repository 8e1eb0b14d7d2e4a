"""Reads the layers of a Transformer off the scopes of a graph, and draws stacks of them.

A layer is the list of its parts in the order in which the graph computes them: attention (masked if
its mask depends on positions), the position-wise network, sums and norms. So a model that
normalises before its sublayers is drawn that way. What is added to the embedding, and what is
between the last layer and the logits, is read off the graph likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphgrad.graph import Graph, iota
from graphgrad.lecture.scene import Box, Circle, Role, Scene, words

WIDE, _GAP = 214.0, 16.0
_COLOURS: dict[str, Role] = {
    "attention": "weight",
    "feed_forward": "value",
    "add": "output",
    "norm": "output",
    "add_norm": "output",
    "embedding": "input",
    "linear": "violet",
    "softmax": "delta",
}


@dataclass(frozen=True)
class Part:
    """A box of a layer: its kind, which decides its colour, and its title."""

    kind: str
    title: str
    cross: bool = False
    """Whether it is attention to the encoder's output."""


def parts_of(graph: Graph, scope: str) -> tuple[Part, ...]:
    """The parts of a layer, in the order in which the graph computes them."""
    prefix = f"{scope}." if scope else ""
    found: list[str] = []
    for node in graph.nodes:
        name = graph.name_of(node)
        local = name.removeprefix(prefix).partition(".")[0]
        if name.startswith(prefix) and local not in found:
            found.append(local)
    parts: list[Part] = []
    for name in found:
        if name.endswith("attention"):
            cross = name.startswith("cross")
            masked = not cross and _is_causal(graph, f"{prefix}{name}")
            title = "Cross-Attention" if cross else "Self-Attention"
            parts.append(Part("attention", f"{'Masked ' if masked else ''}{title}", cross))
        elif name == "feed_forward":
            parts.append(Part("feed_forward", "Feed Forward"))
        elif name.endswith("_residual"):
            parts.append(Part("add", "Add"))
        elif name.endswith("_norm"):
            if (
                parts
                and parts[-1].kind == "add"
                and f"{name[:-5]}_residual" in found[: found.index(name)]
            ):
                parts[-1] = Part("add_norm", "Add & Norm")
            else:
                parts.append(Part("norm", "Norm"))
    return tuple(parts)


def _is_causal(graph: Graph, scope: str) -> bool:
    """Whether the mask of an attention compares positions."""
    name = f"{scope}.masked_scores"
    if name not in graph.names:
        return False
    mask = graph[name].heads[0]
    return any(node.operation is iota for node in graph.ancestors([mask]))


def layer_scopes(graph: Graph, prefix: str) -> list[str]:
    """The scopes of the layers below a prefix, `encoder.0`, `encoder.1`, …, in order."""
    found: list[str] = []
    for name in graph.names:
        if not name.startswith(prefix):
            continue
        number = name[len(prefix) :].partition(".")[0]
        if number.isdecimal() and f"{prefix}{number}" not in found:
            found.append(f"{prefix}{number}")
    return sorted(found, key=lambda scope: int(scope.rpartition(".")[2]))


@dataclass(frozen=True)
class Drawn:
    """A drawn layer: its top, and the boxes of its attention to the encoder."""

    top: float
    cross: tuple[Box, ...]


def draw_layer(scene: Scene, x: float, bottom: float, parts: Sequence[Part], title: str) -> Drawn:
    """A layer from the bottom upwards, with its residual connections dashed."""
    height, y, cross = 32.0, bottom - 14.0, []
    total = 28 + len(parts) * height + (len(parts) - 1) * _GAP
    frame = Box(x - 46, bottom - total, WIDE + 66, total, "faint", "value", 0.05, round=10)
    scene.add(frame)
    scene.text(x + WIDE + 30, bottom - total + 14, title, 12.5, "muted", "start")
    start = bottom
    for number, part in enumerate(parts):
        top = y - height
        scene.line((x + WIDE / 2, start), (x + WIDE / 2, y), arrow=True)
        role = _COLOURS[part.kind]
        box = scene.box(x, top, [part.title], role, role, WIDE, 13)
        if part.cross:
            cross.append(box)
        if part.kind.startswith("add"):
            before = _start_of_sublayer(parts, number)
            low = bottom - 14 - before * (height + _GAP) + (_GAP / 2 if before else 7)
            middle, left = top + height / 2, x - 24
            scene.line(
                (x + WIDE / 2, low),
                (left, low),
                (left, middle),
                (x, middle),
                dashed=True,
                arrow=True,
            )
        start, y = top, top - _GAP
    return Drawn(bottom - total, tuple(cross))


def _start_of_sublayer(parts: Sequence[Part], end: int) -> int:
    """The number of the part at which the residual connection of a sum begins."""
    for number in range(end - 1, -1, -1):
        if parts[number].kind.startswith("add"):
            return number + 1
    return 0


def draw_ends(scene: Scene, x: float, y: float, lines: Sequence[tuple[str, str]]) -> float:
    """Boxes one above the other, from y upwards, each a (kind, title); returns the top."""
    for kind, title in lines:
        role = _COLOURS[kind]
        scene.line((x + WIDE / 2, y), (x + WIDE / 2, y - 18), arrow=True)
        scene.box(x, y - 50, [title], role, role, WIDE, 13)
        y -= 50
    return y


def added_to(graph: Graph, side: str) -> list[str]:
    """What is added to the embedding of words, such as `Positional Encoding`."""
    found = ["Segments"] if f"{side}.with_segments" in graph.names else []
    if f"{side}.with_positions" in graph.names:
        learned = f"{side}.positions" in graph.parameters
        found.append("Learned Positions" if learned else "Positional Encoding")
    return found


def draw_entrance(
    scene: Scene, graph: Graph, side: str, x: float, title: str, given: str = ""
) -> None:
    """What is below the first layer at y = 0: embedding, what is added to it, the words given."""
    middle, y = x + WIDE / 2, 0.0
    boxes = [("norm", "Norm")] if f"{side}.norm.gain" in graph.names else []
    for kind, name in boxes:
        scene.line((middle, y + 18), (middle, y), arrow=True)
        scene.box(x, y + 18, [name], _COLOURS[kind], _COLOURS[kind], WIDE, 13)
        y += 50
    for name in reversed(added_to(graph, side)):
        scene.line((middle, y + 16), (middle, y), arrow=True)
        plus = words(middle, y + 26, "+", 15, "input", bold=True)
        scene.add(Circle(middle, y + 26, 10, "input", "input", texts=(plus,)))
        scene.line((middle - 34, y + 26), (middle - 10, y + 26), role="input", arrow=True)
        scene.text(middle - 38, y + 26, name, 12.5, "input", "end")
        y += 36
    scene.line((middle, y + 16), (middle, y), arrow=True)
    scene.box(x, y + 16, [title], "input", "input", WIDE, 13)
    if given:
        scene.line((middle, y + 66), (middle, y + 48), arrow=True)
        scene.text(middle, y + 76, given, 12.5, "muted")


def ends_of(graph: Graph) -> list[tuple[str, str]]:
    """What is between the last layer and the probabilities, each a (kind, title), upwards."""
    ends = []
    if "output.z" in graph.names:
        ends.append(("feed_forward", f"Dense, {graph['output.z'].operation.name.upper()}"))
    if any(name.endswith((".final_norm.gain", "output.norm.gain")) for name in graph.names):
        ends.append(("norm", "Norm"))
    return [*ends, ("linear", "Linear: logits"), ("softmax", "Softmax")]
