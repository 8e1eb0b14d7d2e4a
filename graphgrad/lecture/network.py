"""The network of 3-3-3 neurons in the lecture's names, and one step of gradient descent."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from graphgrad.backprop import derive
from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph, Node
from graphgrad.lecture.blocks import Formula, Lesson, Picture, Prose, Table, shown, signed
from graphgrad.lecture.charts import weight_label
from graphgrad.lecture.neuron import PHI
from graphgrad.lecture.notation import Notation
from graphgrad.lecture.request import Request
from graphgrad.lecture.scene import Circle, Role, Scene, Text, words
from graphgrad.lecture.values import State, computed, drawn_state
from graphgrad.models.feedforward import NUMBERS, Settings, neurons
from graphgrad.ops import multiply
from graphgrad.training.runs import OpenRun

NETWORK = {"x": "1, 0.5, −1", "truth": "0, 1, 0", "phi": "sigmoid", "seed": "1", "example": "0"}
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
    values = computed(graph, asked, state, **feeds_of(x, truth))
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


def feeds_of(x: tuple[float, ...], truth: tuple[float, ...]) -> dict[str, list[float]]:
    """The inputs of the network for one example."""
    return {
        **{f"x{n}": [x[n - 1]] for n in NUMBERS},
        **{f"truth.y{n}": [truth[n - 1]] for n in NUMBERS},
    }


@dataclass(frozen=True)
class Subject:
    """A network with its weights and one example."""

    graph: Graph
    state: State
    x: tuple[float, ...]
    truth: tuple[float, ...]
    told: str = ""
    """Which run and which example it is of."""

    def worked(self) -> Worked:
        """All its values."""
        return worked(self.graph, self.state, self.x, self.truth)


def subject_of(request: Request) -> Subject:
    """The network of a run, with an example of its next batch; else one drawn from a seed."""
    if request.run is not None:
        return _of_run(request, request.run)
    graph = network_graph(request.word("phi", PHI))
    state = drawn_state(graph, request.whole("seed", 0, 10**6))
    return Subject(graph, state, request.numbers("x", 3), request.numbers("truth", 3))


def _of_run(request: Request, run: OpenRun) -> Subject:
    """Raises ConfigurationError if the run is not of the lecture's network."""
    graph = run.task.graph
    if not set(network_graph("tanh").parameters) <= set(graph.parameters):
        raise ConfigurationError(
            f"the model {run.model.short_name} is not the network of 3-3-3 neurons",
            fix="graphgrad train feedforward",
        )
    for name in ("x", "truth", "phi", "seed"):
        if request.options[name] != NETWORK[name]:
            raise ConfigurationError(
                f"{name} is that of the run", fix="leave RUN out, or choose --set example=…"
            )
    batch = run.task.feeds(run.next_batch)
    example = request.whole("example", 0, len(batch["x1"]) - 1)
    x, truth = (
        tuple(float(batch[f"{name}{n}"][example]) for n in NUMBERS) for name in ("x", "truth.y")
    )
    state = {name: run.state[name] for name in graph.parameters}
    told = f"{run.folder.path.name} after step {run.step}, example {example} of its next batch."
    return Subject(derive(graph, "loss"), state, x, truth, told)


def network_lesson(request: Request) -> Lesson:
    """heads, tails, a, z, w and δ of every neuron, with the sums of one of them written out."""
    subject = subject_of(request)
    found, near = subject.worked(), heads_and_tails(subject.graph)
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
            *([Prose(subject.told)] if subject.told else []),
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
