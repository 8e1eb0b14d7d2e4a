"""Architectures as in the papers: what is drawn is read off the declared graph (`stacks.py`)."""

from __future__ import annotations

from collections.abc import Sequence

from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph
from graphgrad.lecture.blocks import Formula, Lesson, Picture, Prose, Table
from graphgrad.lecture.request import Request
from graphgrad.lecture.scene import Box, Scene
from graphgrad.lecture.stacks import (
    WIDE,
    draw_ends,
    draw_entrance,
    draw_layer,
    ends_of,
    layer_scopes,
    parts_of,
)
from graphgrad.models import bert, gpt, transformer

FIGURE = {"layers": "6", "width": "512", "heads": "8", "inner": "2048", "vocabulary": "10000"}
LAYERS = {"layers": "2", "width": "512", "heads": "8", "inner": "2048", "vocabulary": "10000"}
BERT = {"layers": "12", "width": "768", "heads": "12", "inner": "3072", "vocabulary": "30522"}
GPT = {"layers": "12", "width": "768", "heads": "12", "inner": "3072", "vocabulary": "50257"}


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
        what = "the source" if side == "encoder" else "the target, shifted right"
        draw_entrance(scene, graph, side, x, title, what)
        tops[side] = draw_layer(scene, x, bottom, parts_of(graph, f"{side}.0"), f"{count} ×")
    _memory(scene, left, tops["encoder"].top, tops["decoder"].cross, right)
    top = draw_ends(scene, right, tops["decoder"].top, ends_of(graph))
    scene.line((right + WIDE / 2, top), (right + WIDE / 2, top - 18), arrow=True)
    scene.text(right + WIDE / 2, top - 28, "probabilities of the next word", 12.5, "muted")
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
    middle, over, down = x + WIDE / 2, top - 20, right - 66 - lane
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
        draw_entrance(scene, graph, side, x, "Embedding")
        for scope in layer_scopes(graph, f"{side}."):
            drawn = draw_layer(scene, x, bottom, parts_of(graph, scope), scope)
            cross += drawn.cross
            scene.line((x + WIDE / 2, drawn.top), (x + WIDE / 2, drawn.top - 18), arrow=True)
            bottom = drawn.top - 18
        tops[side] = bottom + 18
    _memory(scene, 0.0, tops["encoder"], cross, right)
    draw_ends(scene, right, tops["decoder"], ends_of(graph))
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
    scene, middle = Scene(), WIDE / 2
    sides = {side: layer_scopes(graph, f"{side}.") for side in ("encoder", "decoder")}
    side, layers = next((side, found) for side, found in sides.items() if found)
    draw_entrance(scene, graph, side, 0, "Embedding", words)
    top = draw_layer(scene, 0, 0, parts_of(graph, layers[0]), f"{len(layers)} ×").top
    top = draw_ends(scene, 0, top, ends_of(graph))
    scene.line((middle, top), (middle, top - 18), arrow=True)
    scene.text(middle, top - 28, result, 12.5, "muted")
    return scene
