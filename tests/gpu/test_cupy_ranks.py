"""Ranks with a device each: the collectives of cupy_ranks.py over a CuPy and an NCCL of paper."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from cpu_device import Device as Kernels
from cpu_device import needs_compiler
from fake_cuda import Cuda
from fake_cupy import FakeCupy, as_text
from fake_nccl import FakeNccl

import graphgrad as gg
from graphgrad import ops
from graphgrad.backends import choice, devices_of_ranks
from graphgrad.backends.cupy import cupy_device, product_libraries
from graphgrad.backends.cupy.cupy_device import CupyDevice
from graphgrad.backends.cupy.shared_memory import SharedMemory
from graphgrad.errors import EnvironmentLimitError, RanksError
from graphgrad.ops.collectives import all_reduce_start, sum_of_lower_ranks, wait
from graphgrad.ops.shares import rank_number
from graphgrad.ranks import threads


@pytest.fixture
def device_of_rank(monkeypatch):
    """Makes the devices of ranks, which are threads: each has a driver of its own."""
    meetings, memories = {}, {}
    monkeypatch.setattr(cupy_device, "compile_cuda", as_text)
    for name in ("open_cublaslt", "open_cublas"):
        monkeypatch.setattr(product_libraries, name, lambda *device: (None, "not installed"))
    launch, one = Kernels.launch, threading.Lock()

    def alone(*given):  # the processor runs one kernel at a time: its fibers are those of a process
        with one:
            launch(*given)

    monkeypatch.setattr(Kernels, "launch", alone)
    monkeypatch.setattr(choice, "device_memory", lambda: memories[threading.get_ident()])

    def make():
        driver = Cuda()
        cupy = FakeCupy(driver)
        cupy.cuda.nccl = FakeNccl(driver, meetings)
        device = CupyDevice(cupy)
        memories[threading.get_ident()] = SharedMemory(device)
        return device

    return make


def on_ranks(size, work):
    """What `work(rank, communicator)` gives on each rank."""
    found, problems = [None] * size, []

    def run(rank, communicator):
        try:
            found[rank] = work(rank, communicator)
        except BaseException as problem:
            problems.append(problem)

    every = [threading.Thread(target=run, args=each) for each in enumerate(threads(size, 20.0))]
    for each in every:
        each.start()
    for each in every:
        each.join()
    if problems:
        raise problems[0]
    return found


def computed(device, exchanges, operation, out, *heads, **attributes):
    """What a collective gives for these values on the device."""
    xp = device.array_module
    with device.active():
        places = [xp.asarray(np.ascontiguousarray(value)) for value in (out, *heads)]
        exchanges.computations[operation](xp, *places, **attributes)
    return device.fetch(places[0])


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "float16"])
def test_collectives_are_those_of_numpy(device_of_rank, size, dtype):
    values = np.random.default_rng(3).normal(size=(size, 5), scale=9.0).astype(dtype)
    wide = np.float32 if dtype == "float16" else dtype
    total = values[0].astype(wide)
    for each in values[1:]:
        total = total + each.astype(wide)
    total, length = total.astype(dtype), -(-5 // size)
    padded = np.concatenate([total, np.zeros(size * length - 5, dtype)])

    def work(rank, host):
        device = device_of_rank()
        ranks, mine = device.exchanges(host), values[rank]
        part = padded[rank * length : (rank + 1) * length]
        each = {
            "sum": (ops.all_reduce, mine, mine, {"kind": "sum", "number": 0}),
            "shares": (ops.reduce_scatter, part, mine, {"number": 1, "ranks": size}),
            "whole": (ops.all_gather, total, part, {"number": 2, "ranks": size}),
            "last": (ops.broadcast, mine, mine, {"root": size - 1, "number": 3}),
        }
        if dtype != "float16":
            each["max"] = (ops.all_reduce, mine, mine, {"kind": "max", "number": 4})
        found = {}
        for name, (operation, like, x, attributes) in each.items():
            out = np.full_like(like, 77)
            found[name] = computed(device, ranks, operation, out, x, **attributes)
        return found

    for rank, found in enumerate(on_ranks(size, work)):
        np.testing.assert_array_equal(found["sum"], total)
        np.testing.assert_array_equal(found["shares"], padded[rank * length :][:length])
        np.testing.assert_array_equal(found["whole"], total)
        np.testing.assert_array_equal(found["last"], values[-1])
        np.testing.assert_array_equal(found.get("max", values.max(0)), values.max(0))


def test_a_started_sum_is_done_by_a_stream_of_its_own(device_of_rank):
    def work(rank, host):
        device = device_of_rank()
        ranks, xp = device.exchanges(host), device.array_module
        with device.active():
            x, out, late = (xp.asarray(np.full(4, rank + 1.0, "f4")) for _ in range(3))
            ranks.computations[all_reduce_start](xp, out, x, kind="sum", number=7)
            before = np.array(out)  # the exchange has not been done, as nobody has waited for it
            ranks.computations[wait](xp, late, out, x, number=7)
            count = xp.asarray(np.array(rank + 5, "i8"))
            first, number = xp.asarray(np.array(0, "i8")), xp.asarray(np.array(0, "i8"))
            ranks.computations[sum_of_lower_ranks](xp, first, count, number=8)
            ranks.computations[rank_number](xp, number)
        found = device.fetch(late), int(device.fetch(first)), int(device.fetch(number))
        return before, *found

    for rank, (before, after, first, number) in enumerate(on_ranks(2, work)):
        assert before.tolist() == [rank + 1.0] * 4 and after.tolist() == [3.0] * 4
        assert first == 5 * rank and number == rank


@needs_compiler
@pytest.mark.parametrize("size", [1, 2])
def test_a_step_on_devices_is_that_of_processors(device_of_rank, size):
    """The graph of split_batch, compiled for a device with a communicator; states stay there."""
    x, truth = gg.input("x", ("batch", 3)), gg.input("truth", ("batch", 2))
    w, v = gg.parameter("w", (3, 4), gg.normal(1.0)), gg.parameter("v", (4, 2), gg.normal(1.0))
    loss = gg.mean((gg.tanh(x @ w) @ v - truth) ** 2.0)
    graph = gg.sgd(gg.Graph({"loss": loss}), 0.3)
    split = gg.split_batch(graph, bucket_bytes=8)
    values = np.random.default_rng(5)
    feeds = {"x": values.normal(size=(4, 3)), "truth": values.normal(size=(4, 2))}
    wanted = gg.initial_state(graph, 1)
    on_cpu = gg.compile(graph)
    for _ in range(3):
        on_cpu(wanted, feeds)

    def work(rank, host):
        device_of_rank()
        compiled = gg.compile(split, backend="cupy", communicator=host)
        state = compiled.on_device(gg.initial_state(graph, 1))
        own = {name: value[rank * 4 // size :][: 4 // size] for name, value in feeds.items()}
        for _ in range(3):
            compiled(state, own)
        return {name: np.array(state[name]) for name in wanted}

    states = on_ranks(size, work)
    for name, value in wanted.items():
        np.testing.assert_allclose(states[0][name], value, 1e-5, 1e-6)
        assert all(np.array_equal(other[name], states[0][name]) for other in states)


def test_a_rank_that_does_not_come_is_named_when_the_time_is_up(device_of_rank):
    (host,) = threads(1, 0.05)
    device = device_of_rank()
    ranks = device.exchanges(host)
    ranks.settle(SimpleNamespace(done=lambda: True))

    def ended(value, number):
        raise RanksError("the process of rank 1 has ended")

    never = SimpleNamespace(done=lambda: False)
    with pytest.raises(RanksError, match=r"waited 0.05 seconds .* and all ranks are there"):
        ranks.settle(never)
    assert ranks._group.aborted
    host.gather = ended
    with pytest.raises(RanksError, match="rank 1 has ended"):
        ranks.settle(never)


def test_without_nccl_or_enough_devices_it_is_one_error(device_of_rank, monkeypatch):
    device = device_of_rank()
    (host,) = threads(1)
    device.array_module.cuda.nccl.available = False
    with pytest.raises(EnvironmentLimitError, match="need NCCL, which CuPy does not find"):
        device.exchanges(host)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert devices_of_ranks(1) == ["0"]
    with pytest.raises(EnvironmentLimitError, match=r"2 ranks need a device each, .* shows 1"):
        devices_of_ranks(2)
    device.count = 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert devices_of_ranks(2) == ["3", "5"]
