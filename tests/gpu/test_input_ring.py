"""Inputs that are copied ahead on a second stream: the order of the streams, as data and run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cpu_backend import CpuDevice, CpuEvent, install
from cpu_device import needs_compiler
from stream_order import faults_of, unwritten

import graphgrad as gg
from graphgrad.backends.cupy.input_ring import InputRing

STEPS = 7
FASTER = pytest.mark.parametrize("eager", ["work", "copies", "neither"])


def batch(step: int, size: int = 4) -> np.ndarray:
    return np.full(size, step + 1, np.float32)


def ahead(ring: InputRing, device: CpuDevice, count: int = STEPS) -> list[float]:
    """Steps each of which reads the inputs that were sent while the one before it ran."""
    target, found = device.allocate(64), []
    sent = ring.send([(0, batch(0))], 16)
    for step in range(count):
        with device.active():
            ring.receive(sent, target, 16)
            total = np.zeros((), np.float32)
            place = target.bytes(16, 16).view(np.float32)
            device.counted(lambda place=place, total=total: np.sum(place, out=total))()
        found.append(total)
        sent = ring.send([(0, batch(step + 1))], 16)
    device.wait()
    return [float(total) for total in found]


WANTED = [4.0 * (step + 1) for step in range(STEPS)]


@FASTER
def test_each_step_reads_its_own_inputs_whichever_stream_is_faster(eager):
    device = CpuDevice(eager=eager)
    assert ahead(InputRing(device), device) == WANTED
    assert not list(faults_of(device.recorded)) and not list(unwritten(device.recorded))


def test_the_host_does_not_wait_for_copies_of_two_steps_ago():
    device = CpuDevice(eager="copies")
    ring, target = InputRing(device), device.allocate(64)
    for step in range(STEPS):
        sent = ring.send([(0, batch(step))], 16)
        with device.active():
            ring.receive(sent, target, 0)
        device.fetch(target.bytes(0, 16))
    assert device.waits == 1 + STEPS  # the first was for slots of this size, the others are fetches


class WithoutWaitOfWork(CpuDevice):
    def work_after(self, event: Any) -> None:
        """Left out."""


class WithoutWaitOfCopies(CpuDevice):
    def copies_after(self, event: Any) -> None:
        """Left out."""


class NeverAsked(CpuEvent):
    def done(self) -> bool:
        return True


class WithoutWaitOfHost(CpuDevice):
    def sent(self) -> CpuEvent:
        event = super().sent()
        return NeverAsked(event.device, event.stream, event.number, event.position)


@pytest.mark.parametrize(
    ("kind", "eager"),
    [(WithoutWaitOfWork, "work"), (WithoutWaitOfCopies, "copies"), (WithoutWaitOfHost, "neither")],
)
def test_a_wait_that_is_left_out_is_found_in_the_order_and_in_the_numbers(kind, eager):
    device = kind(eager=eager)
    assert list(faults_of(device.recorded)) == []
    ring, target, found = InputRing(device), device.allocate(64), []
    sent = [ring.send([(0, batch(step))], 16) for step in range(2)]
    for step in range(STEPS):
        with device.active():
            ring.receive(sent[step % 2], target, 0)
            total = np.zeros((), np.float32)
            place = target.bytes(0, 16).view(np.float32)
            device.counted(lambda place=place, total=total: np.sum(place, out=total))()
        found.append(total)
        sent[step % 2] = ring.send([(0, batch(step + 2))], 16)
    device.wait()
    assert list(faults_of(device.recorded))
    assert [float(total) for total in found] != WANTED


def test_inputs_of_any_dtype_and_shape_lie_side_by_side():
    device = CpuDevice()
    ring, target = InputRing(device), device.allocate(512)
    parts = [
        (0, np.array(3, np.int64)),
        (64, np.arange(6, dtype=np.int32).reshape(2, 3)),
        (128, np.array([True, False])),
        (192, np.arange(4.0).reshape(2, 2).T),
    ]
    with device.active():
        ring.receive(ring.send(parts, 256), target, 256)
    device.wait()
    for start, array in parts:
        place = target.bytes(256 + start, array.nbytes).view(array.dtype)
        np.testing.assert_array_equal(place.reshape(array.shape), array)


# ---------------------------------------------------------------- through programs


def line() -> gg.Graph:
    w, x = gg.parameter("w", (3,), 1.0), gg.input("x", ("batch", 3))
    loss = gg.mean((gg.sum(x * w, axis=1) - 1.0) ** 2.0)
    return gg.sgd(gg.Graph({"loss": loss}), 0.01)


def feeds(step: int) -> dict[str, np.ndarray]:
    size = (5, 8)[step % 2]
    return {"x": np.random.default_rng(step).normal(size=(size, 3)).astype("f4")}


@needs_compiler
@FASTER
def test_steps_whose_inputs_are_prepared_ahead_give_what_steps_one_by_one_give(monkeypatch, eager):
    """With two sizes by turns, so that one block and two slots serve two programs."""
    device = install(monkeypatch, CpuDevice(eager=eager))
    graph, losses = line(), []
    run = gg.compile(graph, backend="cupy")
    state = run.on_device(gg.initial_state(graph))
    prepared = run.prepare(feeds(0))
    for step in range(STEPS):
        before = device.waits
        started = run.start(state, prepared)
        prepared = run.prepare(feeds(step + 1))
        assert device.waits - before <= (1 if step < 2 else 0), "the host waits in a step"
        losses.append(float(started.results()["loss"]))
    plain, other = gg.initial_state(graph), gg.compile(graph)
    wanted = [float(other(plain, feeds(step))["loss"]) for step in range(STEPS)]
    np.testing.assert_allclose(losses, wanted, 1e-5)
    assert not list(faults_of(device.recorded)) and not list(unwritten(device.recorded))


@needs_compiler
def test_prepared_inputs_whose_slot_was_taken_are_sent_again(monkeypatch):
    install(monkeypatch, CpuDevice())
    graph = line()
    run = gg.compile(graph, backend="cupy")
    state, plain = run.on_device(gg.initial_state(graph)), gg.initial_state(graph)
    prepared = [run.prepare(feeds(step)) for step in range(5)]
    found = [float(run.start(state, each).results()["loss"]) for each in prepared]
    other = gg.compile(graph)
    wanted = [float(other(plain, feeds(step))["loss"]) for step in range(5)]
    np.testing.assert_allclose(found, wanted, 1e-5)


@needs_compiler
def test_results_that_are_read_late_are_those_of_their_own_run(monkeypatch):
    """Another program runs in the same memory meanwhile; a run that failed says so when asked."""
    device = install(monkeypatch, CpuDevice())
    graph, size = line(), gg.input("x", ("n",))
    run = gg.compile(graph, guards="loss", backend="cupy")
    other = gg.compile(gg.Graph({"y": gg.tanh(size)}), backend="cupy")
    state = run.on_device(gg.initial_state(graph))
    wanted = float(gg.compile(graph)(gg.initial_state(graph), feeds(0))["loss"])
    started = run.start(state, run.prepare(feeds(0)))
    assert other(x=np.full(100, 7.0))["y"][0] == pytest.approx(1.0, abs=1e-5)
    waits = device.waits
    assert float(started.results()["loss"]) == pytest.approx(wanted, rel=1e-5)
    assert device.waits == waits, "they were read before the other run"
    before = state["w"].copy()
    failed = run.start(state, run.prepare(x=np.full((5, 3), np.nan)))
    other(x=np.zeros(3))
    for _ in range(2):
        with pytest.raises(gg.NonFiniteError, match="is nan; no parameter"):
            failed.results()
    assert state["w"].tobytes() == before.tobytes()
