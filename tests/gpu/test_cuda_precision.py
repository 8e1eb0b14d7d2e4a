"""A whole training step in mixed precision as a program of the device, run on this processor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cpu_device import Bound, needs_compiler, needs_nvrtc
from device_programs import device_of, device_program
from device_steps import GUARDS, SIZES, feeds_of, initial, step_of
from half_numbers import NAMES

import graphgrad as gg
from graphgrad.backends.cupy.launches import DeviceProgram, Product
from graphgrad.backends.cupy.module import compile_cuda, module_text

SHORT = {"bfloat16": "bf16", "float16": "fp16"}
PRECISIONS = ["tf32", *(SHORT[name] for name in NAMES)]


@pytest.fixture(scope="module")
def programs() -> dict[str, DeviceProgram]:
    sizes = SIZES["transformer"]
    return {
        precision: device_program(step_of("transformer"), GUARDS, precision=precision, **sizes)
        for precision in PRECISIONS
    }


@pytest.fixture(scope="module")
def device(programs):
    return device_of(programs.values())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_products_say_what_they_read_and_add_up_in(programs, precision):
    gemms = [each.gemm for each in programs[precision].actions if isinstance(each, Product)]
    assert len(gemms) > 20 and None not in gemms
    if precision == "tf32":
        assert {(gemm.operands, gemm.result, gemm.adds_in) for gemm in gemms} == {
            ("float32", "float32", "tf32")
        }
        return
    half = {"bf16": "bfloat16", "fp16": "float16"}[precision]
    assert {gemm.operands for gemm in gemms} == {half}
    assert {gemm.result for gemm in gemms} == {half, "float32"}
    assert {gemm.adds_in for gemm in gemms} == {"float32"}


@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_attention_is_one_operation_that_reads_halves(programs, precision):
    kernels = [text for name, text in programs[precision].kernels.items() if "statistics" in text]
    half = {"bf16": "bfloat16", "fp16": "float16"}[precision]
    assert kernels and all(f"const {half}* query" in text for text in kernels)


@needs_compiler
@pytest.mark.parametrize("precision", PRECISIONS)
def test_steps_follow_the_cpu(programs, device, precision):
    graph = step_of("transformer")
    bound, state = Bound(programs[precision], device), initial(graph)
    compiled = gg.compile(graph, guards=GUARDS, precision=precision)
    given: dict[str, Any] = {name: its.copy() for name, its in state.items()}
    for step in range(3):
        feeds = feeds_of("transformer", step)
        found, wanted = bound.run({**given, **feeds}, seed=step), compiled(state, **feeds)
        given = {}
        np.testing.assert_allclose(found["loss"], wanted["loss"], 2e-3)
    left = bound.state()
    for name in graph.parameters:
        if name.endswith("key.b"):  # its delta is 0 but for rounding, which Adam makes large
            continue
        scale = np.abs(state[name]).max() + 1e-3
        assert np.abs(left[name] - state[name]).mean() < 2e-3 * scale, name


@needs_compiler
def test_steps_are_equal_bit_by_bit_whatever_the_order_of_threads(programs, device):
    results = []
    for seed in (1, 2):
        bound = Bound(programs["bf16"], device)
        given: dict[str, Any] = initial(step_of("transformer"))
        for step in range(2):
            bound.run({**given, **feeds_of("transformer", step)}, seed=100 * seed + step)
            given = {}
        results.append(bound.state())
    for name, value in results[0].items():
        np.testing.assert_array_equal(results[1][name], value, err_msg=name)


@needs_nvrtc
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_the_kernels_of_a_step_compile_for_a_device(programs, architecture):
    program = programs["bf16"]
    code = compile_cuda(module_text(program.kernels), architecture, program.names)
    assert code[:4] == b"\x7fELF"
