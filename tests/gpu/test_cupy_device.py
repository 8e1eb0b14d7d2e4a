"""cupy_device.py over a module that stands for CuPy: which calls it makes, in which order, and what
it says where one fails."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cpu_device import needs_compiler
from device_steps import GUARDS, feeds_of, initial, step_of
from fake_cuda import Cuda
from fake_cupy import NAME, install
from stream_order import faults_of, unwritten

import graphgrad as gg
from graphgrad.backends.cupy.cupy_device import CupyDevice, open_device
from graphgrad.backends.cupy.input_ring import InputRing
from graphgrad.errors import EnvironmentLimitError
from graphgrad.memory import OutOfMemoryError

BYTES = np.dtype("uint8")
KERNEL = """
extern "C" __global__ void __launch_bounds__(256) twice(
    const long long count,
    const float* from,
    float* to)
{
    if (threadIdx.x < count) to[threadIdx.x] = 2 * from[threadIdx.x];
}
"""


@pytest.fixture
def driver() -> Cuda:
    return Cuda(eager="neither")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, driver: Cuda) -> CupyDevice:
    return install(monkeypatch, driver)


def kinds(driver: Cuda, start: int = 0) -> list[tuple[str, str]]:
    return [(operation.stream, operation.kind) for operation in driver.recorded[start:]]


def floats(device: CupyDevice, values: Any) -> Any:
    """An array on the device."""
    its = np.array(values, "f4")
    array = device.array(device.allocate(its.nbytes), 0, its.dtype, its.shape, its.strides)
    device.write(array, its)
    return array


STEP = [
    ("host", "wait"),  # the slot's last copy is done
    ("copies", "wait"),  # the step that read the slot last is done
    ("host", "pack"),
    ("copies", "send"),
    ("copies", "record"),
    ("work", "wait"),
    ("work", "move"),
    ("work", "record"),
    ("work", "graph"),
    ("host", "fetch"),
    ("host", "fetch"),
]
"""Of one training step: its inputs by the second stream, one launch, and two reads of results."""


@needs_compiler
def test_a_training_step_is_one_launch_behind_inputs_of_the_second_stream(device, driver):
    """Captured once; the host waits for nothing between the first call and the results."""
    graph = step_of("transformer", "float64")
    on_device, on_cpu = gg.compile(graph, guards=GUARDS, backend="cupy"), gg.compile(graph)
    state, wanted = on_device.on_device(initial(graph)), initial(graph)
    for step in range(4):
        before, feeds = len(driver.recorded), feeds_of("transformer", step)
        found, expected = on_device(state, **feeds), on_cpu(wanted, **feeds)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, 1e-9, 1e-9, err_msg=name)
    assert kinds(driver, before) == STEP
    assert (driver.captures, len(driver.graphs)) == (1, 1)
    assert not list(faults_of(driver.recorded)) and not list(unwritten(driver.recorded))
    for name, value in wanted.items():
        np.testing.assert_allclose(state[name], value, 1e-9, 1e-9, err_msg=name)
    assert device.waits == sum(kind == ("host", "fetch") for kind in kinds(driver))


@pytest.mark.parametrize("left_out", ["", "work_after", "copies_after"])
@pytest.mark.parametrize("eager", ["work", "copies", "neither"])
def test_inputs_ahead_are_read_in_order_by_events_alone(monkeypatch, eager, left_out):
    """A wait that is left out is found in the order of the calls, whichever stream is faster."""
    driver = Cuda(eager=eager)
    device = install(monkeypatch, driver)
    if left_out:
        monkeypatch.setattr(device, left_out, lambda event: None)
    ring, target, found = InputRing(device), device.allocate(16), []
    place = device.array(target, 0, np.dtype("f4"), (4,), (4,))
    sent = ring.send([(0, np.zeros(4, "f4"))], 16)
    for step in range(4):
        ring.receive(sent, target, 0)
        sent = ring.send([(0, np.full(4, step + 1, "f4"))], 16)
        found.append(device.fetch(place)[0] if step == 3 else step)
    assert bool(list(faults_of(driver.recorded))) == bool(left_out)
    assert left_out or found == [0, 1, 2, 3]


CALLS: dict[str, Callable[[CupyDevice, Any], Any]] = {
    "malloc": lambda device, array: device.allocate(100),
    "synchronize": lambda device, array: device.wait(),
    "synchronize of a fetch": lambda device, array: device.fetch(array),
    "memcpy": lambda device, array: device.write(array, np.zeros(3, "f4")),
    "hostAlloc": lambda device, array: device.pinned(64),
    "calling cuBLAS": lambda device, array: device.array_module.matmul(array, array),
}


@pytest.mark.parametrize("call", CALLS)
def test_what_cannot_be_captured_is_told_and_the_next_capture_is_a_new_one(device, driver, call):
    """The reason is that of the call, not that of the capture which it has spoilt."""
    array = floats(device, [1, 2, 3])
    with device.active():
        with pytest.raises(RuntimeError, match=call.removesuffix(" of a fetch")):
            device.captured(lambda: CALLS[call](device, array))
        assert driver.captures == 0
        device.captured(lambda: None)()
    assert driver.captures == 1


@needs_compiler
def test_a_program_that_a_device_does_not_capture_runs_launch_by_launch(device, driver):
    driver.refuses = "a kernel of this kind"
    x, w = gg.input("x", (4, 3)), gg.parameter("w", (3, 2))
    graph = gg.sgd(gg.Graph({"loss": gg.sum(gg.exp(gg.softmax(x @ w) @ gg.transpose(w)))}), 0.1)
    compiled, on_cpu = gg.compile(graph, backend="cupy"), gg.compile(graph)
    wanted = gg.initial_state(graph, 1)
    state, feeds = compiled.on_device(wanted), {"x": np.linspace(0, 1, 12).reshape(4, 3)}
    for _ in range(3):
        found, expected = compiled(state, feeds), on_cpu(wanted, feeds)
        np.testing.assert_allclose(found["loss"], expected["loss"], 1e-5)
    program: Any = compiled.program()
    binding = program.binding(state)
    assert "cublasLtMatmul of fake fails" in binding.uncaptured and not driver.graphs
    assert binding.launches == len(program.device_program.actions)


@pytest.mark.parametrize("libraries", [True, False])
def test_a_batch_that_no_strides_describe_is_computed(monkeypatch, driver, libraries):
    """By cuBLAS from a table of addresses on the device; by CuPy where it is not found."""
    device = install(monkeypatch, driver, libraries)
    assert device.captures_products == libraries
    x, y = gg.input("x", (2, 1, 4, 5)), gg.input("y", (3, 5, 2))
    values = np.random.default_rng(0)
    feeds = {"x": values.normal(size=(2, 1, 4, 5)), "y": values.normal(size=(3, 5, 2))}
    found = gg.compile(gg.Graph({"z": x @ y}), backend="cupy")({}, feeds)["z"]
    np.testing.assert_allclose(found, feeds["x"] @ feeds["y"], 1e-5, 1e-6)


def test_the_host_waits_for_an_event_that_is_not_reached(device, driver):
    pinned, memory = device.pinned(8), device.allocate(8)
    pinned[:] = 7
    device.send(memory, pinned[:8])
    sent = device.sent()
    assert not sent.done()
    sent.wait()
    assert sent.done() and kinds(driver)[-2:] == [("host", "wait")] * 2
    assert device.fetch(device.array(memory, 0, BYTES, (8,), (1,))).tolist() == [7] * 8


@needs_compiler
def test_a_kernel_runs_after_its_file_is_gone_and_runs_are_timed(device, driver):
    array, other = floats(device, [1, 2, 3]), floats(device, [0, 0, 0])
    module = device.load({"twice": KERNEL}, {"twice": ["x"]})
    run = module.prepared("twice", 1, 32, [3, array.data.ptr, other.data.ptr])
    waits = device.waits
    seconds = device.seconds_of([run, run])
    assert len(seconds) == 2 and all(its > 0 for its in seconds) and device.waits == waits + 1
    assert [kind for _, kind in kinds(driver)[-7:]] == [*["record", "run", "record"] * 2, "fetch"]
    assert device.fetch(other).tolist() == [2, 4, 6]


def test_what_the_device_is_called_and_which_memory_it_has(device, driver):
    assert (device.name, device.architecture) == (NAME, "sm_90")
    assert device.captures_products and device.libraries.summary.startswith("cublasLt 130500")
    free = device.free_bytes()
    memory = device.allocate(100_000)
    assert memory.address % 256 == 0 and free - device.free_bytes() == 100_352
    del memory
    gc.collect()
    assert device.free_bytes() == free == driver.size


def test_memory_that_was_given_back_is_poisoned_behind_the_work_that_reads_it(device):
    array = floats(device, [1, 2, 3])
    kept, place = floats(device, [0, 0, 0]), array.data.ptr
    with device.active():
        device.array_module.add(array, array, out=kept)
    del array
    gc.collect()
    again = device.array(device.allocate(12), 0, np.dtype("f4"), (3,), (4,))
    assert again.data.ptr == place and np.isnan(device.fetch(again)).all()
    assert device.fetch(kept).tolist() == [2, 4, 6]


def test_single_numbers_are_written_and_fetched(device):
    number = device.array(device.allocate(8), 0, np.dtype("f8"), (), ())
    device.write(number, np.array(3.5))
    value = device.fetch(number)
    assert value.shape == () and value == 3.5 and type(value) is np.ndarray


def test_memory_that_runs_out_is_told_with_its_size(device, driver):
    driver.size = 1 << 20
    kept = device.allocate(1 << 19)
    with pytest.raises(
        OutOfMemoryError, match=r"paper has no 2\.0 MiB of memory left: Out of"
    ) as e:
        device.allocate(1 << 21)
    assert "a smaller batch" in str(e.value) and kept.address


def test_a_cupy_that_is_broken_is_told_with_its_reason(monkeypatch, tmp_path):
    (tmp_path / "cupy.py").write_text("raise ImportError('libcudart.so.13 is missing')\n")
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EnvironmentLimitError, match="cannot be imported: libcudart"):
        open_device()
