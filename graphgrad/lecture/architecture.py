"""Architectures as in the papers: what is drawn is read off the scopes of the declared graph.

A layer is the list of its parts in the order in which the graph computes them: attention (masked if
its mask depends on positions), the position-wise network, sums and norms. So a model that
normalises before its sublayers is drawn that way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph, iota
from graphgrad.lecture.blocks import Formula, Lesson, Picture, Prose, Table
from graphgrad.lecture.request import Request
from graphgrad.lecture.scene import Box, Role, Scene
from graphgrad.models import bert, gpt, transformer

FIGURE = {"layers": "6", "width": "512", "heads": "8", "inner": "2048", "vocabulary": "10000"}
LAYERS = {"layers": "2", "width": "512", "heads": "8", "inner": "2048", "vocabulary": "10000"}
BERT = {"layers": "12", "width": "768", "heads": "12", "inner": "3072", "vocabulary": "30522"}
GPT = {"layers": "12", "width": "768", "heads": "12", "inner": "3072", "vocabulary": "50257"}
_WIDE, _GAP = 214.0, 16.0
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
    frame = Box(x - 46, bottom - total, _WIDE + 66, total, "faint", "value", 0.05, round=10)
    scene.add(frame)
    scene.text(x + _WIDE + 30, bottom - total + 14, title, 12.5, "muted", "start")
    start = bottom
    for number, part in enumerate(parts):
        top = y - height
        scene.line((x + _WIDE / 2, start), (x + _WIDE / 2, y), arrow=True)
        role = _COLOURS[part.kind]
        box = scene.box(x, top, [part.title], role, role, _WIDE, 13)
        if part.cross:
            cross.append(box)
        if part.kind.startswith("add"):
            before = _start_of_sublayer(parts, number)
            low = bottom - 14 - before * (height + _GAP) + (_GAP / 2 if before else 7)
            middle, left = top + height / 2, x - 24
            scene.line(
                (x + _WIDE / 2, low),
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


def _ends(scene: Scene, x: float, y: float, lines: Sequence[tuple[str, str]]) -> float:
    """Boxes one above the other, from y upwards, each a (kind, title); returns the top."""
    for kind, title in lines:
        role = _COLOURS[kind]
        scene.line((x + _WIDE / 2, y), (x + _WIDE / 2, y - 18), arrow=True)
        scene.box(x, y - 50, [title], role, role, _WIDE, 13)
        y -= 50
    return y


# ---------------------------------------------------------------- the Transformer


def transformer_graph(request: Request) -> Graph:
    """The Transformer with the sizes of the request."""
    sizes = {name: request.whole(name, 1, 10**5) for name in ("layers", "width", "heads", "inner")}
    if sizes["layers"] > 24:
        raise ConfigurationError(f"{sizes['layers']} layers are too many for one picture")
    settings = transformer.Settings(**sizes)
    vocabulary = request.whole("vocabulary", 2, 10**6)
    graph: Graph = transformer.training_graph(settings, vocabulary, vocabulary, training=False)
    return graph


def figure_lesson(request: Request) -> Lesson:
    """Figure 1 of the paper: one layer of each side, the decoder beside the encoder."""
    graph = transformer_graph(request)
    return Lesson(
        "The Transformer at a glance (Figure 1 of the paper)",
        (*_words_of(request, graph), Picture("Encoder and decoder", _both(graph))),
    )


def _both(graph: Graph) -> Scene:
    """A layer of the encoder and one of the decoder, side by side."""
    scene = Scene()
    count = len(layer_scopes(graph, "encoder."))
    tops = {}
    left, right, bottom = 0.0, 420.0, 0.0
    sides = (("encoder", left, "Input Embedding"), ("decoder", right, "Output Embedding"))
    for side, x, title in sides:
        scene.box(x, bottom + 16, [title], "input", "input", _WIDE, 13)
        scene.line((x + _WIDE / 2, bottom + 16), (x + _WIDE / 2, bottom), arrow=True)
        scene.text(x + _WIDE / 2 - 10, bottom + 8, "+ Positional Encoding", 12, "input", "end")
        what = "the source" if side == "encoder" else "the target, shifted right"
        scene.text(x + _WIDE / 2, bottom + 62, what, 12.5, "muted")
        tops[side] = draw_layer(scene, x, bottom, parts_of(graph, f"{side}.0"), f"{count} ×")
    _memory(scene, left, tops["encoder"].top, tops["decoder"].cross, right)
    ends = [("linear", "Linear: logits"), ("softmax", "Softmax")]
    top = _ends(scene, right, tops["decoder"].top, ends)
    scene.line((right + _WIDE / 2, top), (right + _WIDE / 2, top - 18), arrow=True)
    scene.text(right + _WIDE / 2, top - 28, "probabilities of the next word", 12.5, "muted")
    return scene


def overview(graph: Graph, model: str) -> Scene:
    """A model at a glance: its layers drawn once, the decoder beside the encoder if it has both.

    Raises ConfigurationError for a graph without layers of attention in `encoder.0` or `decoder.0`.
    """
    sides = [side for side in ("encoder", "decoder") if layer_scopes(graph, f"{side}.")]
    if not any(part.kind == "attention" for s in sides for part in parts_of(graph, f"{s}.0")):
        raise ConfigurationError(
            f"the model {model} has no layers encoder.0 or decoder.0 with attention",
            fix="--fold draws any graph at a glance",
        )
    if len(sides) == 2:
        return _both(graph)
    words, result = {
        "encoder": ("tokens with gaps", "the word in each gap"),
        "decoder": ("the tokens so far", "each next word"),
    }[sides[0]]
    return _alone(graph, words, result)


def _memory(
    scene: Scene, x: float, top: float, cross: Sequence[Box], right: float, lane: float = 0.0
) -> None:
    """The way of the encoder's output to every attention of the decoder that reads it."""
    middle, over, down = x + _WIDE / 2, top - 20, right - 66 - lane
    for box in cross:
        height = box.y + box.height / 2
        points = ((middle, top), (middle, over), (down, over), (down, height), (right, height))
        scene.line(*points, role="input", width=1.6, arrow=True)
    if cross:
        scene.text(middle, over - 12, "K and V of the decoder", 12, "input")


def layers_lesson(request: Request) -> Lesson:
    """The slide's picture: all layers of the encoder and the decoder, two of each by default."""
    graph = transformer_graph(request)
    scene, right = Scene(), 470.0
    tops: dict[str, float] = {}
    cross: list[Box] = []
    for side, x in (("encoder", 0.0), ("decoder", right)):
        bottom = 0.0
        scene.box(x, 16, ["Embedding + positions"], "input", "input", _WIDE, 13)
        scene.line((x + _WIDE / 2, 16), (x + _WIDE / 2, 0), arrow=True)
        for scope in layer_scopes(graph, f"{side}."):
            drawn = draw_layer(scene, x, bottom, parts_of(graph, scope), scope)
            cross += drawn.cross
            scene.line((x + _WIDE / 2, drawn.top), (x + _WIDE / 2, drawn.top - 18), arrow=True)
            bottom = drawn.top - 18
        tops[side] = bottom + 18
    _memory(scene, 0.0, tops["encoder"], cross, right)
    _ends(scene, right, tops["decoder"], [("linear", "Linear: logits"), ("softmax", "Softmax")])
    return Lesson(
        "Encoder and decoder, layer by layer",
        (
            Prose("The output of the last encoder layer is given to every layer of the decoder."),
            *_words_of(request, graph),
            Picture("All layers", scene),
        ),
    )


def _words_of(request: Request, graph: Graph) -> tuple[Formula | Table, ...]:
    width, heads = request.whole("width", 1, 10**5), request.whole("heads", 1, 10**5)
    numbers = 0
    for node in graph.parameters.values():
        size = node.type.size
        numbers += size if isinstance(size, int) else 0
    rows = [
        [scope, " → ".join(part.title for part in parts_of(graph, scope))]
        for side in ("encoder.", "decoder.")
        for scope in layer_scopes(graph, side)[:1]
    ]
    sizes = f"width {width}, {heads} heads of D_k = {width // heads}"
    return (
        Formula((f"{sizes}; {len(graph.parameters)} parameters of {numbers:,} numbers",)),
        Table(("layer", "parts, in the order of computation"), rows, numbers=2),
    )


# ---------------------------------------------------------------- BERT and GPT


def bert_lesson(request: Request) -> Lesson:
    """The encoder alone: it sees both sides of a gap and predicts the word in it."""
    settings = bert.Settings(**_sizes(request))
    graph = bert.training_graph(settings, request.whole("vocabulary", 8, 10**6))
    words = "tokens with gaps: the [MASK] sat on the mat"
    return Lesson(
        "BERT: the encoder alone",
        (
            Prose(
                "Every word attends to all words, before and after it; there is no mask of the "
                "future. The loss is that of the words in the gaps."
            ),
            *_words_of(request, graph),
            Picture("BERT", _alone(graph, words, "the word in each gap")),
        ),
    )


def gpt_lesson(request: Request) -> Lesson:
    """The decoder alone: every word is predicted from those before it."""
    settings = gpt.Settings(**_sizes(request))
    graph = gpt.training_graph(settings, request.whole("vocabulary", 8, 10**6))
    return Lesson(
        "GPT: the decoder alone",
        (
            Prose(
                "Attention is masked: a word attends to itself and to those before it. There is no "
                "encoder, so there is no cross-attention. The loss is that of every next word."
            ),
            *_words_of(request, graph),
            Picture(
                "GPT", _alone(graph, "tokens: the cat sat on", "each next word: cat sat on the")
            ),
        ),
    )


def _sizes(request: Request) -> dict[str, int]:
    names = ("layers", "width", "heads", "inner")
    return {name: request.whole(name, 1, 10**5) for name in names}


def _alone(graph: Graph, words: str, result: str) -> Scene:
    """A stack of equal layers, drawn once."""
    scene = Scene()
    layers = next(filter(None, (layer_scopes(graph, side) for side in ("encoder.", "decoder."))))
    middle = _WIDE / 2
    scene.text(middle, 66, words, 12.5, "muted")
    scene.box(0, 16, ["Embedding + positions"], "input", "input", _WIDE, 13)
    scene.line((middle, 16), (middle, 0), arrow=True)
    top = draw_layer(scene, 0, 0, parts_of(graph, layers[0]), f"{len(layers)} ×").top
    ends = [("norm", "Norm")] if any("final_norm." in name for name in graph.names) else []
    top = _ends(scene, 0, top, [*ends, ("linear", "Linear: logits"), ("softmax", "Softmax")])
    scene.line((middle, top), (middle, top - 18), arrow=True)
    scene.text(middle, top - 28, result, 12.5, "muted")
    return scene
