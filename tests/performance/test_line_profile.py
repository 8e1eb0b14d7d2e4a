"""The profile of a program: every line is there, times are their own, nothing is changed."""

import sys
import time

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.backends import Program
from graphgrad.errors import ConfigurationError
from graphgrad.performance import line_profile
from graphgrad.performance.line_profile import Profile, chrome_trace, profile

SIZE = 300


@pytest.fixture
def program() -> Program:
    """y = tanh(x w) + 1, and w moves by the mean of y."""
    x, w = gg.input("x", (SIZE, SIZE)), gg.parameter("w", (SIZE, SIZE))
    product = gg.matmul(x, w, name="product")
    y = gg.add(gg.tanh(product, name="z"), 1.0, name="y")
    graph = gg.Graph({"y": y, "mean": gg.mean(y)}, {w: gg.subtract(w, gg.mean(y), name="next")})
    return gg.compile(graph, guards=("mean",)).program()


def profiled(program: Program, steps: int = 3) -> Profile:
    state = {"w": np.full((SIZE, SIZE), 0.01, np.float32)}
    return profile(program, state, lambda step: {"x": np.ones((SIZE, SIZE), np.float32)}, steps)


def test_every_step_of_the_plan_has_its_line(program: Program) -> None:
    found = profiled(program)
    by_name = {line.name: line for line in found.lines}
    for step in program.plan.steps:
        line = by_name[program.graph.name_of(step.node)]
        assert line.operation == step.node.operation.name and line.calls == 1
        assert line.line == program.line_of(step.node)
        assert line.type == str(step.node.type)
    others = {line.operation for line in found.lines} - {
        s.node.operation.name for s in program.plan.steps
    }
    assert others == {"guard", "return"}, "what computes no node is there too"
    product = by_name["product"]
    assert product.flops == 2 * SIZE**3 and product.bytes == 3 * SIZE * SIZE * 4
    assert product.origin.startswith(f"{__file__}:")
    assert product.gflops == pytest.approx(2 * SIZE**3 / product.seconds / 1e9)


def test_the_time_belongs_to_the_line_that_takes_it() -> None:
    def wait(xp: object, out: np.ndarray, x: np.ndarray) -> None:
        time.sleep(0.02)
        np.copyto(out, x)

    slow = gg.Operation("slow", lambda x: x, "x", wait, arity=1)
    x = gg.input("x", (4,))
    graph = gg.Graph(gg.tanh(slow(gg.exp(x, name="before"), name="sleeper"), name="after"))
    program = gg.compile(graph).program()
    found = profile(program, {}, lambda step: {"x": np.ones(4, np.float32)}, 2)
    seconds = {line.name: line.seconds for line in found.lines}
    assert seconds["sleeper"] >= 0.02
    assert max(seconds["before"], seconds["after"]) < 0.01
    assert found.whole_seconds >= 0.02
    assert found.operations[0].operation == "slow"
    assert found.seconds == pytest.approx(sum(seconds.values()))
    events = {event["name"]: event for event in chrome_trace(found)["traceEvents"]}
    assert events["sleeper"]["dur"] >= 20_000
    end = events["before"]["ts"] + events["before"]["dur"]
    assert events["sleeper"]["ts"] == pytest.approx(end)
    assert events["before"]["ts"] == 0


def test_operations_are_the_sums_of_their_lines(program: Program) -> None:
    found = profiled(program)
    means = [line for line in found.lines if line.operation == "mean"]
    (together,) = [each for each in found.operations if each.operation == "mean"]
    assert together.calls == len(means)
    assert together.seconds == pytest.approx(sum(line.seconds for line in means))
    assert sum(each.bytes for each in found.operations) == sum(line.bytes for line in found.lines)
    printed = found.to_dict()
    assert printed["steps"] == 3 and len(printed["nodes"]) == len(found.lines)


def test_state_and_trace_function_are_as_before(program: Program) -> None:
    state = {"w": np.full((SIZE, SIZE), 0.01, np.float32)}
    before, tracer = state["w"].copy(), sys.gettrace()
    steps: list[int] = []

    def inputs(step: int) -> dict[str, np.ndarray]:
        steps.append(step)
        return {"x": np.ones((SIZE, SIZE), np.float32)}

    profile(program, state, inputs, 2)
    assert np.array_equal(state["w"], before)
    assert sys.gettrace() is tracer
    assert steps == list(range(line_profile.WARM_STEPS + 4))
    with pytest.raises(ConfigurationError, match="at least one step"):
        profile(program, state, inputs, 0)
