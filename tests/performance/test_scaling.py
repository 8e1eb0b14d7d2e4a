"""What many ranks would reach: by hand numbers, and in the order that the strategies have."""

import math

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.performance.line_profile import profile
from graphgrad.performance.overlap import Line
from graphgrad.performance.scaling import WAYS, Step, step_of
from graphgrad.ranks import Link

LINK = Link(latency=0.5, rate=100.0)
LINES = (
    Line("forward", 4.0),
    Line("start", 0.0, starts=0),
    Line("backward", 6.0),
    Line("wait", 77.0, waits=0),
    Line("update", 2.0),
)
STEP = Step(LINES, frozenset({4}), {0: 10_000}, 10_000, 30_000)


def test_a_step_by_hand():
    assert STEP.compute == 12.0 and STEP.bytes == 10_000
    ring = 2 * 3 * (0.5 + 25.0)  # of four ranks
    assert LINK.reduce_seconds(10_000, 4) == ring == 153.0
    assert STEP.seconds("without overlap", 4, LINK, 1) == 12.0 + ring
    assert STEP.seconds("overlap", 4, LINK, 1) == 4.0 + ring + 2.0  # 6 of it are hidden
    norm = LINK.reduce_seconds(4, 4)
    half = 3 * (0.5 + 25.0)
    assert STEP.seconds("ZeRO-1", 4, LINK, 1) == 4.0 + half + 2.0 / 4 + norm + half
    assert STEP.seconds("DiLoCo", 4, LINK, 51) == 12.0 + 2 * 3 * (0.5 + 75.0) / 51
    for way in WAYS:
        assert STEP.seconds(way, 1, LINK, 7) == 12.0
    assert STEP.state_bytes_of("ZeRO-1", 4) == 10_000 + 5_000
    assert STEP.state_bytes_of("overlap", 4) == 30_000
    assert STEP.state_bytes_of("DiLoCo", 4) == 50_000


def test_a_fast_link_costs_nothing_and_a_slow_one_everything():
    fast, slow = Link(0.0, math.inf), Link(0.0, 1.0)
    for way in WAYS[:2]:
        assert STEP.seconds(way, 64, fast, 1) == 12.0
    assert STEP.seconds("overlap", 64, slow, 1) > 0.99 * STEP.seconds(
        "without overlap", 64, slow, 1
    )
    assert STEP.scaled(6.0).seconds("overlap", 64, fast, 1) == pytest.approx(6.0)


def test_the_step_of_a_program():
    x, w = gg.input("x", ("batch", 64)), gg.parameter("w", (64, 64), 0.1)
    graph = gg.derive(gg.Graph({"loss": gg.sum((x @ w) ** 2.0)}), "loss")
    moment = gg.state("m", (64, 64))
    updates = {w: w - 0.1 * moment, moment: 0.9 * moment + graph.delta(w)}
    norm = gg.sum(graph.delta(w) ** 2.0)
    graph = gg.split_batch(graph.changed({"loss": graph.outputs["loss"], "norm": norm}, updates))
    program = gg.compile(graph, guards=("loss", "norm")).program(batch=4)
    feeds = {"x": np.ones((4, 64), np.float32)}
    step = step_of(program, profile(program, gg.initial_state(graph), lambda n: feeds, 2))
    assert step.sizes == {0: 4 + 64 * 64 * 4}
    assert (step.parameter_bytes, step.state_bytes) == (64 * 64 * 4, 2 * 64 * 64 * 4)
    names = [step.lines[number].name for number in sorted(step.updating)]
    assert names and set(names) <= {"multiply", "subtract", "add"}
    assert "matmul" in [line.name for line in step.lines] and step.compute > 0.0
