"""Functions of the loop language that Python calls: types, results, errors."""

from __future__ import annotations

import ctypes
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="it is compiled by LLVM")

from loop_texts import DTYPES

from graphgrad.loops.compiled_functions import _C_TYPES, compile_function
from graphgrad.loops.language import (
    array,
    bool_,
    float32,
    float64,
    int64,
    loop_function,
    uint64,
    word,
)
from graphgrad.loops.llvm_text import LLVM_TYPES, LoopError
from graphgrad.loops.translate import translate_function

SCALE = 3


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The functions of this file are not part of the digest."""
    monkeypatch.setenv("GRAPHGRAD_CACHE", str(tmp_path))


@loop_function()
def same(a: word) -> word:
    return a


@loop_function()
def mixed_sum(a: float32, b: float64, c: int64, d: bool_, e: uint64) -> float64:
    """Each word arrives in its own register."""
    return float64(a) + b * 10 + float64(c) * 100 + float64(d) * 1000 + float64(e) * SCALE


@loop_function()
def negated(a: bool_, b: bool_) -> bool_:
    return not a or b


@loop_function()
def any_set(address: int64, size: int64) -> bool_:
    found = False
    numbers = array(address, bool_, size)
    for place in range(size):
        found = found or numbers[place]
    return found


@loop_function()
def write(address: int64, value: word):
    array(address, word, 1)[0] = value


@loop_function()
def count(turns: int64, address: int64) -> int64:
    total = array(address, int64, 1)
    for turn in range(turns):
        total[0] = total[0] * 3 + turn
    return total[0]


@loop_function()
def several(a: int64) -> int64:
    return a, a + 1


@loop_function()
def untyped(a) -> int64:
    return a


@loop_function()
def oddly_typed(a: float) -> int64:
    return a


@loop_function()
def wrong(a: int64) -> int64:
    """It has a line that is not in the language."""
    b = a**2
    return b


def test_every_type_has_one_in_c_of_its_size() -> None:
    assert set(_C_TYPES) == set(LLVM_TYPES)
    assert {name: ctypes.sizeof(its) for name, its in _C_TYPES.items()} == {
        name: its.itemsize for name, its in DTYPES.items()
    }


@pytest.mark.parametrize("type_", LLVM_TYPES)
def test_scalars_come_back_as_they_were_given(type_: str) -> None:
    dtype = DTYPES[type_]
    function = compile_function(same, word=type_)
    if dtype.kind == "f":
        values = [0.0, 0.1, -1e30, np.inf, float(np.finfo(dtype).tiny)]
    elif dtype.kind == "b":
        values = [True, False]
    else:
        values = [0, 1, int(np.iinfo(dtype).max), int(np.iinfo(dtype).min)]
    for value in values:
        assert function(value) == dtype.type(value)
    assert isinstance(function(values[0]), {"f": float, "b": bool}.get(dtype.kind, int))


@pytest.mark.parametrize("type_", LLVM_TYPES)
def test_a_function_for_each_type_writes_that_type(type_: str) -> None:
    numbers = np.zeros(2, DTYPES[type_])
    assert compile_function(write, word=type_)(numbers.ctypes.data, 1) is None
    assert numbers.tolist() == [1, 0]


def test_arguments_of_every_type_at_once() -> None:
    function = compile_function(mixed_sum)
    assert function(0.5, 2.0, -3, True, 2**40) == 0.5 + 20 - 300 + 1000 + 3 * 2.0**40


def test_truth_values_are_whole_bytes() -> None:
    table = {(a, b): compile_function(negated)(a, b) for a in (False, True) for b in (False, True)}
    assert table == {
        (False, False): True,
        (False, True): True,
        (True, False): False,
        (True, True): True,
    }
    assert "define zeroext i1 @f(" in translate_function(any_set, "f", {})
    raw = ctypes.CFUNCTYPE(ctypes.c_uint8, ctypes.c_int64, ctypes.c_int64)
    function = compile_function(any_set)
    address = ctypes.cast(function, ctypes.c_void_p).value
    for size in (1, 7, 64, 133):
        numbers = np.zeros(size, bool)
        assert raw(address)(numbers.ctypes.data, size) == 0
        numbers[size // 2] = True
        assert raw(address)(numbers.ctypes.data, size) == 1  # not 255, nor bits above


def test_a_function_lets_go_of_the_interpreter() -> None:
    """Another thread works while a long call is under way."""
    function, numbers = compile_function(count), np.zeros(1, np.int64)
    expected = np.zeros(1, np.int64)
    function(10, expected.ctypes.data)
    assert expected[0] == sum(turn * 3 ** (9 - turn) for turn in range(10))
    turns, seen = 2_000_000, 0
    worker = threading.Thread(target=lambda: function(turns * 40, numbers.ctypes.data))
    worker.start()
    deadline = time.monotonic() + 20
    while worker.is_alive() and seen < 100 and time.monotonic() < deadline:
        seen += 1
    alive = worker.is_alive()
    worker.join()
    assert seen == 100 and alive


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (several, "expected a single number"),
        (untyped, "expected a type: one of float32"),
        (oddly_typed, "expected a type"),
        (wrong, r"(?s)not in the language.*in line 4: b = a \*\* 2"),
    ],
    ids=["two results", "no type", "Python's float", "an operator"],
)
def test_functions_that_cannot_be_compiled(function, message: str) -> None:
    with pytest.raises(LoopError, match=message):
        compile_function(function)


def test_a_type_by_name_has_to_be_given() -> None:
    with pytest.raises(LoopError, match="expected a type"):
        compile_function(same)
    with pytest.raises(LoopError, match="expected a type"):
        compile_function(same, word="float8")
    with pytest.raises(LoopError, match="stored and cast, not passed"):
        compile_function(same, word="float16")


def test_the_wrong_number_or_kind_of_arguments() -> None:
    function = compile_function(mixed_sum)
    with pytest.raises(TypeError):
        function(0.5, 2.0)
    with pytest.raises(ctypes.ArgumentError):
        function(0.5, 2.0, 1.5, True, 1)
