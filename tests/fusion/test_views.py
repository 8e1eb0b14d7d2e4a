"""Every operation on every kind of view, values and deltas: plain, in kernels, with each of the
compiler's choices left out; and what is reduced or broadcast at the sizes where kernels start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from views import SOURCES, VIEWS, Viewed, declare_views

import graphgrad as gg
from graphgrad.graph.samples import Draw
from graphgrad.ops import ALL_OPERATIONS
from graphgrad.ops.evaluate import evaluate
from graphgrad.options import CHOICES, Options
from graphgrad.passes import PASSES, SPECIALISED_PASSES, optimise, specialise

pytest.importorskip("llvmlite", reason="kernels are compiled by LLVM")

CASES = [
    pytest.param(operation, number, id=f"{operation.name}-{number}")
    for operation in ALL_OPERATIONS
    for number, sample in enumerate(operation.samples)
    if any(head.shape and 0 not in head.shape for head in sample.heads)
]
FUSED = {"fuse": True, "smallest_kernel": 1}


def assert_as_evaluated(viewed: Viewed, *ways: Mapping[str, Any], tolerance: float = 1e-9) -> None:
    """All outputs and deltas equal those of the reference, with each way of compiling."""
    graph = viewed.graph()
    feeds = {name: array for name, array in viewed.feeds.items() if name in graph.inputs}
    values = evaluate(graph, feeds)
    for way in ways:
        found = gg.compile(graph, **way)(**feeds)
        for name, node in graph.outputs.items():
            scale = 1.0 + float(np.max(np.abs(values[node]), initial=0))
            np.testing.assert_allclose(
                found[name],
                values[node],
                rtol=tolerance,
                atol=tolerance * scale,
                err_msg=f"{name} {dict(way)}",
            )


@pytest.mark.parametrize(("operation", "number"), CASES)
def test_every_operation_reads_every_view(operation: gg.Operation, number: int) -> None:
    """Of every source for the first sample, of one of them for each further. Views of constants are
    folded into constants, so the first sample has a third of them, another one for the next
    operation."""
    sources, of_constants = [SOURCES[number % len(SOURCES)]], list(VIEWS)
    if number == 0:
        place = ALL_OPERATIONS.index(operation)
        sources, of_constants = [*SOURCES], of_constants[place % 3 :: 3]
    sample = operation.samples[number]
    viewed = declare_views(operation, sample, sources=sources, of_constants=of_constants)
    assert_as_evaluated(viewed, {}, FUSED)


def choices_that_matter(graph: gg.Graph) -> set[str]:
    """The choices without which there is another program: not the passes that change nothing here,
    not the order of updates, of which there are none, and not what is a device's."""
    acted: set[str] = set()

    def check(name: str, before: gg.Graph, after: gg.Graph) -> None:
        if (after.nodes, after.outputs) != (before.nodes, before.outputs):
            acted.add(name)

    first, _ = optimise(graph, PASSES, check)
    then, _ = Options(**FUSED).passes_of_a_program(SPECIALISED_PASSES)
    optimise(specialise(first, {}), then, check)
    passes = {each.__name__ for each in (*PASSES, *then)}
    return acted | {*CHOICES} - passes - {
        "join_attention",
        "eager_updates",
        "epilogues",
        "products",
    }


TELLING = ("transposed", "repeated", "sliced")
"""Views of which every choice that matters to an operation tells."""
FIRST = [
    pytest.param(place, case.values[0], id=case.values[0].name)
    for place, case in enumerate(case for case in CASES if case.values[1] == 0)
]


@pytest.mark.parametrize(("place", "operation"), FIRST)
def test_every_operation_reads_views_without_one_choice(
    place: int, operation: gg.Operation
) -> None:
    """Each choice is left out with some of the views, and with others for the next operation: every
    operation meets every view and every choice, and a choice that many operations have every view.
    What a single operation does to a single view without a choice is left to the random graphs."""
    sample = operation.samples[0]
    choices = sorted(
        choices_that_matter(
            declare_views(operation, sample, sources=["computed"], views=TELLING).graph()
        )
    )
    assert len(choices) >= 3  # at the least kernels, what is made again, and layouts
    for number, choice in enumerate(choices):
        views = [*VIEWS][(place + number) % len(choices) :: len(choices)]
        viewed = declare_views(operation, sample, sources=["computed"], views=views)
        assert_as_evaluated(viewed, {**FUSED, "without": [choice]})


READERS: Mapping[str, Callable[[gg.Node], gg.Node]] = {
    "sum of rows": lambda x: gg.sum(x, 1),
    "sum of columns": lambda x: gg.sum(x, 0),
    "sum of all": lambda x: gg.sum(x),
    "mean": lambda x: gg.mean(x, 1),
    "max": lambda x: gg.max(x, 1),
    "min": lambda x: gg.min(x, 1),
    "max of columns": lambda x: gg.max(x, 0),
    "variance": lambda x: gg.variance(x, 1),
    "standardise": lambda x: gg.standardise(x),
    "softmax": lambda x: gg.softmax(x),
    "log_softmax": lambda x: gg.log_softmax(x),
    "logsumexp": lambda x: gg.logsumexp(x, 1),
    "centred": lambda x: x - gg.mean(x, 1, keepdims=True),
    "norm": lambda x: x / gg.sqrt(gg.sum(x * x, 1, keepdims=True) + 1.0),
    "gelu": lambda x: gg.gelu(x * 1.5),
    "row bias": lambda x: gg.tanh(x + gg.sum(x, 0)),
}
"""What a kernel computes of a whole value."""


@pytest.mark.parametrize(
    ("shape", "dtype", "parity"),
    [
        ((64, 64), "float64", 1),
        ((4100, 1), "float64", 0),
        ((1, 4100), "float64", 1),
        ((65, 127), "float64", 0),
        ((64, 64), "float32", 1),
        ((65, 127), "float32", 0),
    ],
)
def test_values_and_deltas_where_kernels_start(
    shape: tuple[int, int], dtype: str, parity: int
) -> None:
    """By the usual limit, so that large values are kernels' and small ones NumPy's.

    Each shape has every second pair of view and reader; each pair has a shape with many rows and
    columns, one with a single one of either, and float32."""
    viewed = Viewed(dtype)
    draw = Draw("real", shape)
    for place, (view, declare) in enumerate(VIEWS.items()):
        for number, (name, read) in enumerate(READERS.items()):
            if (place + number) % 2 == parity:
                kind = "computed" if number // 2 % 2 else "input"
                viewed.outputs[f"{name} of {view}"] = read(
                    declare(viewed.source(kind, draw), shape)
                )
    tolerance = 1e-8 if dtype == "float64" else 2e-2  # deltas of 0 are what is left of sums
    assert_as_evaluated(viewed, {"fuse": True}, tolerance=tolerance)


def test_a_view_that_a_kernel_misreads_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk can fail: where nothing asks whether elements lie in order, it does."""
    monkeypatch.setattr("graphgrad.schedule.Layouts.contiguous", lambda self, node: True)
    total = next(operation for operation in ALL_OPERATIONS if operation.name == "sum")
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_as_evaluated(declare_views(total, total.samples[0]), FUSED)
