"""Declares the lecture's feed-forward network (3 inputs, 3 hidden, 3 output neurons) in two forms.

    a_t = Σ_{h ∈ heads(t)} w_{h→t} z_h        z_t = φ(a_t)        L = ½ Σ_n (z - ŷ)²

`form="neurons"` declares it neuron by neuron: the scope `hidden.h2` holds `a` and `z` of the neuron
h2, and each weight w_{h→t} is a parameter of its own, `w.x1->h2`. So everything that the lecture
derives has a name: the node error δ_t of h2 is `graph.delta("hidden.h2.a")`, the contribution of
its tail y1 is δ_{y1} w_{h2→y1}, one of `graph.contributions("hidden.h2.z")`, and ∂L/∂w_{x1→h2} is
`graph.delta("w.x1->h2")`. `form="matrices"` declares the same network as two matrix products.

`W1[i, j]` connects x_i and h_j, as in the lecture's sums h_j = φ(Σ_i W_ij x_i). With this reading
the lecture's h = φ(W x) for a column x is h = φ(Wᵀ x); here examples are rows: H = φ(X W).

The data are R. A. Fisher's irises ("The use of multiple measurements in taxonomic problems",
Annals of Eugenics 7, 1936; public domain; the values as in R and scikit-learn, which follow the
paper). The network predicts the species of a flower from three measures. Every third flower is held
out. The lecture's neurons have no bias. With sigmoid this works, as sigmoid(0) = ½ is an offset;
ReLU, linear and tanh networks without a bias do worse (`bias=true` adds one).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path

import numpy as np

from graphgrad.compile import compile
from graphgrad.data.corpus import permutation
from graphgrad.errors import DataError
from graphgrad.graph import Graph, Node, input, normal, parameter, scope
from graphgrad.layers import ACTIVATIONS
from graphgrad.ops import add, half_squared_error, matmul, multiply
from graphgrad.training.setting_values import one_of
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.task import Feeds, State, Task

COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width", "species")
FEATURES = COLUMNS[1:4]
"""x1, x2, x3; the fourth measure, the sepal's length, adds the least information to these."""
SPECIES = ("setosa", "versicolor", "virginica")
"""y1, y2, y3."""
WIDTH = 3
NUMBERS = range(1, WIDTH + 1)
FORMS = ("neurons", "matrices")
DATA = "iris.csv"


@dataclass(frozen=True)
class Settings(TrainingSettings):
    """Plain gradient descent on all flowers at once: w ← w - η ∂L/∂w with a constant η."""

    form: str = "neurons"
    """neurons: each neuron and each weight on its own; matrices: two matrix products."""
    activation: str = "sigmoid"
    """φ of the hidden neurons."""
    output_activation: str = "sigmoid"
    """φ of the output neurons."""
    bias: bool = False
    """Whether a neuron adds a number of its own."""
    steps: int = 1000
    batch_size: int = 100
    """100 are all flowers of the training set; smaller batches are drawn anew in each epoch."""
    optimiser: str = "sgd"
    learning_rate: float = 0.1
    """η for a loss that is a sum over the batch, not a mean."""
    schedule: str = "constant"
    warmup: int = 0
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        TrainingSettings.__post_init__(self)
        one_of("form", self.form, FORMS)
        one_of("activation", self.activation, tuple(ACTIVATIONS))
        one_of("output_activation", self.output_activation, tuple(ACTIVATIONS))


CHECK = {"dtype": "float64", "batch_size": 4}


def network(settings: Settings) -> Graph:
    """The network in the form of the settings, with the output `loss`."""
    return neurons(settings) if settings.form == "neurons" else matrices(settings)


# ---------------------------------------------------------------- neuron by neuron


def neurons(settings: Settings) -> Graph:
    """Every neuron is a scope, every weight a parameter; a value has the shape [batch]."""
    x = {f"x{i}": input(f"x{i}", "batch", settings.dtype) for i in NUMBERS}
    truth = {f"y{k}": input(f"truth.y{k}", "batch", settings.dtype) for k in NUMBERS}
    h = {
        f"h{j}": neuron(f"h{j}", f"hidden.h{j}", x, settings.activation, settings.bias)
        for j in NUMBERS
    }
    y = {
        f"y{k}": neuron(f"y{k}", f"output.y{k}", h, settings.output_activation, settings.bias)
        for k in NUMBERS
    }
    losses = []
    for k in NUMBERS:
        with scope(f"output.y{k}"):
            losses.append(half_squared_error(y[f"y{k}"], truth[f"y{k}"], name="loss"))
    return Graph({"loss": total(losses, "loss")})


def neuron(tail: str, where: str, heads: Mapping[str, Node], activation: str, bias: bool) -> Node:
    """z_t = φ(a_t), a_t = Σ_{h ∈ heads(t)} w_{h→t} z_h: the neuron `tail` in the scope `where`.

    `heads` are the z_h by the name of their neuron. Each w_{h→t} is drawn from N(0, 1/heads).
    """
    initial = normal(len(heads) ** -0.5)
    dtype = next(iter(heads.values())).dtype
    weights = {head: parameter(f"w.{head}->{tail}", (), initial, dtype) for head in heads}
    offset = [parameter(f"b.{tail}", (), dtype=dtype)] if bias else []
    with scope(where):
        terms = [multiply(weights[head], z, name=f"from_{head}") for head, z in heads.items()]
        return activate(total([*terms, *offset], "a"), activation)


def total(terms: Sequence[Node], name: str) -> Node:
    """The sum of two or more terms, left to right."""
    return add(reduce(add, terms[:-1]), terms[-1], name=name)


def activate(a: Node, activation: str) -> Node:
    """φ(a), called `z`; a linear neuron has both nodes, too, with φ(a) = a."""
    return ACTIVATIONS[activation](a, name="z")


# ---------------------------------------------------------------- as matrices


def matrices(settings: Settings) -> Graph:
    """Y = φ(φ(X W1) W2): row n is example n, column j of `hidden.a` is `hidden.j.a`."""
    x = input("x", ("batch", WIDTH), settings.dtype)
    truth = input("truth", ("batch", WIDTH), settings.dtype)
    h = layer(x, "hidden", 1, settings.activation, settings.bias)
    y = layer(h, "output", 2, settings.output_activation, settings.bias)
    return Graph({"loss": half_squared_error(y, truth, name="loss")})


def layer(x: Node, where: str, number: int, activation: str, bias: bool) -> Node:
    """φ(X W) with the parameter W1 or W2 [3, 3]: all neurons of a layer, for all examples."""
    weight = parameter(f"W{number}", (WIDTH, WIDTH), normal(WIDTH**-0.5), x.dtype)
    offset = parameter(f"b{number}", WIDTH, dtype=x.dtype) if bias else None
    with scope(where):
        if offset is None:
            return activate(matmul(x, weight, name="a"), activation)
        return activate(add(matmul(x, weight, name="product"), offset, name="a"), activation)


def neuron_state(state: State) -> dict[str, np.ndarray]:
    """The parameters of the matrix form under the names of the neurons: `w.x1->h2` = W1[0, 1]."""
    named = {}
    for number, heads, tails in ((1, "x", "h"), (2, "h", "y")):
        for t in NUMBERS:
            for h in NUMBERS:
                weight = state[f"W{number}"][h - 1, t - 1]
                named[f"w.{heads}{h}->{tails}{t}"] = np.array(weight)
            if f"b{number}" in state:
                named[f"b.{tails}{t}"] = np.array(state[f"b{number}"][t - 1])
    return named


# ---------------------------------------------------------------- the flowers


@dataclass(frozen=True)
class Flowers:
    """Some flowers: centimetres and standardised features [flower, 3], species [flower]."""

    centimetres: np.ndarray
    features: np.ndarray
    species: np.ndarray

    def __len__(self) -> int:
        return len(self.species)

    def feeds(self, form: str, members: Sequence[int] | np.ndarray | slice = slice(None)) -> Feeds:
        """The network's inputs for these members; truth is 1 for the species, 0 for the others."""
        x, truth = self.features[members], np.eye(WIDTH)[self.species[members]]
        if form == "matrices":
            return {"x": x, "truth": truth}
        return {
            **{f"x{i}": x[:, i - 1] for i in NUMBERS},
            **{f"truth.y{k}": truth[:, k - 1] for k in NUMBERS},
        }


def read_flowers(text: str, where: str = DATA) -> tuple[np.ndarray, np.ndarray]:
    """The features in centimetres [flower, 3] and the species [flower] of a table.

    Raises DataError with the line that is not a flower.
    """
    header, *lines = text.splitlines() or [""]
    if header != ",".join(COLUMNS):
        raise DataError(f"the first line must be {','.join(COLUMNS)}", f"{where}:1")
    centimetres, species = [], []
    for number, line in enumerate(lines, 2):
        *measures, name = line.split(",")
        try:
            _, *values = map(float, measures)
            species.append(SPECIES.index(name))
            if len(values) != WIDTH or not all(0 < value < 100 for value in values):
                raise ValueError
        except ValueError:
            raise DataError(
                f"{line!r:.60} is not a flower",
                f"{where}:{number}",
                f"write four lengths in centimetres and one of {', '.join(SPECIES)}",
            ) from None
        centimetres.append(values)
    if len(lines) < 2 * WIDTH:
        raise DataError(f"{len(lines)} flowers are too few to learn from", where)
    return np.array(centimetres), np.array(species)


def split_flowers(text: str, where: str = DATA) -> tuple[Flowers, Flowers]:
    """The training flowers and the held-out ones: every third.

    All features are standardised by mean and deviation of the training flowers.
    """
    centimetres, species = read_flowers(text, where)
    held_out = np.arange(len(species)) % 3 == 2
    mean = centimetres[~held_out].mean(axis=0)
    deviation = centimetres[~held_out].std(axis=0)
    features = (centimetres - mean) / np.where(deviation > 0, deviation, 1)
    learnt, unseen = (
        Flowers(centimetres[m], features[m], species[m]) for m in (~held_out, held_out)
    )
    return learnt, unseen


# ---------------------------------------------------------------- the task


def task(settings: Settings, files: Mapping[str, str]) -> Task:
    """The task of predicting the species of an iris; `files` may hold the table as `iris.csv`."""
    text = files[DATA] if DATA in files else shipped_data()
    learnt, unseen = split_flowers(text)
    graph = network(settings)
    predict = predictor(graph, settings.form, settings.backend)

    def feeds(step: int) -> Feeds:
        if settings.batch_size >= len(learnt):
            return learnt.feeds(settings.form)
        epoch, number = divmod(step, len(learnt) // settings.batch_size)
        order = permutation(len(learnt), settings.seed, epoch=epoch)
        start = number * settings.batch_size
        return learnt.feeds(settings.form, order[start : start + settings.batch_size])

    def evaluate(state: State) -> dict[str, float]:
        loss, outputs = predict(state, unseen)
        right = outputs.argmax(axis=1) == unseen.species
        loss *= min(settings.batch_size, len(learnt)) / len(unseen)  # a sum, as over a batch
        return {"loss": loss, "examples": len(unseen), "accuracy": float(right.mean())}

    return Task(
        graph,
        feeds,
        evaluate,
        validate=evaluate,
        examples=partial(_examples, predict, unseen),
        files={DATA: text},
        notice=f"{len(learnt)} irises to learn from, {len(unseen)} held out (R. A. Fisher, 1936)",
    )


Predict = Callable[[State, Flowers], tuple[float, np.ndarray]]


def predictor(graph: Graph, form: str, backend: str = "numpy") -> Predict:
    """A function of a state and flowers: their loss, and the outputs y [flower, 3]."""
    names = [f"output.y{k}.z" for k in NUMBERS] if form == "neurons" else ["output.z"]
    compiled = compile(graph, fetch=names, backend=backend)

    def predict(state: State, flowers: Flowers) -> tuple[float, np.ndarray]:
        values = compiled(state, **flowers.feeds(form))
        columns = [values[name].reshape(len(flowers), -1) for name in names]
        return float(values["loss"]), np.concatenate(columns, axis=1)

    return predict


def _examples(predict: Predict, unseen: Flowers, state: State) -> list[str]:
    """One line per flower: measures, the predicted species with its output, and the verdict."""
    _, outputs = predict(state, unseen)
    lines = []
    for number in range(0, len(unseen), 8):
        sepal, length, width = unseen.centimetres[number]
        guess, truth = int(outputs[number].argmax()), int(unseen.species[number])
        verdict = "right" if guess == truth else f"wrong, it is {SPECIES[truth]}"
        lines.append(
            f"sepal {sepal} cm wide, petal {length} × {width} cm: "
            f"{SPECIES[guess]} ({outputs[number, guess]:.2f}), {verdict}"
        )
    return lines


def shipped_data() -> str:
    """The text of the table in the package."""
    path = Path(__file__).with_name(DATA)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        raise DataError(
            f"cannot read the irises: {problem.strerror}",
            path,
            "reinstall graphgrad: the table is part of the package",
        ) from None
