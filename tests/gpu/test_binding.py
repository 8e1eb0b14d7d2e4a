"""The binder on a device that is this processor: what it runs is what it would run on a GPU."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cpu_backend import CpuDevice, install
from cpu_device import needs_compiler
from device_steps import GUARDS, feeds_of, initial, step_of

import graphgrad as gg
from graphgrad.backends import choice
from graphgrad.backends.cupy.program import DeviceProgramOfPlan
from graphgrad.backends.cupy.shared_memory import SharedMemory
from graphgrad.errors import (
    DataError,
    DeclarationError,
    EnvironmentLimitError,
    NonFiniteError,
    UnknownNameError,
)

pytestmark = needs_compiler


def counts(device: CpuDevice) -> tuple[int, int, int]:
    return device.starts, device.writes, device.waits


def test_twenty_steps_on_a_device_are_those_of_the_processor(device):
    """Float64, with the state on the device; from the second on, a step is one launch."""
    graph = step_of("transformer", "float64")
    on_device, on_cpu = gg.compile(graph, guards=GUARDS, backend="cupy"), gg.compile(graph)
    state, wanted = on_device.on_device(initial(graph)), initial(graph)
    for step in range(20):
        feeds, before, sent = feeds_of("transformer", step), counts(device), device.sends
        found, expected = on_device(state, **feeds), on_cpu(wanted, **feeds)
        starts, writes, waits = (b - a for a, b in zip(before, counts(device), strict=True))
        if step:
            assert (starts, waits) == (1, 1 + len(outside_of_numbers(on_device)))
            assert (writes, device.sends - sent) == (0, 1)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, 1e-9, 1e-9, err_msg=name)
    assert device.captures == 1
    for name, value in wanted.items():
        np.testing.assert_allclose(state[name], value, 1e-9, 1e-9, err_msg=name)


def program_of(compiled: gg.Compiled) -> DeviceProgramOfPlan:
    program = compiled.program(batch=3, source=5, target=7)
    assert isinstance(program, DeviceProgramOfPlan)
    return program


def outside_of_numbers(compiled: gg.Compiled) -> list[str]:
    """The outputs that need a copy of their own."""
    outputs = program_of(compiled).device_program.outputs
    return [name for name, array in outputs.items() if array.memory != "numbers"]


@pytest.mark.parametrize("captures", [True, False])
def test_a_state_of_arrays_is_copied_there_and_back_to_the_same_bytes(monkeypatch, captures):
    """And where products cannot be captured, the launches between them are."""
    graph = step_of("transformer")
    results: list[Any] = []
    for resident in (True, False):
        device = install(monkeypatch, CpuDevice(captures_products=captures))
        compiled = gg.compile(graph, guards=GUARDS, backend="cupy")
        state: Any = initial(graph)
        state = compiled.on_device(state) if resident else state
        for step in range(3):
            compiled(state, **feeds_of("transformer", step))
        results.append(dict(state))
        assert device.captures == 1 if captures else device.captures > 1
    for name, value in results[0].items():
        assert value.tobytes() == results[1][name].tobytes(), name


def test_a_device_that_captures_nothing_goes_on_launch_by_launch(device):
    device.refuses_capture = "not this one"
    graph = step_of("attention")
    compiled = gg.compile(graph, backend="cupy")
    state = compiled.on_device(initial(graph))
    for step in range(3):
        compiled(state, **feeds_of("attention", step))
    assert device.captures == 0
    program = compiled.program(batch=6)
    assert isinstance(program, DeviceProgramOfPlan)
    binding = program.binding(state)
    assert binding.uncaptured == "not this one"
    assert binding.launches == len(program.device_program.actions)


def small_step(batch: Any = "batch") -> gg.Graph:
    """A table that is looked up and learned, with a loss that a large input makes infinite."""
    table = gg.parameter("table", (5, 4))
    indices, scale = gg.input("indices", (batch,), "int32"), gg.input("scale", ())
    loss = gg.sum(gg.exp(gg.gather(table, indices) * scale))
    count = gg.state("count", (), dtype="int64")
    deltas = gg.grad(loss, [table])
    updates = {table: table - 0.01 * deltas[0], count: count + 1}
    return gg.Graph({"loss": loss, "table": gg.matmul(table, gg.transpose(table))}, updates)


GOOD = {"indices": np.array([0, 4, 4], np.int32), "scale": np.float32(0.5)}


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize(
    ("bad", "error", "told"),
    [
        ({"scale": np.float32(1e30)}, NonFiniteError, "is inf; no parameter was changed"),
        ({"scale": np.float32(np.nan)}, NonFiniteError, "is nan; no parameter was changed"),
        ({"indices": np.array([0, 5, 1], np.int32)}, DataError, r"gather.*outside \[0, 5\)"),
        ({"indices": np.array([0, -1, 1], np.int32)}, DataError, r"gather.*outside \[0, 5\)"),
    ],
)
def test_a_bad_step_changes_no_state_and_the_next_one_goes_on(device, resident, bad, error, told):
    """The device decides by itself; the host learns of it when it reads the results."""
    graph = small_step()
    compiled = gg.compile(graph, guards="loss", backend="cupy")
    state: Any = gg.initial_state(graph, 1)
    state["table"][...] = np.linspace(1, 2, 20).reshape(5, 4)
    plain = {name: value.copy() for name, value in state.items()}
    reference = gg.compile(graph, guards="loss")
    state = compiled.on_device(state) if resident else state
    for step in range(4):
        before = {name: value.copy() for name, value in state.items()}
        with pytest.raises(error, match=told):
            compiled(state, {**GOOD, **bad})
        for name, value in before.items():
            assert state[name].tobytes() == value.tobytes(), (step, name)
        found, wanted = compiled(state, GOOD), reference(plain, GOOD)
        np.testing.assert_allclose(found["loss"], wanted["loss"], 1e-6)
        assert state["count"] == step + 1


def test_programs_of_many_sizes_share_one_block_and_one_state(device):
    """A larger program takes a larger block; the smaller ones are bound to it anew."""
    graph = small_step()
    compiled, reference = gg.compile(graph, backend="cupy"), gg.compile(graph)
    plain = gg.initial_state(graph, 1)
    state = compiled.on_device(plain)
    generator = np.random.default_rng(0)
    for size in (3, 3, 3, 70, 3, 3, 70, 70, 9):
        feeds = {**GOOD, "indices": generator.integers(0, 5, size).astype("int32")}
        found, wanted = compiled(state, feeds), reference(plain, feeds)
        np.testing.assert_allclose(found["loss"], wanted["loss"], 1e-5)
        np.testing.assert_allclose(found["table"], wanted["table"], 1e-4, 1e-6)
    assert device.captures == 3  # the first was captured over the block that was given up


def test_outputs_are_the_callers_own(device):
    graph = small_step()
    compiled, state = gg.compile(graph, backend="cupy"), gg.initial_state(small_step(), 1)
    first = compiled(state, GOOD)
    kept = {name: value.copy() for name, value in first.items()}
    compiled(state, GOOD)
    for name, value in kept.items():
        np.testing.assert_array_equal(first[name], value)


def test_what_is_fetched_of_a_state_is_kept_until_a_step_changes_it(device):
    graph = small_step()
    compiled = gg.compile(graph, backend="cupy")
    state = compiled.on_device(gg.initial_state(graph, 1))
    assert "2 arrays on this processor" in repr(state)
    waits = device.waits
    assert state["table"] is state["table"] and device.waits == waits + 1
    with pytest.raises(ValueError, match="read-only"):
        state["table"][...] = 0
    before = state["table"]
    compiled(state, GOOD)
    assert state["table"] is not before and (state["table"] != before).any()


def test_a_state_that_does_not_fit_is_refused(device):
    graph = small_step()
    compiled = gg.compile(graph, backend="cupy")
    other = compiled.on_device({"table": np.zeros((5, 4), np.float32)})
    with pytest.raises(DeclarationError, match="no 'count' of int64"):
        compiled(other, GOOD)
    elsewhere = choice.DeviceBackend(SharedMemory(CpuDevice())).placed(gg.initial_state(graph, 1))
    with pytest.raises(DeclarationError, match="on another device"):
        compiled(elsewhere, GOOD)


def test_memory_that_is_not_there_is_told_before_with_what_fits(device):
    device.free = 60_000
    compiled = gg.compile(small_step(), backend="cupy")
    state = compiled.on_device(gg.initial_state(small_step(), 1))
    compiled(state, GOOD)
    large = {**GOOD, "indices": np.zeros(8000, np.int32)}
    with pytest.raises(EnvironmentLimitError, match=r"the largest values are .*gather") as told:
        compiled(state, large)
    assert "this processor" in told.value.problem
    batch = int(told.value.fix.removeprefix("batch ").split()[0])
    assert 0 < batch < 8000 and told.value.fix.endswith("fits, instead of 8000")
    compiled(state, {**GOOD, "indices": np.zeros(batch, np.int32)})


def test_an_unknown_backend_names_the_near_one():
    with pytest.raises(UnknownNameError, match="no backend 'cuppy'") as told:
        gg.compile(small_step(), backend="cuppy")
    assert "did you mean 'cupy'?" in told.value.fix


def asked_for() -> str:
    """What `backend="cupy"` says on this machine: problem and remedy."""
    with pytest.raises(EnvironmentLimitError) as told:
        gg.compile(small_step(), backend="cupy")
    assert told.value.fix.endswith("or run on the processor: backend numpy")
    assert len(str(told.value).splitlines()) == 2
    return str(told.value)


def test_without_cupy_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    told = asked_for()
    assert "needs CuPy, which is not installed" in told
    assert "python -m pip install 'graphgrad[cuda13]'" in told


def failing(message: str) -> Any:
    def fail() -> int:
        raise RuntimeError(message)

    return fail


@pytest.mark.parametrize(
    ("driver", "count", "told", "fix"),
    [
        (lambda: 0, lambda: 0, "there is no NVIDIA driver", "install NVIDIA's driver"),
        (failing("no library"), lambda: 0, "there is no NVIDIA driver", "install NVIDIA's driver"),
        (
            lambda: 12040,
            failing("cudaErrorInsufficientDriver: too old"),
            "the driver is for CUDA 12.4, older than CuPy",
            "graphgrad[cuda12] in place of graphgrad[cuda13]",
        ),
        (
            lambda: 13000,
            failing("cudaErrorNoDevice"),
            "sees none (cudaErrorNoDevice)",
            "nvidia-smi",
        ),
        (lambda: 13000, lambda: 0, "CuPy sees none", "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_without_a_device_one_sentence_says_why(monkeypatch, driver, count, told, fix):
    runtime = SimpleNamespace(driverGetVersion=driver, getDeviceCount=count)
    cupy = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    found = asked_for()
    assert told in found and fix in found
