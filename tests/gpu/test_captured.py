"""What is captured of programs: nothing in it stays as it was at the capture but addresses, and the
device keeps no more of it than the programs that ran last."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from cpu_device import needs_compiler
from fake_cuda import Cuda
from fake_cupy import install

import graphgrad as gg
from graphgrad.backends.cupy import shared_memory
from graphgrad.backends.cupy.binding import written
from graphgrad.backends.cupy.state import DeviceState
from graphgrad.models import transformer
from graphgrad.training.optimisers import training_step

pytestmark = needs_compiler

CHANGED: Mapping[str, float] = {
    **{"run.step": 500, "run.seed": 77, "run.part": 1},
    **{"optimiser.loss_scale": 256.0, "optimiser.finite_steps": 2, "optimiser.updates_done": 300},
    **{"optimiser.weights": 5.0, "optimiser.losses": 9.0},
}
"""Every single number that a step reads of its state, and another one than it has at the capture:
the count of batches is that of a step's last, the finite steps double the scale."""


@cache
def step_graph() -> gg.Graph:
    """A Transformer with dropout, a schedule, Adam, accumulated gradients, and a loss scale."""
    settings = transformer.Settings(
        **{"layers": 1, "width": 8, "heads": 2, "inner": 8, "dropout": 0.3, "warmup": 4},
        **{"accumulate": 2, "precision": "fp16", "loss_scale": 1024.0, "loss_scale_steps": 3},
    )
    return training_step(transformer.training_graph(settings, 9, 9), settings)


def feeds_of(call: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(call)
    return {name: generator.integers(1, 9, (2, 3), "int32") for name in step_graph().inputs}


Results = dict[str, bytes]


def results_of(compiled: gg.Compiled, state: DeviceState, call: int) -> Results:
    """All that a call computes, outputs and state."""
    outputs = compiled(state, **feeds_of(call))
    kept = {f"output {name}": value.tobytes() for name, value in outputs.items()}
    return kept | {name: state[name].tobytes() for name in state}


def after_the_capture(compiled: gg.Compiled) -> tuple[Results, dict[str, np.ndarray]]:
    """Of a call that is a replay, over numbers that were not there when it was captured."""
    state: Any = compiled.on_device(gg.initial_state(step_graph(), 1))
    for call in range(2):
        compiled(state, **feeds_of(call))
    numbers = {
        name: np.array(value, state[name].dtype).reshape(state[name].shape)
        for name, value in CHANGED.items()
    }
    state.write(numbers)
    before = {name: state[name].copy() for name in state}
    return results_of(compiled, state, 2), before


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> gg.Compiled:
    install(monkeypatch, Cuda())
    return gg.compile(step_graph(), guards="loss", precision="fp16", backend="cupy")


def test_all_numbers_of_a_step_are_changed_here():
    graph = step_graph()
    numbers = {name for name, node in graph.states.items() if node.type.size == 1}
    assert numbers - graph.parameters.keys() == CHANGED.keys()


def test_a_replay_computes_what_a_first_run_does_from_the_same_state(monkeypatch, compiled):
    """Bit by bit, whatever the number of the step, the seed, the part of it, or the scale is."""
    found, before = after_the_capture(compiled)
    driver = Cuda()
    install(monkeypatch, driver)
    anew = gg.compile(step_graph(), guards="loss", precision="fp16", backend="cupy")
    state: Any = anew.on_device(before)
    assert results_of(anew, state, 2) == found and not driver.captures
    place = DeviceState.place
    for frozen in ("", *CHANGED):

        def placed(self: DeviceState, name: str, frozen: str = frozen) -> Any:
            """The fault that is looked for: launches that know a copy of the number."""
            if name != frozen:
                return place(self, name)
            return written(self.device, np.array(gg.initial_state(step_graph(), 1)[name])), 0

        monkeypatch.setattr(DeviceState, "place", placed)
        wrong, _ = after_the_capture(anew)
        odd = {name for name, value in wrong.items() if value != found[name]}
        assert bool(odd - {frozen}) == bool(frozen), f"{frozen} is not missed"


def test_captures_are_kept_of_the_programs_that_ran_last(monkeypatch):
    """One more than the limit frees the oldest; the first one, back again, is captured again."""
    driver = Cuda()
    install(monkeypatch, driver)
    x, w = gg.input("x", (4, "size")), gg.parameter("w", (1,))
    loss = gg.sum(gg.softmax(gg.exp(x * w)) * x)
    graph = gg.sgd(gg.Graph({"loss": loss}), 0.1)
    device, on_cpu = gg.compile(graph, backend="cupy"), gg.compile(graph)
    states: list[Any] = []
    plain: list[Any] = []
    most = shared_memory.CAPTURED
    for number in range(most + 1):
        wanted = gg.initial_state(graph, number)
        wanted["w"][...] = 1 + number / most
        plain.append(wanted)
        states.append(device.on_device(wanted))

    def run(number: int) -> None:
        feeds = {"x": np.linspace(0, 1, 4 * (2 + number % 3)).reshape(4, -1)}
        found, wanted = device(states[number], feeds), on_cpu(plain[number], feeds)
        np.testing.assert_allclose(found["loss"], wanted["loss"], 1e-5)

    for number in range(most + 1):
        run(number)
        run(number)
        assert (driver.captures, len(driver.graphs)) == (number + 1, min(number + 1, most))
    run(most)  # is captured still
    assert driver.captures == most + 1
    run(0)
    assert (driver.captures, len(driver.graphs)) == (most + 2, most)
    for number, state in enumerate(states):
        np.testing.assert_allclose(state["w"], plain[number]["w"], 1e-5)
