"""Floats of 16 bits in the loop language: read, cast, stored, and computed with by nobody."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="it is compiled by LLVM")

from half_numbers import NAMES, assert_same_bits, every_half, hard_floats
from loop_texts import kernel, llvm_of, run_both, run_compiled

from graphgrad.loops.halves import half_bits
from graphgrad.loops.llvm_text import HALVES, LoopError


@pytest.mark.parametrize("type_", NAMES)
def test_casts_are_those_of_numpy(type_):
    floats, halves = hard_floats(type_), every_half(type_)
    narrow, wide = np.zeros(floats.shape, type_), np.zeros(halves.shape, np.float32)
    body = f"for i in independent({floats.size}):\n    y[i] = {type_}(x[i])"
    declared = f"y: {type_}, {floats.size}", f"x: float32, {floats.size}"
    run_compiled(kernel(body, *declared), [narrow, floats])
    with np.errstate(all="ignore"):
        assert_same_bits(narrow, floats.astype(type_))
    body = f"for i in independent({halves.size}):\n    y[i] = float32(x[i])"
    declared = f"y: float32, {halves.size}", f"x: {type_}, {halves.size}"
    run_compiled(kernel(body, *declared), [wide, halves])
    with np.errstate(all="ignore"):
        assert_same_bits(wide, halves.astype(np.float32))


@pytest.mark.parametrize("type_", NAMES)
def test_python_and_machine_code_agree(type_):
    body = (
        f"t = empty(4, {type_})\nfor i in range(4):\n    t[i] = {type_}(1.5 * float32(x[i]))\n"
        f"for i in range(4):\n    y[i] = t[i]\n    n[i] = int32(t[i])\ny[0] = {type_}(2.5)"
    )
    text = kernel(body, f"y: {type_}, 4", f"x: {type_}, 4", "n: int32, 4")
    x = np.array([1, -3, 0.1, 200]).astype(type_)
    compiled, python = run_both(text, np.zeros(4, type_), x, np.zeros(4, np.int32))
    for found, wanted in zip(compiled, python, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("type_", HALVES)
@pytest.mark.parametrize(
    "use", ["x[0] + x[1]", "-x[0]", "x[0] < x[1]", "abs(x[0])", "max(x[0], 1)"]
)
def test_nothing_is_computed_with_them(type_, use):
    with pytest.raises(LoopError, match=f"{type_} is stored and cast, not computed with"):
        llvm_of(kernel(f"y = {use}", f"x: {type_}, 2"))


@pytest.mark.parametrize("type_", NAMES)
def test_a_number_in_a_text_is_rounded_like_any_other(type_):
    values = [*hard_floats(type_)[::97].tolist(), 1e300, -1e300]
    with np.errstate(all="ignore"):
        wanted = np.array(values, np.float32).astype(type_)
    found = np.array([half_bits(value, type_) for value in values], np.uint16).view(type_)
    assert_same_bits(found, wanted)


@pytest.mark.parametrize("type_", NAMES)
def test_casts_are_computed_for_many_numbers_at_once(type_):
    """LLVM makes vectors of the loop, so a cast costs no call for each number."""
    from graphgrad.loops.machine_code import machine_code

    body = f"for i in independent(4096):\n    y[i] = {type_}(2 * float32(x[i]))"
    text = llvm_of(kernel(body, f"y: {type_}, 4096", f"x: {type_}, 4096"))
    optimised = str(machine_code().optimised(text))
    assert " x i16>" in optimised and "__" not in optimised
