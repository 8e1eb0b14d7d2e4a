"""The loop language: its statements, compiled and run as Python, and the errors."""

from __future__ import annotations

import ctypes
import re

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="it is compiled by LLVM")

from loop_texts import CONSTANTS, DTYPES, assert_same, kernel, llvm_of, run_both, run_compiled
from random_loops import RandomProgram

from graphgrad.guide import guide_file
from graphgrad.loops import language
from graphgrad.loops.expressions import ARITHMETIC, RELATIONS
from graphgrad.loops.language import Function, float64, int64, loop_function
from graphgrad.loops.llvm_text import LLVM_TYPES, SCALAR_TYPES, LoopError
from graphgrad.loops.operations import FUNCTIONS
from graphgrad.loops.translate import translate_function

HALF = 0.5
COUNT = 3


@loop_function()
def divided(a: int64, b: int64):
    """Quotient and remainder."""
    quotient = a // b
    rest = a - quotient * b
    return quotient, rest


@loop_function()
def halved(a):
    a = a * HALF  # the caller's own a stays what it is
    return a


@loop_function("contract")
def contracted(a: float64, b: float64):
    return a * b + exact(a, b)


@loop_function()
def exact(a: float64, b: float64) -> float64:
    return a * b - a


@loop_function()
def write_count(out, place: int64):
    out[place] = float64(COUNT)


@loop_function()
def endless(a: float64):
    return endless(a)


LIBRARY = {
    **CONSTANTS,
    "divided": divided,
    "halved": halved,
    "contracted": contracted,
    "exact": exact,
    "write_count": write_count,
    "endless": endless,
}

CASES = {
    "if": ("if n > 2:\n    out[0] = 1\nif n > 9:\n    out[1] = 1", [1]),
    "else": ("if n > 9:\n    out[0] = 1\nelse:\n    out[1] = 1", [0, 1]),
    "elif": (
        "if n > 9:\n    k = 1\nelif n > 4:\n    k = 2\nelse:\n    k = 3\nout[0] = float64(k)",
        [2],
    ),
    "nested if": (
        "if n > 2:\n    if n > 9:\n        out[0] = 1\n    else:\n        out[1] = 1",
        [0, 1],
    ),
    "while": ("k = 0\nwhile k * k < 20:\n    k = k + 1\nout[0] = float64(k)", [5]),
    "while that never runs": ("k = 7\nwhile k < 3:\n    k = 0\nout[0] = float64(k)", [7]),
    "range to": ("for i in range(3):\n    out[i] = 1", [1, 1, 1]),
    "range from": ("for i in range(2, 4):\n    out[i] = 1", [0, 0, 1, 1]),
    "range by": ("for i in range(1, 6, 2):\n    out[i] = 1", [0, 1, 0, 1, 0, 1]),
    "range by a variable": (
        "k = int64(3)\nfor i in range(0, 8, k):\n    out[i] = 1",
        [1, 0, 0, 1, 0, 0, 1],
    ),
    "empty range": ("for i in range(n, 2):\n    out[i] = 1", []),
    "range below zero": ("for i in range(0 - 2, 1):\n    out[i + 2] = float64(i)", [-2, -1, 0]),
    "loops in loops": (
        "for i in range(2):\n    for j in range(i, 3):\n        out[j] += 1",
        [1, 2, 2],
    ),
    "a counter that is changed": (
        "k = int64(0)\nfor i in range(3):\n    i = int64(i) + 10\n    k = k + i\n"
        "out[0] = float64(k)",
        [33],
    ),
    "a counter afterwards": ("for i in range(4):\n    pass\nout[0] = float64(i)", [3]),
    "a bound that changes": (
        "k = int64(3)\nfor i in range(k):\n    k = k + 5\nout[0] = float64(k)",
        [18],
    ),
    "independent": ("for i in independent(4):\n    out[i] = a[i] * 2", [2, 4, 6, 8]),
    "independent in independent": (
        "m = array(given[0], float64, 2, 3)\nfor i in independent(2):\n"
        "    for j in independent(3):\n        m[i, j] = a[j] + float64(i)",
        [1, 2, 3, 2, 3, 4],
    ),
    "swap": ("x, y = a[0], a[1]\nx, y = y, x\nout[0] = x\nout[1] = y", [2, 1]),
    "tuples in tuples": ("(x, y), z = (a[0], a[1]), a[2]\nout[0] = x + y * z", [7]),
    "a tuple with a name": ("t = (a[0], 5.0, n)\nout[0] = t[1]\nout[1] = float64(t[2])", [5, 8]),
    "elements swapped": ("out[0], out[1] = a[1], a[0]", [2, 1]),
    "augmented": ("x = a[2]\nx += 1\nx *= 4\nx -= 2\nx /= 2\nout[0] = x", [7]),
    "augmented element": ("out[1] += a[1]\nout[1] += a[1]", [0, 4]),
    "augmented integer": ("k = n\nk //= 3\nk <<= 3\nk |= 1\nk %= 10\nout[0] = float64(k)", [7]),
    "choice": ("out[0] = a[0] if n > 2 else a[1]\nout[1] = 3 if n > 9 else 4.5", [1, 4.5]),
    "and, or, not": (
        "x, y = n > 2, n > 9\nout[0] = float64(x and not y)\nout[1] = float64(y or n == 8 or y)\n"
        "out[2] = float64(x and y and x)",
        [1, 1, 0],
    ),
    "truth values with names": (
        "t = True\nif not t or False:\n    out[0] = 1\nout[1] = float64(t)",
        [0, 1],
    ),
    "minus": (
        "out[0] = -a[0]\nout[1] = float64(-n)\nout[2] = -(-3)\nout[3] = - -a[3]",
        [-1, -8, 3, 4],
    ),
    "all bits turned": ("out[0] = float64(~n)", [-9]),
    "division rounds down": (
        "out[0] = float64(-7 // int64(2))\nout[1] = float64(-7 % int64(2))\n"
        "out[2] = float64(int64(7) // -2)\nout[3] = float64(int64(7) % -2)",
        [-4, 1, -4, -1],
    ),
    "numbers of no type": ("out[0] = 2 + 3 * 4 - 10 // 3\nout[1] = 7 - 0.5", [11, 6.5]),
    "rows": (
        "m = array(given[1], float64, 4, 2)\nr = m[2]\nout[0] = r[0] + m[3][1] + m[1, 0]",
        [16],
    ),
    "sizes": (
        "m = array(given[1], float64, 4, 2)\nout[0] = float64(len(m))\n"
        "out[1] = float64(len(m[0]))\nout[2] = float64(len(a))",
        [4, 2, 8],
    ),
    "a row with a name in a loop": (
        "m = array(given[1], float64, 4, 2)\nfor i in range(4):\n    r = m[i]\n    out[i] = r[1]",
        [2, 4, 6, 8],
    ),
    "fixed memory": (
        "t = empty(3, float64)\nfor i in range(3):\n    t[i] = a[i]\nout[0] = t[2] - t[0]",
        [2],
    ),
    "memory": (
        "t = empty(n * 100, float64)\nfor i in range(n * 100):\n    t[i] = float64(i)\n"
        "out[0] = t[n * 100 - 1]\nout[1] = float64(len(t))",
        [799, 800],
    ),
    "infinities": (
        "out[0] = inf\nout[1] = -inf\nout[2] = nan\nout[3] = 0.0\nout[3] = -out[3]",
        [np.inf, -np.inf, np.nan, -0.0],
    ),
    "a comment and a note": ('"""What it does."""\nout[0] = 1  # one', [1]),
    "a function": ("x, y = divided(17, 5)\nout[0] = float64(x)\nout[1] = float64(y)", [3, 2]),
    "a function of a function": ("out[0] = float64(divided(divided(17, 5)[0], 2)[1])", [1]),
    "a function changes its own names only": ("x = a[3]\nout[0] = halved(x)\nout[1] = x", [2, 4]),
    "a function of any type": (
        "out[0] = halved(a[0])\nout[1] = float64(halved(float32(3)))",
        [0.5, 1.5],
    ),
    "a function that writes": ("for i in range(2):\n    write_count(out, i + 1)", [0, 3, 3]),
    "functions with flags": (
        "out[0] = contracted(a[1], a[2])\nout[1] = exact(a[1], a[2])",
        [10, 4],
    ),
}
"""Statements over out and a, float64[8], a = 1 … 8, and n = 8; what out then holds."""
ARRAYS = ("out: float64, 8", "a: float64, 8", "words: int64, 1")


@pytest.mark.parametrize("name", CASES)
def test_statements(name: str) -> None:
    body, wanted = CASES[name]
    given = np.zeros(8), np.arange(1.0, 9.0), np.array([8])
    results = run_both(kernel(f"n = words[0]\n{body}", *ARRAYS), *given, library=LIBRARY)
    for out, a, _ in results:
        assert_same(out, np.array(wanted + [0] * (8 - len(wanted)), np.float64))
        assert_same(a, given[1])


REFUSED = {
    "x = y = 1": "not in the language: x = y = 1",
    "x: float64 = 1": "not in the language: x: float64 = 1",
    "for i in range(2):\n    break": "not in the language: break",
    "for i in range(2):\n    pass\nelse:\n    pass": "not in the language: for i in range",
    "while n > 9:\n    pass\nelse:\n    pass": "not in the language: while n > 9",
    "for i in a:\n    pass": "not in the language: for i in a",
    "for i, j in range(3):\n    pass": "not in the language: for i, j in range",
    "for i in enumerate(3):\n    pass": r"must be over range\(…\) or independent",
    "for i in range():\n    pass": "one to three arguments",
    "for i in range(5, 0, -1):\n    pass": "a positive step",
    "for i in range(5, 0, 0):\n    pass": "a positive step",
    "for i in range(2.5):\n    pass": "expected int64, not 2.5",
    "if n > 2:\n    return": "not in the language: return",
    "import math": "not in the language: import math",
    "out[0] = a[0] ** 2": "operator that is not in the language",
    "out[0] = +a[0]": "operator that is not in the language",
    "out[0] = 'a'": "not in the language: 'a'",
    "out[0] = a.sum()": r"not in the language: a\.sum\(\)",
    "out[0] = max(a[0], b=a[1])": "not in the language: max",
    "out[0] = max(*a)": "not in the language: .a",
    "out[0] = [1, 2]": r"not in the language: \[1, 2\]",
    "out[0] = 1 if 0 < n < 3 else 2": "not in the language: 0 < n < 3",
    "out[0] = 1 if n in a else 2": "not in the language: n in a",
    "out[0] = lambda: 1": "not in the language: lambda: 1",
    "out[0:2] = 1": "not in the language: 0:2",
    "out[0] = unknown + 1": "there is no value 'unknown'",
    "out[0] = exact": "there is no value 'exact'",
    "out[0] = unknown(1)": r"there is no function 'unknown'",
    "out[0] = a(1)": "there is no function 'a'",
    "out[0] = exact(a[0])": "exact takes 2 arguments, not 1",
    "out[0] = exact(n, n)": "expected float64, not int64",
    "out[0] = endless(a[0])": "endless calls itself",
    "out[0] = a[0] + n": "different types: float64, int64",
    "out[0] = a[0] + float32(1)": "different types: float64, float32",
    "out[0] = n": "expected float64, not int64",
    "out[0] = a": "expected a single number",
    "out[0] = a + 1": "expected a single number",
    "out[0] = (1.0, 2.0)": "expected a single number",
    "out[0] = tanh(n)": "tanh is not defined for int64",
    "out[0] = sqrt(2)": "sqrt is not defined for int64",
    "k = n\nk = 1.5": "expected int64, not 1.5",
    "k = n\nk = a[0]": "expected int64, not float64",
    "k = n / n": "'/' is not defined for int64",
    "k = n / 2": "'/' is not defined for int64",
    "k = True + True": "'[+]' is not defined for bool_",
    "k = n << 2.0": "expected int64, not 2.0",
    "out[0] = 1 / 3": "one of the numbers beside '/' needs a type",
    "if n:\n    pass": "expected bool_, not int64",
    "while a[0]:\n    pass": "expected bool_, not float64",
    "out[0] = float64(n and n)": "expected bool_, not int64",
    "out[0] = float64(not n)": "expected bool_, not int64",
    "k = int32(4294967297)": "4294967297 does not fit into int32",
    "k = uint32(-2147483649)": "does not fit into uint32",
    "k = a[1.0]": "expected int64, not 1.0",
    "k = a[int32(1)]": "expected int64, not int32",
    "k = a[0, 1]": "2 indices for an array of 1",
    "k = n[0]": "only an array can be indexed",
    "k = (1, 2)[n]": "the index of a tuple must be a number",
    "k = len(n)": "len takes an array",
    "k, j = 1": "not 2 values",
    "k, j = 1, 2, 3": "not 2 values",
    "m = array(given[0], float64, 4, 2)\nm[0] = a": "a whole row cannot be assigned to",
    "m = array(given[0], float64, 2, 2, 2)": "one or two sizes",
    "m = array(given[0], float64)": "one or two sizes",
    "m = array(given[0], float8, 3)": "expected a type: one of float32, float64, bool_",
    "m = array(1.5, float64, 3)": "expected int64, not 1.5",
    "k = bits(a[0], int32)": "float64 and int32 differ in size",
    "for i in range(2):\n    t = empty(n, float64)": "not be called inside a loop",
    "for i in range(2):\n    t = empty(3, float64)": "not be called inside a loop",
    "r = a\nfor i in range(3):\n    r = out": "'r' is assigned an array or a tuple",
    "if n > 2:\n    r = a\nelse:\n    r = out": "'r' is assigned an array",
    "t = (1, 2)\nt = (3, 4)": "'t' is assigned an array or a tuple",
    "t = 1\nt = a": "'t' is assigned an array",
    "t = a\nt = 1": "'t' is assigned an array",
}
"""What is not in the language, and what is said."""


@pytest.mark.parametrize("body", REFUSED)
def test_what_is_not_in_the_language_is_refused_with_its_line(body: str) -> None:
    with pytest.raises(LoopError, match=REFUSED[body]) as caught:
        llvm_of(kernel(f"n = words[0]\n{body}", *ARRAYS), LIBRARY)
    message, place = str(caught.value).split("\n  in line ")
    number, statement = place.split(": ", 1)
    if "endless" not in message:  # a function of the library has lines of its own
        line = kernel(f"n = words[0]\n{body}", *ARRAYS).splitlines()[int(number) - 1]
        assert re.sub(r"[()\s]", "", statement) == re.sub(r"[()\s]", "", line)


def test_a_name_has_its_value_only_from_its_assignment_on() -> None:
    with pytest.raises(LoopError, match="there is no value 'later'"):
        llvm_of(kernel("out[0] = later\nlater = 1.0", *ARRAYS))


@pytest.mark.parametrize("type_", LLVM_TYPES)
def test_arrays_of_each_type(type_: str) -> None:
    """Elements have the addresses of NumPy's, in one dimension and in two."""
    x = (np.arange(12) % 3).astype(DTYPES[type_])
    body = (
        f"m = array(given[1], {type_}, 4, 3)\nt = empty(3, {type_})\n"
        f"u = empty(last * 100, {type_})\n"
        "for i in range(3):\n    t[i] = x[i + 1]\n    u[i * 40] = t[i]\n"
        "    out[i] = t[i]\n    out[i + 3] = m[2, i]\n    out[i + 6] = m[i][1]\n"
        "    out[i + 9] = u[40 * i]"
    )
    text = kernel(body, f"out: {type_}, 12", f"x: {type_}, 12")
    for out, _ in run_both(text, np.zeros_like(x), x):
        m = x.reshape(4, 3)
        assert_same(out, np.concatenate([x[1:4], m[2], m[:3, 1], x[1:4]]))


@pytest.mark.parametrize("type_", LLVM_TYPES)
def test_a_loop_in_vectors_writes_only_what_it_should(type_: str) -> None:
    """Of every length, and nothing before or after."""
    for size in (0, 1, 7, 8, 31, 64, 65):
        x = (np.arange(80) % 2).astype(DTYPES[type_])
        out = np.full(80, 1, DTYPES[type_])
        text = kernel(
            "for i in independent(last):\n    out[i + 5] = x[i]",
            f"out: {type_}, 80",
            f"x: {type_}, 80",
        )
        run_compiled(text, [out, x], last=size)
        wanted = np.full(80, 1, DTYPES[type_])
        wanted[5 : 5 + size] = x[:size]
        assert_same(out, wanted)


def test_parameters_are_the_words_that_were_given() -> None:
    text = """def kernel(first: int64, last: int64, arguments: int64):
    given = array(arguments, int64, 3)
    out = array(given[0], int64, 4)
    out[0], out[1], out[2], out[3] = first, last, given[1], given[2]
"""
    for given in run_both(text, np.zeros(4, np.int64), -3, 2**62, last=11):
        assert given[0].tolist() == [0, 11, -3, 2**62]


def test_functions_at_addresses_are_called() -> None:
    calls = []
    blocks = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(lambda *words: calls.append(words))
    of_c = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_int64] * 2)(lambda a, b: int(a - 2 * b))
    places = [ctypes.cast(one, ctypes.c_void_p).value for one in (blocks, of_c)]
    body = "call_blocks(words[0], 1, -2, last)\nout[0] = call_c(words[1], 3, 5)"
    text = kernel(body, "out: int64, 1", "words: int64, 2")
    results = run_both(text, np.zeros(1, np.int64), np.array(places), last=9)
    assert calls == [(1, -2, 9)] * 2
    assert [out.tolist() for out, _ in results] == [[-7]] * 2


def test_types_by_name_and_flags_of_the_function() -> None:
    """A function is translated for the types that it is given; its flags are its own."""
    text = llvm_of(kernel("out[0] = contracted(out[0], out[1])", ARRAYS[0]), LIBRARY)
    products = re.findall(r"fmul(.*)double", text)
    assert [part.strip() for part in products] == ["contract", ""]  # exact keeps its own
    assert re.findall(r"f(?:add|sub)(.*)double", text) == ["  ", " contract "]
    wider = Function(exact.python, ("contract", "nsz"))
    assert "fmul contract nsz double" in translate_function(wider, "f", {})
    body = "x = real(out[0])\nout[1] = float64(x)"
    for type_, word in (("float32", "fptrunc"), ("int64", "fptosi"), ("uint32", "fptoui")):
        assert word in llvm_of(kernel(body, ARRAYS[0]), types={"real": type_})
    with pytest.raises(LoopError, match="there is no function 'real'"):
        llvm_of(kernel(body, ARRAYS[0]))


def test_every_word_has_its_meaning_in_python() -> None:
    missing = {*FUNCTIONS, *LLVM_TYPES, "array", "empty", "bits", "where", "independent"}
    missing -= {*vars(language), *dir(__builtins__), *__builtins__}
    assert missing <= {"erf"}  # loop_texts.py has it from SciPy


@pytest.mark.parametrize("seed", range(60))
def test_random_programs_mean_what_they_mean_in_python(seed: int) -> None:
    text = RandomProgram(seed).text()
    a = np.random.default_rng(seed).standard_normal(8) * 10.0 ** np.arange(-4, 4)
    compiled, python = run_both(text, np.zeros(8), a, library=LIBRARY)
    assert_same(compiled[0], python[0], text)


def test_the_guide_has_the_grammar():
    (grammar,) = re.findall(r"```text\n(function .*?)```", guide_file("loop_language.md"), re.S)
    rules = dict(re.findall(r"^(\w+) += (.*(?:\n .*)*)", grammar, re.M))
    terminals = {name: set(re.findall(r'"([^"]+)"', rule)) for name, rule in rules.items()}
    assert terminals["operator"] == set(ARITHMETIC.values())
    assert terminals["relation"] == set(RELATIONS.values())
    assert terminals["type"] == set(SCALAR_TYPES)
    assert terminals["expression"] >= {"-", "~", "not", "and", "or", "if", "else"}
