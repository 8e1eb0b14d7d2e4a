"""A layer of the encoder, and layer normalisation with the 1/n that the slide leaves out."""

from __future__ import annotations

import numpy as np

from graphgrad.graph import Graph, input
from graphgrad.layers import layer_norm
from graphgrad.lecture.blocks import Formula, Lesson, Picture, Prose, Table, shown, shown_all
from graphgrad.lecture.notation import Notation
from graphgrad.lecture.request import Request
from graphgrad.lecture.scene import Scene
from graphgrad.lecture.stacks import WIDE, draw_entrance, draw_layer, parts_of
from graphgrad.lecture.values import computed
from graphgrad.models import transformer
from graphgrad.ops import multiply, sqrt, subtract, sum

ENCODER = {"x": "1, 2, 3, 6", "norm": "post"}
PLACES = {"post": "LayerNorm(x + F(x))", "pre": "x + F(LayerNorm(x))"}
EPSILON = 1e-5


def encoder_lesson(request: Request) -> Lesson:
    """The parts of an encoder layer, and one vector normalised with and without the 1/n."""
    x = np.array(request.numbers("x"))
    norm = request.word("norm", PLACES)
    found = normalised(x)
    graph = transformer.training_graph(transformer.Settings(norm=norm), 8, 8, training=False)
    scene = Scene()
    drawn = draw_layer(scene, 0, 0, parts_of(graph, "encoder.0"), "encoder.0")
    middle = WIDE / 2
    draw_entrance(scene, graph, "encoder", 0, "Embedding", "words")
    scene.line((middle, drawn.top), (middle, drawn.top - 16), arrow=True)
    rows = [
        ["x", *shown_all(x)],
        ["x − μ", *shown_all(found["centred"])],
        ["with 1/n", *shown_all(found["with"])],
        ["the slide's", *shown_all(found["without"])],
    ]
    n = len(x)
    return Lesson(
        "A layer of the encoder, and layer normalisation",
        (
            Prose(
                "Self-attention and the position-wise network, each with a residual connection "
                f"(dashed) and a layer normalisation: {PLACES[norm]}."
            ),
            Formula(
                (
                    "μ = 1/n Σ x_i        σ² = 1/n Σ (x_i − μ)²        x̂_i = (x_i − μ) / √(σ² + ε)",
                    f"μ = {shown(float(found['mean']))}, σ² = {shown(float(found['variance']))}; "
                    f"without the 1/n it would be {shown(float(found['sum']))}",
                )
            ),
            Prose(
                Notation(
                    "The slide writes σ² = Σ (x_i − μ)². The 1/n is missing there: with it the "
                    f"result has variance 1, without it 1/n = {shown(1 / n)}. graphgrad, like the "
                    "paper (Ba et al. 2016), divides by n."
                )
            ),
            Table(("", *(f"i = {i + 1}" for i in range(n))), rows, "One vector, normalised"),
            Picture("A layer of the encoder", scene),
        ),
    )


def normalised(x: np.ndarray) -> dict[str, np.ndarray]:
    """The vector normalised by `layer_norm`, and by the slide's formula without the 1/n."""
    given = input("x", (1, len(x)), "float64")
    mean = multiply(sum(given, -1, keepdims=True), 1 / len(x), name="mean")
    centred = subtract(given, mean, name="centred")
    total = sum(multiply(centred, centred), -1, keepdims=True, name="sum")
    outputs = {
        "mean": mean,
        "centred": centred,
        "sum": total,
        "variance": multiply(total, 1 / len(x)),
        "with": layer_norm(given, "norm", EPSILON),
        "without": centred / sqrt(total + EPSILON),
    }
    graph = Graph(outputs)
    state = {
        name: np.full(node.type.sizes, float(name.endswith("gain")))
        for name, node in graph.parameters.items()
    }
    found = computed(graph, outputs, state, x=x[None])
    return {
        name: value[0] if name in ("centred", "with", "without") else value[0, 0]
        for name, value in found.items()
    }
