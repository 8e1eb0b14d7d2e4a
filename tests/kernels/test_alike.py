"""Loop nests that are printed once for all regions of a kind: nothing shows which one was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.graph import Graph
from graphgrad.kernels import alike
from graphgrad.kernels.alike import LoopPrinter
from graphgrad.kernels.fuse import fused
from graphgrad.kernels.loop_nest import LoopNest, Stream
from graphgrad.kernels.loops import print_loops
from graphgrad.models import transformer
from graphgrad.passes import FUSING_PASSES, PASSES, SPECIALISED_PASSES, optimise, specialise
from graphgrad.plan import Step, make_plan
from graphgrad.training.optimisers import training_step

pytestmark = pytest.mark.usefixtures("small_kernels")
SIZES = {"batch": 5, "source": 9, "target": 7}


def fused_steps(layers: int) -> Iterator[Step]:
    settings = transformer.Settings(
        layers=layers, width=24, heads=3, inner=20, dropout=0.1, label_smoothing=0.1
    )
    graph = training_step(transformer.training_graph(settings, 23, 19), settings)
    graph = specialise(optimise(graph, PASSES)[0], SIZES)
    plan = make_plan(optimise(graph, (*SPECIALISED_PASSES, *FUSING_PASSES))[0], (), fused)
    return (step for step in plan.steps if step.group.nest is not None)


def same(one: LoopNest, other: LoopNest) -> bool:
    """Whether two nests are equal; arrays by what they hold."""

    def plain(value: object) -> object:
        if isinstance(value, np.ndarray):
            return value.tolist()
        if isinstance(value, tuple):
            return tuple(map(plain, value))
        if type(value).__name__ in ("Argument", "Part"):
            return tuple(plain(getattr(value, each.name)) for each in fields(value))  # type: ignore[arg-type]
        return value

    return all(plain(getattr(one, f.name)) == plain(getattr(other, f.name)) for f in fields(one))


def test_every_nest_of_a_step_is_what_print_loops_gives():
    printer, number = LoopPrinter(), 0
    for step in fused_steps(2):
        for shared in ({}, step.inherited):
            region = step.group.nest.region
            nest = printer.nest(region, step.group.outputs, shared)
            assert same(nest, print_loops(region, step.group.outputs, shared))
            number += 1
    assert number > 100


def test_more_layers_are_not_more_to_print(monkeypatch):
    printed: list[str] = []

    def counted(*arguments: object) -> LoopNest:
        nest = print_loops(*arguments)  # type: ignore[arg-type]
        printed.append(nest.text)
        return nest

    monkeypatch.setattr(alike, "print_loops", counted)
    counts = []
    for layers in (3, 6):
        printed.clear()
        masks = sum(any("fill_mask" in line for line in step.group.nest.text.splitlines())
                    for step in fused_steps(layers))  # fmt: skip
        counts.append(sum("fill_mask" not in text for text in printed))
        assert masks
    assert counts[0] == counts[1]


def nests_of(*values: gg.Node) -> list[LoopNest]:
    """The nests of graphs of one region each, by one printer."""
    printer, found = LoopPrinter(), []
    for value in values:
        plan = make_plan(Graph({"y": value}), (), fused)
        (step,) = (step for step in plan.steps if step.group.nest is not None)
        found.append(printer.nest(step.group.nest.region, step.group.outputs))
        assert same(found[-1], print_loops(step.group.nest.region, step.group.outputs))
    return found


X, Y = gg.input("x", (4, 6)), gg.input("y", (4, 6))
ROW, COLUMN = gg.input("row", (6,)), gg.input("column", (4, 1))
SEED, STEP = gg.state("seed", (), dtype="int64"), gg.state("step", (), dtype="int64")


def test_other_nodes_are_alike_and_other_mathematics_is_not():
    first, second = nests_of(gg.tanh(X) * Y, gg.tanh(Y) * X)
    assert first.text == second.text
    assert [each.node for each in first.arguments] == [X, Y]
    assert [each.node for each in second.arguments] == [Y, X]
    different = nests_of(
        gg.tanh(X) * Y,
        gg.tanh(X) * X,
        gg.tanh(X) * ROW,
        gg.tanh(X) * COLUMN,
        gg.tanh(X) * 2.0,
        gg.tanh(X) * 3.0,
        gg.tanh(X) * gg.dropout_mask(SEED, STEP, (4, 6), 0.1, 0, "float32"),
        gg.tanh(X) * gg.dropout_mask(SEED, STEP, (4, 6), 0.2, 0, "float32"),
        gg.tanh(gg.input("z", (4, 6), "float64")) * gg.input("v", (4, 6), "float64"),
    )
    assert len({nest.text for nest in different}) == len(different)


def test_masks_of_other_streams_are_drawn_from_other_streams():
    nests = nests_of(*(
        gg.tanh(X) * gg.dropout_mask(SEED, STEP, (4, 6), 0.1, stream, "float32")
        for stream in (7, 8)
    ))  # fmt: skip
    streams = [[word.mask.attributes["stream"] for word in nest.words if isinstance(word, Stream)]
               for nest in nests]  # fmt: skip
    assert streams == [[7], [8]] and nests[0].text == nests[1].text
