"""Trains on a user's own arrays: `fit`, a small loop.

    step = gg.adam(graph, 1e-3)
    state = gg.fit(step, {"x": x, "label": labels}, epochs=20, report=print)

The loop is what one would write by hand around `compile`: shuffle, cut into batches, call. A long
training that must survive interrupts and crashes is a run: a model file and `graphgrad train`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from graphgrad.compile import Compiled, compile
from graphgrad.data.corpus import permutation
from graphgrad.errors import DeclarationError
from graphgrad.graph import Dimension, Graph, initial_state
from graphgrad.graph.arguments import named_arguments
from graphgrad.graph.arrays import given_array
from graphgrad.graph.interface import Given, named_inputs
from graphgrad.graph.scope import current_origin
from graphgrad.graph.types import whole_number
from graphgrad.graph.verify import need_graph
from graphgrad.training.ahead import results_of

State = dict[str, np.ndarray]
Report = Callable[[int, dict[str, float]], object]


@named_arguments
def fit(
    graph: Graph,
    arrays: Given,
    *,
    epochs: int = 1,
    batch_size: int = 32,
    seed: int = 0,
    state: State | None = None,
    report: Report | None = None,
    fuse: bool = True,
    backend: str = "numpy",
    precision: str = "fp32",
) -> State:
    """Trains a graph with updates on arrays of examples; returns its state, an array by name.

    `arrays` holds a value for each input, by name or node. The first axis of an input whose first
    size is open ("batch") is that of the examples: it is shuffled anew in each epoch, as the seed
    determines, and cut into batches of `batch_size`, the last of which may be smaller. Other inputs
    are fed unchanged.

    `state` is trained in place; arrays that it lacks, all of them by default, are drawn from the
    seed. After each epoch `report(epoch, figures)` is called with the mean of each scalar output
    over the examples. `backend="cupy"` trains on a CUDA device, and `state` has the result at the
    end; `precision` is that of `compile`. Raises NonFiniteError where one of these is not finite
    (that step changes nothing), and DeclarationError for a graph without updates and for arrays
    that do not fit.

    >>> import graphgrad as gg
    >>> x, y = gg.input("x", ("batch", 1)), gg.input("y", ("batch", 1))
    >>> loss = gg.mean((gg.layers.dense(x, 1, "line") - y) ** 2.0, name="loss")
    >>> line = {"x": [[0.0], [1.0], [2.0]], "y": [[1.0], [3.0], [5.0]]}    # y = 2x + 1
    >>> state = gg.fit(gg.sgd(gg.Graph(loss), 0.1), line, epochs=300)
    >>> print(state["line.w"].round(2), state["line.b"].round(2))
    [[2.]] [1.]
    """
    _need_updates(graph)
    epochs, batch_size = _count(epochs, "epochs"), _count(batch_size, "batch_size")
    named = named_inputs(graph.inputs, arrays, {})
    values = {name: given_array(f"input {name!r}", value) for name, value in named.items()}
    examples, count = _examples(graph, values)
    figures = [name for name, node in graph.outputs.items() if node.shape == ()]
    train = _compiled(graph, figures, fuse, backend, precision)
    state = {} if state is None else state
    _complete(state, graph, seed)
    own = train.on_device({name: state[name] for name in graph.states})
    try:
        for epoch in range(epochs):
            totals = dict.fromkeys(figures, 0.0)
            batches = list(_batches(count, batch_size, seed, epoch))
            fed = (_fed(values, examples, batch) for batch in batches)
            for batch, results in zip(batches, results_of(train, own, fed), strict=True):
                for name, value in results.items():
                    totals[name] += float(value) * len(batch)
            if report is not None:
                report(epoch + 1, {name: total / count for name, total in totals.items()})
    finally:
        for name, value in own.items():
            if state[name] is not value:  # it is on a device
                np.copyto(state[name], value)
    return state


def _need_updates(graph: Graph) -> None:
    need_graph(graph, "fit")
    if not graph.updates:
        raise DeclarationError(
            "the graph updates nothing, so there is nothing to fit",
            current_origin(),
            "fit(adam(graph, 1e-3), …)",
        )


def _compiled(
    graph: Graph, figures: list[str], fuse: bool, backend: str, precision: str
) -> Compiled:
    """The training step with these outputs, which changes nothing where one is not finite."""
    wanted = graph.with_outputs({name: graph.outputs[name] for name in figures})
    guards = [name for name in figures if graph.outputs[name].type.is_float]
    return compile(wanted, guards=guards, fuse=fuse, backend=backend, precision=precision)


def _complete(state: State, graph: Graph, seed: int) -> None:
    """Draws the arrays that the state lacks, and adds them to it."""
    known = {name: array for name, array in state.items() if name in graph.states}
    drawn = initial_state(graph, seed, known)
    state.update((name, array) for name, array in drawn.items() if name not in known)


def _count(value: Any, what: str) -> int:
    try:
        number = whole_number(value, what)
    except ValueError as problem:
        raise DeclarationError(str(problem), current_origin()) from None
    if number < 1:
        raise DeclarationError(f"{what} is at least 1, not {number}", current_origin())
    return number


def _examples(graph: Graph, values: Mapping[str, np.ndarray]) -> tuple[set[str], int]:
    """The inputs that hold examples along their first axis, and how many there are."""
    names = {
        name
        for name, node in graph.inputs.items()
        if node.shape and isinstance(node.shape[0], Dimension) and name in values
    }
    counts = {name: len(values[name]) if values[name].ndim else 0 for name in sorted(names)}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name!r} has {count}" for name, count in counts.items())
        raise DeclarationError(
            f"the arrays hold different numbers of examples: {listed}",
            fix="give one entry of each for every example",
        )
    count = next(iter(counts.values()), 1)
    if not count:
        raise DeclarationError("the arrays hold no examples")
    return names, count


def _fed(values: Mapping[str, np.ndarray], examples: set[str], batch: np.ndarray) -> State:
    """The inputs of a step: those entries of the examples, and the other inputs whole."""
    return {name: value[batch] if name in examples else value for name, value in values.items()}


def _batches(count: int, size: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
    order = permutation(count, seed, epoch=epoch)
    for start in range(0, count, size):
        yield order[start : start + size]
