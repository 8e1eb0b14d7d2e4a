"""The trial of attention on tensor cores: what passes, what fails, what is kept of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cpu_backend import CpuDevice, CpuModule
from cpu_device import needs_compiler
from device_programs import device_plan
from test_cuda_attention_tensor import compared

import graphgrad as gg
from graphgrad import kept_code
from graphgrad.backends import choice
from graphgrad.backends.cupy.attention_cases import errors, exact
from graphgrad.backends.cupy.attention_trial import (
    CASES,
    AttentionKernels,
    Outcome,
    kept_problem,
    kind_of,
    outcome_on,
)
from graphgrad.backends.cupy.device import Run
from graphgrad.backends.cupy.shared_memory import SharedMemory
from graphgrad.errors import EnvironmentLimitError, PassError
from graphgrad.performance.machine import failed_kernels

TENSOR = "multiply_rows"
"""In the text of each kernel on tensor cores."""
WRONG = ("power_of_two(score * ", "power_of_two(0.98f * score * ")
"""Makes the deltas of queries a little wrong, and nothing else."""
KIND = kind_of("H100", "90", "13.0")
CASE = CASES[2]
tried = partial(outcome_on, cases=[CASE])


class Failing(CpuModule):
    """Kernels that a device refuses to launch."""

    def prepared(self, kernel: str, grid: int, block: int, words: Sequence[int]) -> Run:
        def fails() -> None:
            raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS:\nan illegal memory access")

        return fails


class Tried(CpuDevice):
    """A device of a kind that has to be tried, and how it fails."""

    kind = KIND

    def __init__(
        self, damage: tuple[str, str] = ("", ""), module: type[CpuModule] = CpuModule
    ) -> None:
        super().__init__()
        self.damage, self.module, self.loads, self.broken = damage, module, 0, False

    def load(self, kernels: Mapping[str, str], names: Mapping[str, Sequence[str]]) -> CpuModule:
        self.loads += 1
        return self.module(self, {name: t.replace(*self.damage) for name, t in kernels.items()})

    def write(self, array: np.ndarray, values: np.ndarray) -> None:
        if self.broken:
            raise RuntimeError("an illegal memory access was encountered")
        super().write(array, values)


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder for outcomes."""
    monkeypatch.setattr(kept_code, "user_folder", lambda name: tmp_path)
    return tmp_path


@needs_compiler
def test_what_passes_is_kept_and_a_damaged_file_is_as_good_as_none(kept):
    assert tried(first := Tried()) == Outcome(True) and first.loads == 1
    assert tried(later := Tried()) == Outcome(True) and later.loads == 0
    (path,) = kept.glob("*.trial")
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole + b"x", bytes([whole[0] ^ 1]) + whole[1:]):
        path.write_bytes(damaged)
        again = Tried()
        assert tried(again) == Outcome(True) and again.loads == 1
        assert path.read_bytes() == whole
    assert kept_problem(kind_of("H100", "90", "13.1")) is None, "another driver is tried again"


@needs_compiler
def test_kernels_that_are_a_little_wrong_are_not_used_and_one_note_says_so(monkeypatch):
    """A program that asks has the others, whose numbers are right."""
    device = Tried(WRONG)
    memory = SharedMemory(device)
    memory.attention = AttentionKernels(device, tried)
    monkeypatch.setattr(choice, "device_memory", lambda: memory)
    compiled = gg.compile(CASE.graph(), backend="cupy")
    assert compiled.notes == ()
    kernels = compiled.program().kernels.values()
    assert not any(TENSOR in text for text in kernels)
    (note,) = compiled.notes
    assert "dq of float16 (70 queries, 35 keys, 18 features) is" in note
    assert "does not use the tensor cores of this processor" in note and "\n" not in note
    feeds = CASE.feeds(compiled.graph)
    compared(CASE, compiled({}, feeds), feeds)
    assert device.loads == 2 and tried(Tried()) == Outcome(False, note)


def test_a_launch_that_raises_is_a_failure_and_kept():
    outcome = tried(Tried(module=Failing))
    assert not outcome.passed and "ILLEGAL_ADDRESS: an illegal memory" in outcome.note
    assert tried(later := Tried()) == outcome and later.loads == 0


def test_a_device_that_stops_working_is_told_and_the_next_process_has_other_kernels():
    class Breaking(Failing):
        def __init__(self, device: Any, kernels: Mapping[str, str]) -> None:
            device.broken = True

    with pytest.raises(EnvironmentLimitError, match="stopped working in a trial") as told:
        tried(Tried(module=Breaking))
    assert "start the program again" in told.value.fix
    assert not tried(Tried()).passed


def test_kernels_that_do_not_compile_fail_and_a_missing_compiler_is_no_outcome(monkeypatch, kept):
    class Refused(Tried):
        problem: Exception = EnvironmentLimitError("NVRTC is not installed")

        def load(self, *given: Any) -> Any:
            raise self.problem

    with pytest.raises(EnvironmentLimitError, match="NVRTC"):
        tried(Refused())
    assert not list(kept.glob("*.trial"))
    monkeypatch.setattr(Refused, "problem", PassError("NVRTC 13.0 refuses the kernels:\nline 1"))
    assert "refuses the kernels: line 1" in tried(Refused()).note


@pytest.mark.parametrize("cores", [True, False])
def test_devices_without_the_instructions_have_the_older_kernels(cores):
    """Nothing is tried there; nor for a program without attention of 16 bits."""
    device = Tried()
    device.has_tensor_cores = cores
    memory = SharedMemory(device)
    if cores:
        memory.attention = AttentionKernels(device, lambda its: Outcome(True))
    for dtype in ("float32", "bfloat16"):
        plan = device_plan(dataclasses.replace(CASE, dtype=dtype).graph())
        on_tensor_cores = any(TENSOR in text for text in memory.lowered(plan).kernels.values())
        assert on_tensor_cores == (cores and dtype == "bfloat16")
    assert not memory.attention.notes and not device.loads


def test_what_is_not_finite_is_no_rounding():
    feeds = CASE.feeds(CASE.graph())
    found = {name: wanted.copy() for name, (wanted, _) in exact(CASE, feeds).items()}
    assert dict(errors(CASE, found, feeds)) == dict.fromkeys(found, 0.0)
    found["dk"][1, 3, 2], found["o"][0, 1, 1] = np.nan, np.inf
    assert dict(errors(CASE, found, feeds)) == {"o": np.inf, "dq": 0, "dk": np.inf, "dv": 0}


def test_doctor_names_a_device_whose_kernels_failed():
    listed = ["H100, 81559 MiB, 9.0", "A100, 40960 MiB, 8.0", "half a line"]
    assert not list(failed_kernels(listed, "13.0"))
    tried(Tried(module=Failing))
    ((name, problem),) = failed_kernels(listed, "13.0")
    assert name == "H100" and "illegal memory access" in problem
