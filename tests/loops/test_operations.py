"""Every operator, relation, conversion and function, for every type that it is for, as in NumPy.

The cases are those of the tables in operations.py and expressions.py; what is entered there has
to be given its meaning in NumPy here, or a test says what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="it is compiled by LLVM")

from loop_texts import DTYPES, assert_same, kernel, llvm_of, run_compiled, steps_apart
from scipy import special

from graphgrad.loops import language
from graphgrad.loops.expressions import ARITHMETIC, RELATIONS
from graphgrad.loops.llvm_text import BYTES, LLVM_TYPES, Literal, LoopError
from graphgrad.loops.operations import FUNCTIONS

FLOATS = ("float32", "float64")
INTEGERS = ("int32", "int64", "uint32", "uint64")
NUMBERS = (*FLOATS, *INTEGERS)
BITS = (*INTEGERS, "bool_")
LARGE = {"float32": 3e38, "float64": 1e300}

OPERATORS: Mapping[str, tuple[Any, tuple[str, ...]]] = {
    "+": (np.add, NUMBERS),
    "-": (np.subtract, NUMBERS),
    "*": (np.multiply, NUMBERS),
    "/": (np.divide, FLOATS),
    "//": (np.floor_divide, ("int64", "uint32", "uint64")),
    "%": (np.remainder, ("int64", "uint32", "uint64")),
    "&": (np.bitwise_and, BITS),
    "|": (np.bitwise_or, BITS),
    "^": (np.bitwise_xor, BITS),
    "<<": (np.left_shift, INTEGERS),
    ">>": (np.right_shift, INTEGERS),
}
"""The meaning of an operator and the types that it is for."""
COMPARISONS = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}
ALL = tuple(LLVM_TYPES)
MEANING: Mapping[str, tuple[Callable[..., Any], tuple[str, ...], float]] = {
    "plus": (np.add, NUMBERS, 0),
    "abs": (np.abs, NUMBERS, 0),
    "isfinite": (np.isfinite, ALL, 0),
    "larger": (np.maximum, ALL, 0),
    "smaller": (np.minimum, ALL, 0),
    "max": (np.maximum, ALL, 0),
    "maximum": (np.maximum, ALL, 0),
    "min": (np.minimum, ALL, 0),
    "minimum": (np.minimum, ALL, 0),
    "sqrt": (np.sqrt, FLOATS, 0),
    "floor": (np.floor, FLOATS, 0),
    "log": (np.log, FLOATS, 2),
    "sin": (np.sin, FLOATS, 2),
    "cos": (np.cos, FLOATS, 2),
    "pow": (np.power, FLOATS, 2),
    "exp": (np.exp, FLOATS, 2),
    "tanh": (np.tanh, FLOATS, 3),
    "erf": (special.erf, FLOATS, 3),
    "log1p": (np.log1p, FLOATS, 3),
    "expm1": (np.expm1, FLOATS, 3),
    "whole_int32": (np.vectorize(language.whole_int32, otypes=[np.int32]), FLOATS, 0),
    "whole_int64": (np.vectorize(language.whole_int64, otypes=[np.int64]), FLOATS, 0),
    "c_sin": (np.sin, FLOATS, 2),
    "c_cos": (np.cos, FLOATS, 2),
}
"""The meaning of a function, the types that it is for, and how many floats it may be apart."""
RESULTS = {"isfinite": "bool_", "whole_int32": "int32", "whole_int64": "int64"}
"""The type of a result that is not that of the operands."""
OF_TWO = ("plus", "larger", "smaller", "max", "min", "maximum", "minimum", "pow")


def extremes(type_: str) -> np.ndarray:
    """What is likely to go wrong."""
    dtype = DTYPES[type_]
    if type_ == "bool_":
        return np.array([False, True])
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        found = [0, 1, 2, 3, 7, limits.max, limits.max - 1, limits.min, limits.min + 1]
        return np.array([*found, limits.max // 2, limits.max // 3], dtype)
    limits = np.finfo(dtype)
    sizes = [
        0,
        1,
        0.5,
        1.5,
        2,
        1e-3,
        3,
        88,
        3e9,
        15e18,
        1e30,
        1e-30,
        limits.max,
        limits.tiny,
        np.inf,
    ]
    small = [limits.smallest_subnormal, limits.smallest_subnormal * 5, limits.eps, 1 + limits.eps]
    numbers = np.array([*sizes, *small], dtype)
    return np.concatenate([numbers, -numbers, np.array([np.nan], dtype)])


def random_numbers(type_: str, count: int, generator: np.random.Generator) -> np.ndarray:
    dtype = DTYPES[type_]
    if dtype.kind == "f":
        spread = 10.0 ** generator.uniform(-6, 6, count)
        return (generator.standard_normal(count) * spread).astype(dtype)
    if dtype.kind == "b":
        return generator.random(count) < 0.5
    return generator.integers(0, 256, (count, dtype.itemsize), np.uint8).view(dtype)[:, 0]


def operands(type_: str, count: int) -> list[np.ndarray]:
    """Each extreme with each other, then random numbers: enough for vectors and a rest."""
    hard, generator = extremes(type_), np.random.default_rng(BYTES[type_])
    pairs = np.meshgrid(hard, hard) if count == 2 else [hard]
    return [np.concatenate([one.ravel(), random_numbers(type_, 133, generator)]) for one in pairs]


def computed(expression: str, result: str, *given: np.ndarray) -> np.ndarray:
    """The expression of `a` and `b` over arrays, as a vector loop computes it."""
    out = np.zeros(given[0].shape, DTYPES[result])
    types = [next(name for name, its in DTYPES.items() if its == one.dtype) for one in given]
    arrays = [f"{name}: {type_}, last" for name, type_ in zip("xy", types, strict=False)]
    reads = [f"    {name} = {array[0]}[i]" for name, array in zip("ab", arrays, strict=False)]
    body = "\n".join(["for i in independent(last):", *reads, f"    out[i] = {expression}"])
    text = kernel(body, *arrays, f"out: {result}, last")
    run_compiled(text, [*given, out], last=out.size)
    return out


def refused(expression: str, type_: str, result: str) -> bool:
    """Whether the expression of two numbers is not in the language."""
    body = f"a = x[0]\nb = x[1]\nout[0] = {expression}"
    text = kernel(body, f"x: {type_}, 2", f"out: {result}, 1")
    try:
        llvm_of(text)
    except LoopError as error:
        assert f"is not defined for {type_}" in str(error), error
        return True
    return False


def test_every_entry_of_the_tables_has_a_meaning_here() -> None:
    assert set(OPERATORS) == set(ARITHMETIC.values()), "operators: say what NumPy does"
    assert set(COMPARISONS) == set(RELATIONS.values()), "relations: say what NumPy does"
    assert {*MEANING, "fma"} == set(FUNCTIONS), "functions: say what NumPy does"
    assert set(LLVM_TYPES) == {*NUMBERS, "bool_"}, "types: say what kind it is"


@pytest.mark.parametrize("type_", LLVM_TYPES)
@pytest.mark.parametrize("sign", ARITHMETIC.values())
def test_operators(sign: str, type_: str) -> None:
    meaning, types = OPERATORS[sign]
    assert refused(f"a {sign} b", type_, type_) == (type_ not in types)
    if type_ not in types:
        return
    a, b = operands(type_, 2)
    if sign in ("<<", ">>"):
        b %= b.dtype.type(8 * BYTES[type_])  # further is not defined
        b = np.abs(b)
    if sign in ("//", "%"):
        defined = b != 0
        if type_ == "int64":
            defined &= (b != -1) | (a != np.iinfo(np.int64).min)
        a, b = a[defined], b[defined]
    with np.errstate(all="ignore"):
        wanted = meaning(a, b)
    assert_same(computed(f"a {sign} b", type_, a, b), wanted, f"{sign} of {type_}")


@pytest.mark.parametrize("type_", LLVM_TYPES)
@pytest.mark.parametrize("sign", RELATIONS.values())
def test_relations(sign: str, type_: str) -> None:
    a, b = operands(type_, 2)
    assert_same(computed(f"a {sign} b", "bool_", a, b), COMPARISONS[sign](a, b))


@pytest.mark.parametrize("type_", LLVM_TYPES)
def test_signs_and_bits_turned_over(type_: str) -> None:
    (a,) = operands(type_, 1)
    with np.errstate(all="ignore"):
        if type_ == "bool_":
            assert refused("-a", type_, type_)
            assert_same(computed("not a", "bool_", a), ~a)
        else:
            assert_same(computed("-a", type_, a), -a)
    if type_ in BITS:
        assert_same(computed("~a", type_, a), ~a)
    else:
        with pytest.raises(LoopError):
            llvm_of(kernel("out[0] = ~out[0]", f"out: {type_}, 1"))


@pytest.mark.parametrize("new", LLVM_TYPES)
@pytest.mark.parametrize("old", LLVM_TYPES)
def test_conversions(old: str, new: str) -> None:
    (a,) = operands(old, 1)
    if old in FLOATS and new in INTEGERS:  # what does not fit is not defined
        limits = np.iinfo(DTYPES[new])
        whole = np.trunc(a.astype(np.longdouble))
        a = a[np.isfinite(a) & (whole >= limits.min) & (whole <= limits.max)]
        assert a.size > 100
    with np.errstate(all="ignore"):
        assert_same(computed(f"{new}(a)", new, a), a.astype(DTYPES[new]), f"{old} to {new}")


@pytest.mark.parametrize("new", LLVM_TYPES)
@pytest.mark.parametrize("old", LLVM_TYPES)
def test_bits_as_another_type(old: str, new: str) -> None:
    (a,) = operands(old, 1)
    if BYTES[old] != BYTES[new]:
        with pytest.raises(LoopError, match=f"{old} and {new} differ in size"):
            computed(f"bits(a, {new})", new, a)
        return
    assert_same(computed(f"bits(a, {new})", new, a), a.view(DTYPES[new]))


@pytest.mark.parametrize("type_", LLVM_TYPES)
@pytest.mark.parametrize("form", ["a if a < b else b", "where(a < b, a, b)"])
def test_choices(form: str, type_: str) -> None:
    a, b = operands(type_, 2)
    assert_same(computed(form, type_, a, b), np.where(a < b, a, b))


@pytest.mark.parametrize("type_", LLVM_TYPES)
@pytest.mark.parametrize("name", MEANING)
def test_functions(name: str, type_: str) -> None:
    meaning, types, allowed = MEANING[name]
    call = f"{name}(a, b)" if name in OF_TWO else f"{name}(a)"
    result = RESULTS.get(name, type_)
    assert refused(call, type_, result) == (type_ not in types)
    if type_ not in types:
        return
    given = operands(type_, 2 if name in OF_TWO else 1)
    found = computed(call, result, *given)
    with np.errstate(all="ignore"):
        exact = [one.astype(np.float64) for one in given] if type_ == "float32" else given
        wanted = meaning(*exact).astype(DTYPES[result])
    if allowed == 0:
        np.testing.assert_array_equal(found, wanted)
        return
    apart = steps_apart(found, wanted)
    worst = int(np.argmax(apart))
    numbers = [one[worst] for one in (*given, found, wanted)]
    assert apart[worst] <= allowed, f"operands, result and what NumPy gives: {numbers}"


@pytest.mark.parametrize("type_", FLOATS)
def test_a_product_and_a_sum_that_are_rounded_once(type_: str) -> None:
    """Of numbers whose rounded product is taken away again: what is left is what rounding lost."""
    generator = np.random.default_rng(0)
    a, b = (generator.uniform(1, 2, 100).astype(type_) for _ in range(2))
    found = computed("fma(a, b, -(a * b))", type_, a, b)
    lost = [
        float(Fraction(float(x)) * Fraction(float(y)) - Fraction(float(x * y)))
        for x, y in zip(a, b, strict=True)
    ]
    assert_same(found, np.array(lost, type_))
    assert np.count_nonzero(found) > 90


@pytest.mark.parametrize("type_", FLOATS)
def test_numbers_that_are_written_keep_their_bits(type_: str) -> None:
    numbers = extremes(type_)[:-1]
    numbers = np.concatenate([numbers, random_numbers(type_, 20, np.random.default_rng(0))])
    numbers = numbers[np.isfinite(numbers)]
    lines = [f"out[{place}] = {float(number)!r}" for place, number in enumerate(numbers)]
    out = np.zeros_like(numbers)
    run_compiled(kernel("\n".join(lines), f"out: {type_}, {out.size}"), [out])
    assert_same(out, numbers)


def test_numbers_that_float32_rounds() -> None:
    written = [0.1, 1e-46, 1e39, -1e39, 16777217.0, 3.4028235677973366e38]
    out = np.zeros(len(written), np.float32)
    lines = [f"out[{place}] = {number!r}" for place, number in enumerate(written)]
    run_compiled(kernel("\n".join(lines), f"out: float32, {out.size}"), [out])
    with np.errstate(over="ignore"):
        assert_same(out, np.array(written).astype(np.float32))


@pytest.mark.parametrize("type_", INTEGERS)
def test_written_integers_fit_or_are_refused(type_: str) -> None:
    limits = np.iinfo(DTYPES[type_])
    out = np.zeros(2, DTYPES[type_])
    body = f"out[0] = {int(limits.max)}\nout[1] = {int(limits.min)}"
    run_compiled(kernel(body, f"out: {type_}, 2"), [out])
    assert out.tolist() == [limits.max, limits.min]
    with pytest.raises(LoopError, match=f"{int(limits.max) + 1} does not fit into {type_}"):
        Literal(int(limits.max) + 1).typed(type_)
    with pytest.raises(LoopError, match=f"expected {type_}, not 2.5"):
        Literal(2.5).typed(type_)


@pytest.mark.parametrize("type_", FLOATS)
def test_nothing_is_contracted_or_reordered_without_being_asked(type_: str) -> None:
    """A product and a sum are rounded each by itself, and a sum goes from left to right."""
    a, b = (np.random.default_rng(seed).standard_normal(133).astype(type_) for seed in (1, 2))
    assert_same(computed("a * b + a * b * a", type_, a, b), a * b + a * b * a)
    large = LARGE[type_]
    assert_same(
        computed(f"(a + {large}) - {large} + b", type_, a, b),
        (a + a.dtype.type(large)) - a.dtype.type(large) + b,
    )
