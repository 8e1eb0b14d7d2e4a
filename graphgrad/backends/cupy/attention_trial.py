"""Tries the kernels of attention on tensor cores before they are believed on a device.

What they compute depends on how the device's instructions divide a matrix among lanes, on copies
that run beside the kernel, and on a compiler. So where a program first asks for them, small cases
are computed by them and compared with the formulas (attention_cases.py); if one differs by more
than roundings can explain, is not finite, or cannot be launched, programs have the kernels for any
number in their place, and `note` says so. Numbers of a device that fails are slower, not wrong.

Between them the cases have bf16 and fp16, both kinds of mask, later keys hidden, dropout, sizes
that fill no tile, each number of bytes that is copied at once, one buffer and two.

The outcome is an input of the lowering, which asks for it while a plan is lowered: before anything
is captured, and only for a plan that has attention of 16 bits. It is kept beside the compiled
kernels, for a kind of device, a driver and the sources of the kernels. A file that is damaged is as
good as none: the trial is repeated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from graphgrad.backends.cupy.attention_cases import AttentionCase, errors
from graphgrad.backends.cupy.backend import lower
from graphgrad.backends.cupy.binding import Binding, layout_of
from graphgrad.backends.cupy.device import Device, Module
from graphgrad.backends.cupy.kernel_files import PRELUDE, resource
from graphgrad.backends.cupy.launches import DeviceProgram
from graphgrad.backends.cupy.state import DeviceState
from graphgrad.errors import EnvironmentLimitError, PassError
from graphgrad.fusion import fuse
from graphgrad.graph import Graph, leaf_name
from graphgrad.kept_code import KeptCode
from graphgrad.options import Options
from graphgrad.passes import PASSES, SPECIALISED_PASSES, optimise, specialise
from graphgrad.plan import make_plan
from graphgrad.schedule import make_schedule

KEPT = KeptCode("cubins", ".trial")
SOURCES = (
    *PRELUDE,
    *(f"kernels/attention_tensor_{its}.cu" for its in ("values", "delta_query", "delta_keys")),
    *("attention.py", "attention_tiles.py", "attention_cases.py", "module.py"),
)
"""The files that say what the kernels compute, and what they are compared with."""
CASES = (
    AttentionCase((2,), 35, 70, 20, 12, mask="all", rate=0.2, dtype="bfloat16"),
    AttentionCase((1, 2), 70, 70, 64, 64, mask="keys", causal=True, dtype="bfloat16"),
    AttentionCase((2,), 70, 35, 18, 10, mask="all", rate=0.2, dtype="float16"),
    AttentionCase((1, 2), 67, 67, 128, 128, causal=True, dtype="float16"),
)
LONGEST = 300
"""Characters of a problem that are kept."""


@dataclass(frozen=True)
class Outcome:
    """Whether attention of 16 bits is computed on tensor cores, and what is to be said of it."""

    passed: bool
    note: str = ""


def outcome_on(device: Device, cases: Sequence[AttentionCase] = CASES) -> Outcome:
    """The outcome on a device: as it is kept, or by a trial.

    Devices without the instructions have nothing to try. Raises EnvironmentLimitError where the
    trial has left the device in a state in which it does nothing more for this process.
    """
    if not device.has_tensor_cores:
        return Outcome(False)
    if not device.kind:
        return Outcome(True)
    problem = kept_problem(device.kind)
    if problem is None:
        problem = problem_on(device, cases)
        KEPT.write(outcome_name(device.kind), problem.encode())
        if problem:
            _need_working(device)
    return Outcome(not problem, note_of(device.name, problem) if problem else "")


def kept_problem(kind: str) -> str | None:
    """What was found on devices of a kind: a problem, or "" for none; None before a trial."""
    kept = KEPT.read(outcome_name(kind))
    return None if kept is None else kept.decode(errors="replace")


def note_of(device: str, problem: str) -> str:
    """What is said of a device on which the kernels failed."""
    return (
        f"attention of 16 bits does not use the tensor cores of {device}, where a trial of its "
        f"kernels failed: {problem}. Results are right, and attention is slower"
    )


def kind_of(name: str, capability: str, driver: str) -> str:
    """A device with its driver: its name, its compute capability such as "90", the driver's CUDA
    such as "13.0"."""
    return f"{name}, sm_{capability}, CUDA {driver}"


@cache
def outcome_name(kind: str) -> str:
    """The name under which the outcome is kept for a kind of device and these sources."""
    key = "\0".join([kind, *map(resource, SOURCES)])
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def problem_on(device: Device, cases: Sequence[AttentionCase]) -> str:
    """What is wrong with the kernels on a device: one line, or "" where nothing is."""
    try:
        return next(_problems(device, cases), "")
    except (PassError, RuntimeError) as problem:
        said = " ".join(str(problem).split()) or type(problem).__name__
        return said[:LONGEST]


def _problems(device: Device, cases: Sequence[AttentionCase]) -> Iterator[str]:
    graphs = {case: case.graph() for case in cases}
    programs = {case: _program(graph) for case, graph in graphs.items()}
    kernels: dict[str, str] = {}
    names: dict[str, Sequence[str]] = {}
    for program in programs.values():
        kernels |= program.kernels
        names |= program.names
    module = device.load(kernels, names)
    for case, graph in graphs.items():
        feeds = case.feeds(graph)
        found = _run(device, programs[case], module, feeds)
        for name, error in errors(case, found, feeds):
            if not error <= 1:
                size = f"{case.queries} queries, {case.keys} keys, {case.width} features"
                amount = f"{error:.3g} times as far from the exact one as roundings explain"
                amount = "not finite" if np.isinf(error) else amount
                yield f"{name} of {case.dtype} ({size}) is {amount}"


def _program(graph: Graph) -> DeviceProgram:
    options = Options(fuse=True, smallest_kernel=1, backend="cupy")
    before, after = options.passes_of_a_program(SPECIALISED_PASSES)
    first, _ = optimise(graph, PASSES)
    second, _ = optimise(specialise(first, {}), (*before, *after))
    schedule = make_schedule(second, [], options)
    return lower(make_plan(schedule, fuse(schedule, options)))


def _run(
    device: Device, program: DeviceProgram, module: Module, feeds: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Runs a program in memory of its own."""
    block = device.allocate(layout_of(program).size)
    binding = Binding(device, program, module, block, {}, DeviceState(device, {}))
    for leaf, array in program.leaves.items():
        value = np.asarray(feeds[leaf_name(leaf)], leaf.dtype)
        device.write(binding.array(array), value)
    with device.active():
        for run in binding.runs:
            run()
    return {name: device.fetch(binding.array(its)) for name, its in program.outputs.items()}


def _need_working(device: Device) -> None:
    """Raises EnvironmentLimitError unless the device still does what it is given."""
    try:
        DeviceState(device, {"one": np.ones(1, np.float32)})["one"]
    except RuntimeError as problem:
        said = " ".join(str(problem).split())[:LONGEST]
        raise EnvironmentLimitError(
            f"{device.name} stopped working in a trial of its tensor cores: {said}",
            fix="start the program again: it will use the kernels that need no tensor cores",
        ) from None


class AttentionKernels:
    """Which kernels attention has on a device, found out when a program asks first."""

    def __init__(self, device: Device, find: Callable[[Device], Outcome] = outcome_on) -> None:
        self._device, self._find = device, find
        self._outcome: Outcome | None = None

    def on_tensor_cores(self) -> bool:
        """Whether attention of 16 bits is computed on tensor cores."""
        if self._outcome is None:
            self._outcome = self._find(self._device)
        return self._outcome.passed

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of it by now."""
        note = self._outcome.note if self._outcome is not None else ""
        return (note,) if note else ()
