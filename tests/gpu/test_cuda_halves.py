"""Floats of 16 bits on the device: casts bit by bit, and every operation between casts."""

from __future__ import annotations

import numpy as np
import pytest
from cpu_device import Bound, needs_compiler, needs_nvrtc
from delta_check import feeds_of
from device_programs import device_of, device_program
from half_numbers import (
    NAMES,
    SAMPLES,
    assert_same_bits,
    assert_within_a_digit,
    every_half,
    hard_floats,
    in_halves,
)
from planned import plan_of

import graphgrad as gg
from graphgrad import Graph
from graphgrad.backends.cupy.backend import lower
from graphgrad.backends.cupy.expressions import Typed, cast, number, translate
from graphgrad.backends.cupy.module import module_text, usage_of
from graphgrad.graph.types import FLOAT32
from graphgrad.loops.llvm_text import LoopError
from graphgrad.ops.evaluate import evaluate


def casts() -> dict[str, tuple[Graph, dict[str, np.ndarray]]]:
    found = {}
    for dtype in NAMES:
        for given, to in ((hard_floats(dtype), dtype), (every_half(dtype), "float32")):
            x = gg.input("x", given.shape, given.dtype)
            found[f"{given.dtype}-{to}"] = Graph({"y": gg.cast(x, to)}), {"x": given}
    return found


CASTS = casts()


@pytest.fixture(scope="module")
def programs():
    """The casts; every sample between casts, in kernels; and moved halves, one by one. What
    tensor cores round beside that has tests of its own."""
    x = gg.input("x", (3, 4), NAMES[0])
    padded = gg.pad(gg.concatenate([x, gg.transpose(x)[:3, :3]], 1), [(1, 1), (0, 2)])
    return {
        **{name: device_program(graph) for name, (graph, _) in CASTS.items()},
        **{case: device_program(in_halves(*case), tensor_cores=False) for case in SAMPLES},
        "moved": lower(plan_of(Graph({"y": padded}))),
    }


@pytest.fixture(scope="module")
def device(programs):
    return device_of(programs.values())


@needs_compiler
@pytest.mark.parametrize("name", CASTS)
def test_casts_are_those_of_numpy(programs, device, name):
    _, feeds = CASTS[name]
    found = Bound(programs[name], device).run(feeds)["y"]
    with np.errstate(all="ignore"):
        assert_same_bits(found, feeds["x"].astype(name.partition("-")[2]))


@needs_compiler
@pytest.mark.parametrize("case", SAMPLES, ids=lambda case: f"{case[0].name}-{case[1]}-{case[2]}")
def test_every_operation_between_casts_has_the_value_of_the_reference(programs, device, case):
    operation, number_of_sample, dtype = case
    graph, feeds = in_halves(*case), feeds_of(operation.samples[number_of_sample], dtype)
    wanted = evaluate(graph, feeds)[graph.outputs["y"]]
    found = Bound(programs[case], device).run(feeds)["y"]
    assert_within_a_digit(found, wanted)


@needs_compiler
def test_halves_are_moved(programs, device):
    x = np.arange(12.0).reshape(3, 4).astype(NAMES[0])
    found = Bound(programs["moved"], device).run({"x": x})["y"]
    wanted = np.pad(np.concatenate([x, x.T[:3, :3]], 1).astype(float), [(1, 1), (0, 2)])
    np.testing.assert_array_equal(found.astype(float), wanted)


@needs_nvrtc
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_the_kernels_compile_for_a_device_and_spill_nothing(programs, architecture):
    kernels: dict[str, str] = {}
    for name, program in programs.items():
        if isinstance(name, str) or name[0].name in ("matmul", "softmax", "tanh", "standardise"):
            kernels.update(program.kernels)
    usage = usage_of(module_text(kernels), architecture)
    assert usage.keys() == kernels.keys()
    assert all(its.spilled_bytes == 0 for its in usage.values())


def test_a_half_is_loaded_cast_and_stored_and_nothing_else():
    names = {"x": Typed("bfloat16", "x"), "y": Typed("float16", "y")}
    assert translate("float32(x) * 2", names, FLOAT32).text == "(as_float(x) * 2.0f)"
    assert cast(names["x"], "float16").text == "float16_of(as_float(x))"
    assert cast(Typed("int32", "n"), "bfloat16").text == "bfloat16_of((float)(n))"
    assert number(1.5, "float16") == "float16_of(1.5f)"
    for text in ("x + x", "-x", "x < x", "max(y, y)", "abs(x)", "x if x else x"):
        with pytest.raises(LoopError):
            translate(text, names, FLOAT32)
