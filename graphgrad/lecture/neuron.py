"""One neuron, y = φ(Σ w x), with its numbers and its deltas, and the four activation functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphgrad.backprop import derive
from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph, input, parameter, scope
from graphgrad.layers import ACTIVATIONS
from graphgrad.lecture.blocks import Formula, Lesson, Picture, Prose, Table, shown, signed
from graphgrad.lecture.charts import curves, weight_label
from graphgrad.lecture.notation import Notation
from graphgrad.lecture.request import Request
from graphgrad.lecture.scene import Circle, Scene, words
from graphgrad.lecture.values import computed
from graphgrad.ops import half_squared_error, multiply, sum

PHI = {
    "linear": "φ(x) = x",
    "tanh": "φ(x) = tanh(x)",
    "sigmoid": "φ(x) = 1 / (1 + exp(−x))",
    "relu": "φ(x) = max(0, x)",
}
"""The activation functions of the lecture, as it writes them."""
PHI_PRIME = {
    "linear": "φ′(x) = 1",
    "tanh": "φ′(x) = 1 − tanh²(x)",
    "sigmoid": "φ′(x) = φ(x) (1 − φ(x))",
    "relu": "φ′(x) = 1 where x > 0, else 0",
}
NEURON = {"x": "1, 2, −1", "w": "0.5, −0.25, 1", "phi": "sigmoid", "truth": "1"}
MOST = 8  # inputs of a neuron


def neuron_graph(count: int, phi: str) -> Graph:
    """y = φ(a), a = Σ_n w_n x_n, L = ½ (y − ŷ)², with all deltas."""
    x, truth = input("x", count, "float64"), input("truth", (), "float64")
    w = parameter("w", count, dtype="float64")
    with scope("y"):
        a = sum(multiply(w, x, name="products"), name="a")
        z = ACTIVATIONS[phi](a, name="z")
    return derive(Graph({"loss": half_squared_error(z, truth, name="loss")}), "loss")


def neuron_lesson(request: Request) -> Lesson:
    """The neuron on given inputs and weights, forwards and backwards."""
    x, phi = request.numbers("x"), request.word("phi", PHI)
    w, truth = request.numbers("w", len(x)), request.number("truth")
    if len(x) > MOST:
        raise ConfigurationError(f"x has {len(x)} inputs, and a neuron here at most {MOST}")
    graph = neuron_graph(len(x), phi)
    asked = {"products": "y.products", "a": "y.a", "y": "y.z", "loss": "loss"}
    deltas = {"delta": graph.delta("y.a"), "slope": graph.delta("y.z"), "step": graph.delta("w")}
    found = computed(graph, {**asked, **deltas}, {"w": np.array(w)}, x=x, truth=truth)
    sums = " + ".join(f"{signed(b)} · {signed(a)}" for a, b in zip(x, w, strict=True))
    a, y = float(found["a"]), float(found["y"])
    return Lesson(
        "One neuron: y = φ(Σ w x)",
        (
            Prose("A neuron multiplies each input by a weight, adds up, and applies φ."),
            Formula(
                (
                    "y = φ(Σ_{n=1}^{N} w_n x_n)",
                    f"a = Σ w_n x_n = {sums} = {shown(a)}",
                    f"y = φ(a) = {shown(y)}    with {PHI[phi]}",
                )
            ),
            _inputs(x, w, found["products"], found["step"]),
            Prose(
                Notation(
                    f"With the truth ŷ = {shown(truth)} the loss is L = ½ (y − ŷ)² = "
                    f"{shown(float(found['loss']))}. Backwards: ∂L/∂y = y − ŷ = "
                    f"{shown(float(found['slope']))}, the node error is δ = ∂L/∂a = φ′(a) · ∂L/∂y "
                    f"= {shown(float(found['delta']))}; the last column above is ∂L/∂w_n = δ x_n."
                )
            ),
            Picture("The neuron with its numbers", _drawing(x, w, a, y, float(found["delta"]))),
        ),
    )


def _inputs(
    x: Sequence[float], w: Sequence[float], products: np.ndarray, steps: np.ndarray
) -> Table:
    rows = [
        [str(n), shown(x[n - 1]), shown(w[n - 1]), shown(products[n - 1]), shown(steps[n - 1])]
        for n in range(1, len(x) + 1)
    ]
    headings = ("n", *map(Notation, ("x_n", "w_n", "w_n x_n", "∂L/∂w_n = δ x_n")))
    return Table(headings, rows)


def _drawing(x: Sequence[float], w: Sequence[float], a: float, y: float, delta: float) -> Scene:
    scene, step = Scene(), 66.0
    middle = step * (len(x) - 1) / 2
    for number, (value, weight) in enumerate(zip(x, w, strict=True)):
        down = step * number
        length = math.hypot(320, middle - down)
        across, slope = 320 / length, (middle - down) / length
        end = length - 45
        scene.line((28 * across, down + 28 * slope), (end * across, down + end * slope), arrow=True)
        label = f"w_{number + 1} = {shown(weight)}"
        weight_label(scene, (0, down), (320, middle), 42, label)
        inside = (
            words(0, down - 8, Notation(f"x_{number + 1}"), 14.5, bold=True),
            words(0, down + 11, shown(value), 12),
        )
        scene.add(Circle(0, down, 27, "input", "input", texts=inside))
    inside = (
        words(320, middle - 12, "a = Σ w x", 13, bold=True),
        words(320, middle + 8, f"= {shown(a)}", 13),
    )
    scene.add(Circle(320, middle, 44, "value", "value", texts=inside))
    scene.line((364, middle), (426, middle), arrow=True)
    scene.text(395, middle - 12, "φ", 15, "value", bold=True)
    inside = (
        words(462, middle - 10, "y", 14.5, bold=True),
        words(462, middle + 9, shown(y), 12.5),
    )
    scene.add(Circle(462, middle, 34, "output", "output", texts=inside))
    scene.text(320, middle + 62, f"δ = ∂L/∂a = {shown(delta)}", 13, "delta")
    return scene


# ---------------------------------------------------------------- activation functions

ACTIVATION = {"range": "−4, 4", "at": "−2, −1, 0, 1, 2"}


def activations_lesson(request: Request) -> Lesson:
    """φ and φ′ of each activation function: a table and curves."""
    low, high = request.numbers("range", 2)
    if not low < high:
        raise ConfigurationError("range must be the smaller number and then the larger one")
    points = np.array(request.numbers("at"))
    across = np.linspace(low, high, 161)
    scenes, tables = [], []
    for phi in PHI:
        values, slopes = activation(phi, across)
        scenes.append(Scene())
        curves(
            scenes[-1],
            0,
            0,
            (220, 160),
            PHI[phi],
            across,
            [("φ", values, "value", False), ("φ′", slopes, "delta", True)],
        )
        tables.append(_values(phi, points))
    return Lesson(
        "Activation functions φ, and their slopes φ′",
        (
            Prose(
                Notation(
                    "The slope is what the delta of a neuron is multiplied by: δ_h = φ′(a_h) Σ δ_t "
                    "w_{h→t}. Where φ′ is nearly 0 (a saturated sigmoid, a ReLU below 0), nothing "
                    "is learned."
                )
            ),
            *tables,
            Picture.of("φ (blue) and φ′ (red, dashed)", *scenes),
        ),
    )


def activation(phi: str, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """φ and φ′ at points: φ′ is the delta of a in the graph of Σ φ(a)."""
    a = input("a", len(points), "float64")
    z = ACTIVATIONS[phi](a, name="z")
    graph = derive(Graph({"total": sum(z, name="total")}), "total")
    found = computed(graph, {"z": "z", "slope": graph.delta("a")}, {}, a=points)
    return found["z"], found["slope"]


def _values(phi: str, points: np.ndarray) -> Table:
    values, slopes = activation(phi, points)
    rows = [
        ["φ(x)", *map(shown, map(float, values))],
        ["φ′(x)", *map(shown, map(float, slopes))],
    ]
    headings = ("x", *map(shown, map(float, points)))
    return Table(headings, rows, f"{PHI[phi]},  {PHI_PRIME[phi]}")
