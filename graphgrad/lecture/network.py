"""The network of 3-3-3 neurons in the lecture's names, and one step of gradient descent."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from graphgrad.backprop import derive
from graphgrad.graph import Graph, Node, input, parameter
from graphgrad.lecture.blocks import Formula, Lesson, Picture, Prose, Table, shown, signed
from graphgrad.lecture.charts import Curve, curves, weight_label
from graphgrad.lecture.neuron import PHI
from graphgrad.lecture.notation import Notation
from graphgrad.lecture.request import Request
from graphgrad.lecture.scene import Box, Circle, Role, Scene, Text, words
from graphgrad.lecture.values import State, computed, drawn_state, run_steps
from graphgrad.models.feedforward import NUMBERS, Settings, neurons
from graphgrad.ops import expand_dims, half_squared_error, multiply, sigmoid, sum

NETWORK = {"x": "1, 0.5, −1", "truth": "0, 1, 0", "phi": "sigmoid", "seed": "1"}
UPDATE = {**NETWORK, "eta": "0.5", "steps": "40"}
LAYERS = ("x", "h", "y")
SCOPES = {"h": "hidden", "y": "output"}
_ACROSS, _DOWN = 500.0, 170.0
_RADIUS, _SMALL = 60.0, 50.0


@dataclass(frozen=True)
class Worked:
    """The values of one example: a, z and δ by neuron, w and ∂L/∂w by `h2->y1`, and the loss."""

    a: dict[str, float]
    z: dict[str, float]
    delta: dict[str, float]
    w: dict[str, float]
    slope: dict[str, float]
    loss: float
    truth: dict[str, float]


def network_graph(phi: str) -> Graph:
    """The network of `graphgrad train feedforward`, neuron by neuron, with all deltas."""
    chosen = Settings(activation=phi, output_activation=phi, dtype="float64")
    return derive(neurons(chosen), "loss")


def heads_and_tails(graph: Graph) -> dict[str, tuple[list[str], list[str]]]:
    """heads(u) and tails(u) of every neuron, read off the graph.

    A neuron's z is multiplied by w_{u→t} inside its tail t, and heads are its inputs' neurons.
    """
    outputs = {
        graph[f"{SCOPES[layer]}.{layer}{n}.z"]: f"{layer}{n}" for layer in "hy" for n in NUMBERS
    }
    outputs |= {graph[f"x{n}"]: f"x{n}" for n in NUMBERS}
    tails: dict[str, list[str]] = {name: [] for name in outputs.values()}
    heads: dict[str, list[str]] = {name: [] for name in outputs.values()}
    for node in graph.nodes:
        for z, name in outputs.items():
            if z in node.heads and node.operation is multiply and not _is_delta(graph, node):
                neuron = graph.name_of(node).split(".")[1]
                tails[name].append(neuron)
                heads[neuron].append(name)
    return {name: (heads[name], tails[name]) for name in sorted(tails, key=_order)}


def _is_delta(graph: Graph, node: Node) -> bool:
    return "from_" not in graph.name_of(node).rpartition(".")[2]


def _order(name: str) -> tuple[int, str]:
    return LAYERS.index(name[0]), name


def worked(graph: Graph, state: State, x: tuple[float, ...], truth: tuple[float, ...]) -> Worked:
    """All values of the network for one example."""
    names = {f"{layer}{n}": f"{SCOPES[layer]}.{layer}{n}" for layer in "hy" for n in NUMBERS}
    asked: dict[str, Node | str] = {"loss": "loss"}
    for name, scope in names.items():
        asked |= {f"a {name}": f"{scope}.a", f"z {name}": f"{scope}.z"}
        asked[f"delta {name}"] = graph.delta(f"{scope}.a")
    asked |= {f"slope {name[2:]}": graph.delta(name) for name in graph.parameters}
    values = computed(graph, asked, state, **_feeds(x, truth))
    found = {name: float(value.sum()) for name, value in values.items()}

    def part(what: str) -> dict[str, float]:
        return {
            name.partition(" ")[2]: value
            for name, value in found.items()
            if name.startswith(f"{what} ")
        }

    inputs = {f"x{n}": x[n - 1] for n in NUMBERS}
    w = {name[2:]: float(value) for name, value in state.items()}
    truths = {f"y{n}": truth[n - 1] for n in NUMBERS}
    return Worked(
        part("a"), inputs | part("z"), part("delta"), w, part("slope"), found["loss"], truths
    )


def _subject(request: Request) -> tuple[Graph, State, Worked]:
    graph = network_graph(request.word("phi", PHI))
    state = drawn_state(graph, request.whole("seed", 0, 10**6))
    x, truth = request.numbers("x", 3), request.numbers("truth", 3)
    return graph, state, worked(graph, state, x, truth)


def network_lesson(request: Request) -> Lesson:
    """heads, tails, a, z, w and δ of every neuron, with the sums of one of them written out."""
    graph, _, found = _subject(request)
    near = heads_and_tails(graph)
    rows = [
        [
            name,
            _set(near[name][0]),
            _set(near[name][1]),
            shown(found.a[name]) if name in found.a else "",
            shown(found.z[name]),
            shown(found.delta[name]) if name in found.delta else "",
        ]
        for name in near
    ]
    sums = " + ".join(
        f"{signed(found.w[f'{h}->h2'])} · {signed(found.z[h])}" for h in near["h2"][0]
    )
    back = " + ".join(
        f"{signed(found.delta[t])} · {signed(found.w[f'h2->{t}'])}" for t in near["h2"][1]
    )
    return Lesson(
        "The network of 3-3-3 neurons",
        (
            Prose(
                Notation(
                    "heads(u) are the neurons that u gets its inputs from, tails(u) those that use "
                    "it; a_t is what goes into the activation function, z_t what comes out, and "
                    "δ_t = ∂L/∂a_t the node error."
                )
            ),
            Formula(
                (
                    "a_t = Σ_{h∈heads(t)} w_{h→t} z_h        z_t = φ(a_t)",
                    "δ_h = φ′(a_h) Σ_{t∈tails(h)} δ_t w_{h→t}",
                    f"a_{{h2}} = {sums} = {shown(found.a['h2'])}",
                    f"δ_{{h2}} = φ′({shown(found.a['h2'])}) ({back}) = {shown(found.delta['h2'])}",
                )
            ),
            Table(
                ("u", "heads(u)", "tails(u)", *map(Notation, ("a_u", "z_u", "δ_u"))),
                rows,
                numbers=3,
            ),
            Prose(f"The loss is L = ½ Σ (z − ŷ)² = {shown(found.loss)}."),
            Picture(
                Notation("a, z and δ in the neurons, w_{h→t} on the edges"), network_scene(found)
            ),
        ),
    )


def _set(names: list[str]) -> str:
    return "{" + ", ".join(names) + "}" if names else "∅"


def network_scene(found: Worked) -> Scene:
    """The network with its numbers: values in blue, errors in red, weights on the edges."""
    scene = Scene()
    places = {
        f"{letter}{n}": (_ACROSS * column, _DOWN * (n - 1))
        for column, letter in enumerate(LAYERS)
        for n in NUMBERS
    }
    for pair, weight in found.w.items():
        head, tail = pair.split("->")
        _weight(scene, pair, places[head], places[tail], weight)
    for name, (x, y) in places.items():
        role: Role = "input" if name[0] == "x" else "value"
        lines: list[tuple[str, float, Role]] = [(f"z_{{{name}}}", found.z[name], "ink")]
        if name in found.a:
            lines = [
                (f"a_{{{name}}}", found.a[name], "ink"),
                *lines,
                (f"δ_{{{name}}}", found.delta[name], "delta"),
            ]
        elif name[0] == "x":
            lines = [(f"x_{name[1]}", found.z[name], "ink")]
        radius = _RADIUS if len(lines) > 1 else _SMALL
        scene.add(Circle(x, y, radius, role, role, texts=_inside(x, y, lines)))
    for n in NUMBERS:
        x, y = places[f"y{n}"]
        scene.text(x + 72, y, f"ŷ = {shown(found.truth[f'y{n}'])}", 13, "input", "start")
    scene.text(
        2 * _ACROSS, 2 * _DOWN + 86, f"L = ½ Σ (z − ŷ)² = {shown(found.loss)}", 13.5, "output"
    )
    return scene


def _inside(x: float, y: float, lines: list[tuple[str, float, Role]]) -> tuple[Text, ...]:
    """The values of a neuron, one below the other, their equals signs aligned."""
    found: list[Text] = []
    for number, (symbol, value, role) in enumerate(lines):
        down = y + 20 * (number - (len(lines) - 1) / 2)
        found += (
            words(x - 6, down, Notation(symbol), 14.5, role, "end", True),
            words(x - 3, down, f"= {shown(value, 2)}", 12.5, role, "start"),
        )
    left = max(text.width for text in found[::2])
    right = max(text.width for text in found[1::2])
    return tuple(replace(text, x=text.x + (left + 3 - right) / 2) for text in found)


def _weight(
    scene: Scene,
    pair: str,
    head: tuple[float, float],
    tail: tuple[float, float],
    weight: float,
) -> None:
    """An edge from circle to circle; along it, near its head, where no edges cross, w_{h→t}."""
    (x1, y1), (x2, y2) = head, tail
    length = math.hypot(x2 - x1, y2 - y1)
    across, down = (x2 - x1) / length, (y2 - y1) / length
    begin, end = (_RADIUS if x1 else _SMALL) + 1, length - _RADIUS - 1
    scene.line(
        (x1 + begin * across, y1 + begin * down), (x1 + end * across, y1 + end * down), arrow=True
    )
    text = f"w_{{{pair.replace('->', '→')}}} = {shown(weight, 2)}"
    weight_label(scene, head, tail, 70, text)


# ---------------------------------------------------------------- one step


def update_lesson(request: Request) -> Lesson:
    """The half squared error, one step of gradient descent with its numbers, and the descent."""
    graph, state, found = _subject(request)
    eta, steps = request.number("eta"), request.whole("steps", 1, 1000)
    x, truth = request.numbers("x", 3), request.numbers("truth", 3)
    after, losses = descent(graph, state, x, truth, eta, steps)
    terms = " + ".join(f"({shown(found.z[k])} − {shown(t)})²" for k, t in found.truth.items())
    return Lesson(
        "The loss, and one step of gradient descent",
        (
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
    states, losses = run_steps(step, state, _feeds(x, truth), steps)
    return {name[2:]: float(value) for name, value in states[1].items()}, losses


def _feeds(x: tuple[float, ...], truth: tuple[float, ...]) -> dict[str, list[float]]:
    return {
        **{f"x{n}": [x[n - 1]] for n in NUMBERS},
        **{f"truth.y{n}": [truth[n - 1]] for n in NUMBERS},
    }


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
    states, _ = run_steps(step, {"w": np.array([-3.0, -2.0])}, feeds, _STEPS)
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
