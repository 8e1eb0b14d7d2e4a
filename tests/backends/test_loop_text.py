"""Kernels are rendered from loops alone: equal layers share one, whatever their nodes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from planned import plan_of

import graphgrad as gg
from graphgrad.backends.arguments import LoopText, MaskStream
from graphgrad.backends.numpy import loop_text
from graphgrad.backends.numpy.loop_text import LoopTextCache, render_loops
from graphgrad.fusion.nest import LoopNest
from graphgrad.fusion.statements import Loops
from graphgrad.graph import Graph
from graphgrad.guide import guide_file
from graphgrad.models import transformer
from graphgrad.passes import FUSING_PASSES, PASSES, SPECIALISED_PASSES, optimise, specialise
from graphgrad.plan import Step
from graphgrad.training.optimisers import training_step

GOLDEN = Path(__file__).parent.parent / "fusion" / "golden"
LETTERS = guide_file("loop_language.md").partition("## Letters")[2].partition("##")[0]
SIZES = {"batch": 5, "source": 9, "target": 7}


def fused_steps(layers: int) -> Iterator[Step]:
    settings = transformer.Settings(
        layers=layers, width=24, heads=3, inner=20, dropout=0.1, label_smoothing=0.1
    )
    graph = training_step(transformer.training_graph(settings, 23, 19), settings)
    graph = specialise(optimise(graph, PASSES)[0], SIZES)
    plan = plan_of(optimise(graph, (*SPECIALISED_PASSES, *FUSING_PASSES))[0], fused=True)
    return (step for step in plan.steps if step.group.nest is not None)


def test_more_layers_are_not_more_to_render(monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[str] = []

    def counted(loops: Loops, in_place: Mapping[int, int]) -> LoopText:
        found = render_loops(loops, in_place)
        printed.append(found.text)
        return found

    monkeypatch.setattr(loop_text, "render_loops", counted)
    counts = []
    for layers in (3, 6):
        printed.clear()
        texts, steps = LoopTextCache(), list(fused_steps(layers))
        for step in steps:
            found = texts.render(step.group.nest.loops, {})
            assert found == render_loops(step.group.nest.loops)
        assert len(printed) < len(steps)
        counts.append(len(printed))
    assert counts[0] == counts[1]


def nests_of(*values: gg.Node) -> list[LoopNest]:
    """The nests of graphs of one region each."""
    found = []
    for value in values:
        plan = plan_of(Graph({"y": value}), fused=True)
        (step,) = (step for step in plan.steps if step.group.nest is not None)
        found.append(step.group.nest)
    return found


X, Y = gg.input("x", (4, 6)), gg.input("y", (4, 6))
ROW, COLUMN = gg.input("row", (6,)), gg.input("column", (4, 1))
SEED, STEP = gg.state("seed", (), dtype="int64"), gg.state("step", (), dtype="int64")


def test_other_nodes_have_equal_loops_and_other_mathematics_has_not() -> None:
    first, second = nests_of(gg.tanh(X) * Y, gg.tanh(Y) * X)
    assert first.loops == second.loops and hash(first.loops) == hash(second.loops)
    assert [first.nodes[each.value] for each in first.loops.arguments] == [X, Y]
    assert [second.nodes[each.value] for each in second.loops.arguments] == [Y, X]
    different = nests_of(
        gg.tanh(X) * Y,
        gg.tanh(X) * X,
        gg.tanh(X) * ROW,
        gg.tanh(X) * COLUMN,
        gg.tanh(X) * 2.0,
        gg.tanh(X) * 3.0,
        gg.tanh(X) + 0.0,
        gg.tanh(X) + -0.0,
        gg.tanh(X) * gg.dropout_mask(SEED, STEP, (4, 6), 0.1, 0, "float32"),
        gg.tanh(X) * gg.dropout_mask(SEED, STEP, (4, 6), 0.2, 0, "float32"),
        gg.tanh(gg.input("z", (4, 6), "float64")) * gg.input("v", (4, 6), "float64"),
    )
    assert len({nest.loops for nest in different}) == len(different)
    assert len({render_loops(nest.loops).text for nest in different}) == len(different)


def test_masks_of_other_streams_are_drawn_from_other_streams() -> None:
    nests = nests_of(
        *(
            gg.tanh(X) * gg.dropout_mask(SEED, STEP, (4, 6), 0.1, stream, "float32")
            for stream in (7, 8)
        )
    )
    streams = [
        [
            nest.nodes[argument.value].attributes["stream"]
            for argument in render_loops(nest.loops).arguments
            if isinstance(argument, MaskStream)
        ]
        for nest in nests
    ]
    assert streams == [[7], [8]] and nests[0].loops == nests[1].loops


def test_an_output_in_an_arguments_memory_is_passed_once() -> None:
    (nest,) = nests_of(gg.tanh(X) * Y)
    ((output, argument), other) = nest.loops.may_overwrite()
    assert other[0] == output and {nest.nodes[argument], nest.nodes[other[1]]} == {X, Y}
    apart, shared = render_loops(nest.loops), render_loops(nest.loops, {output: argument})
    assert len(shared.arguments) == len(apart.arguments) - 1
    assert f"o{output} = a{argument}" in shared.text and f"r{output}" not in shared.text


def test_the_guide_explains_every_name_in_the_golden_kernels() -> None:
    first_column = " ".join(line.split("|")[1] for line in LETTERS.splitlines() if "|" in line)
    explained = set(re.findall(r"`([a-z]+)\d*", first_column))
    texts = [file.read_text().partition("\ndef kernel")[2] for file in GOLDEN.glob("*.txt")]
    used = set(re.findall(r"\b([a-z]+)\d+\b", "\n".join(texts))) - {"float", "int", "uint"}
    assert len(used) > 10 and used <= explained
