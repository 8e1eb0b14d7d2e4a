"""The half squared error and gradient descent: one step in numbers, and the way down."""

from __future__ import annotations

import numpy as np

from graphgrad.backprop import derive
from graphgrad.graph import Graph, input, parameter
from graphgrad.lecture.blocks import Formula, Lesson, Picture, Prose, Table, shown, signed
from graphgrad.lecture.charts import Curve, curves
from graphgrad.lecture.network import NETWORK, Worked, feeds_of, subject_of
from graphgrad.lecture.notation import Notation
from graphgrad.lecture.request import Request
from graphgrad.lecture.scene import Box, Circle, Scene
from graphgrad.lecture.values import State, computed, run_steps
from graphgrad.ops import expand_dims, half_squared_error, multiply, sigmoid, sum

UPDATE = {**NETWORK, "eta": "0.5", "steps": "40"}


def update_lesson(request: Request) -> Lesson:
    """The half squared error, one step of gradient descent with its numbers, and the descent."""
    subject = subject_of(request)
    found = subject.worked()
    eta, steps = request.number("eta"), request.whole("steps", 1, 1000)
    after, losses = descent(subject.graph, subject.state, subject.x, subject.truth, eta, steps)
    terms = " + ".join(f"({shown(found.z[k])} − {shown(t)})²" for k, t in found.truth.items())
    return Lesson(
        "The loss, and one step of gradient descent",
        (
            *([Prose(subject.told)] if subject.told else []),
            Formula(
                (
                    "L(θ) = ½ Σ (z − ŷ)²        θ̂ = arg min L(θ)",
                    f"L = ½ ({terms}) = {shown(found.loss)}",
                    "w_{h→t} ← w_{h→t} − η ∂L/∂w_{h→t},    ∂L/∂w_{h→t} = δ_t z_h",
                )
            ),
            _step_table(found, after, eta),
            Prose(
                f"After one step L = {shown(losses[1])}, after {steps} steps {shown(losses[-1])}."
            ),
            Picture("The descent", _losses(losses)),
            Picture("The descent over two weights of one neuron", _surface(eta)),
        ),
    )


def _step_table(found: Worked, after: dict[str, float], eta: float) -> Table:
    """Every weight before and after the step, with the product that is subtracted."""
    rows = []
    for pair, old in found.w.items():
        head, tail = pair.split("->")
        product = f"{signed(found.delta[tail])} · {signed(found.z[head])}"
        name = Notation(f"w_{{{head}→{tail}}}")
        rows.append([name, shown(old), product, shown(found.slope[pair]), shown(after[pair])])
    headings = ("w", "before", Notation("δ_t · z_h"), "∂L/∂w", f"after (η = {shown(eta)})")
    return Table(headings, rows, "This step's numbers")


def _losses(losses: list[float]) -> Scene:
    """The loss over the steps."""
    scene, across = Scene(), np.arange(len(losses))
    lines: list[Curve] = [("L", np.array(losses), "value", False)]
    curves(scene, 40, 0, (420, 190), "The loss L over the steps", across, lines, ("step", ""))
    return scene


def descent(
    graph: Graph,
    state: State,
    x: tuple[float, ...],
    truth: tuple[float, ...],
    eta: float,
    steps: int,
) -> tuple[dict[str, float], list[float]]:
    """The weights after one step, and the loss before each step and after the last one."""
    updates = {w: w - eta * graph.delta(w) for w in graph.parameters.values()}
    step = graph.with_outputs({"loss": graph["loss"]}, updates)
    states, losses = run_steps(step, state, feeds_of(x, truth), steps)
    return {name[2:]: float(value) for name, value in states[1].items()}, losses


# ---------------------------------------------------------------- the surface of a loss

_SURFACE = np.linspace(-4, 4, 33)
_X = np.array([[1.0, 0.5], [-0.5, 1.0], [-1.0, -1.0], [0.5, -1.0]])
_TRUTH = np.array([1.0, 1.0, 0.0, 0.0])
_PIXELS = 10.0
_STEPS = 60


def _surface(eta: float) -> Scene:
    """The loss of one sigmoid neuron over its two weights, and the way of gradient descent."""
    x, truth = input("x", ("batch", 2), "float64"), input("truth", "batch", "float64")
    w = parameter("w", 2, dtype="float64")
    z = sigmoid(sum(multiply(x, w), -1, name="a"), name="z")
    graph = derive(Graph({"loss": half_squared_error(z, truth, name="loss")}), "loss")
    step = graph.with_outputs({"loss": graph["loss"]}, {w: w - eta * graph.delta("w")})
    feeds = {"x": _X, "truth": _TRUTH}
    states, found = run_steps(step, {"w": np.array([-3.0, -2.0])}, feeds, _STEPS)
    # all points of the surface are one batch: a weight of its own for each
    grid = np.stack(np.meshgrid(_SURFACE, _SURFACE), -1).reshape(-1, 2)
    losses = surface_losses(grid)
    scene, size = Scene(), _PIXELS * len(_SURFACE)
    for number, loss in enumerate(losses):
        row, column = divmod(number, len(_SURFACE))
        across, down = _PIXELS * column, size - _PIXELS * (row + 1)
        scene.add(Box(across, down, _PIXELS, _PIXELS, None, "value", loss / losses.max()))

    def place(point: np.ndarray) -> tuple[float, float]:
        first, second = (point - _SURFACE[0]) / (_SURFACE[-1] - _SURFACE[0]) * (size - _PIXELS)
        return float(first) + _PIXELS / 2, size - _PIXELS / 2 - float(second)

    points = [place(state["w"]) for state in states]
    inside = [(x, y) for x, y in points if 0 <= x <= size and 0 <= y <= size]
    scene.line(*inside, role="delta", width=2.0)
    for x_place, y_place in inside:
        scene.add(Circle(x_place, y_place, 2.5, "delta", "delta", 1.0))
    if points[0] in inside:
        scene.add(Circle(*points[0], 6, "delta", "paper", 1.0))
        scene.text(size + 14, 64, "the circle is where it begins", 12.5, "delta", "start")
    ends = f"L = {shown(found[0])} at first, {shown(found[-1])} after {_STEPS} steps"
    scene.text(size + 14, 86, ends, 12.5, "ink", "start")
    scene.text(size / 2, size + 14, "w₁ from −4 to 4", 12, "muted")
    scene.text(-8, 8, "w₂", 12, "muted", "end")
    scene.text(size + 14, 20, "strong colour: a large loss L", 12.5, "value", "start")
    scene.text(size + 14, 42, "w ← w − η ∂L/∂w, step by step", 12.5, "delta", "start")
    return scene


def surface_losses(grid: np.ndarray) -> np.ndarray:
    """The loss of the neuron at every row [w₁, w₂]."""
    x = input("x", (len(_X), 2), "float64")
    truth, w = input("truth", len(_X), "float64"), input("w", (len(grid), 1, 2), "float64")
    z = sigmoid(sum(multiply(expand_dims(x, 0), w), -1), name="z")
    difference = z - truth
    graph = Graph({"loss": multiply(sum(multiply(difference, difference), -1), 0.5, name="loss")})
    found = computed(graph, {"loss": "loss"}, {}, x=_X, truth=_TRUTH, w=grid[:, None])
    return found["loss"]
