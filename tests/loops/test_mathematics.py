"""Mathematical functions in kernels: over the whole range, against the same function in Python,
with equal results at all positions of a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="it is compiled by LLVM")

from loop_texts import assert_same, functions_of, kernel, run_both, steps_apart

import graphgrad as gg
from graphgrad.compile import compile
from graphgrad.loops.library import double_precision, mathematics, periodic, single_precision

pytestmark = pytest.mark.usefixtures("small_kernels")
FLOATS = ("float32", "float64")
LONG = np.longdouble
"""On x86, 64 bits of precision: ten more than float64 has."""


def numbers(type_: str) -> np.ndarray:
    """Of every size and sign, with what is no number."""
    generator = np.random.default_rng(3)
    spread = 10.0 ** generator.uniform(-30, 30, 200)
    usual = generator.standard_normal(300) * 10.0 ** generator.uniform(-3, 2, 300)
    hard = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        np.inf,
        -np.inf,
        np.nan,
        1e-40,
        -1e-40,
        3.95,
        88.7,
        89,
        -104,
        3e38,
    ]
    return np.concatenate([generator.standard_normal(200) * spread, usual, hard]).astype(type_)


NUMBERS = {
    name: its
    for module in (single_precision, double_precision, periodic, mathematics)
    for name, its in functions_of(module).items()
}
SINGLE = {
    ("exp_float32", "float32"): 6,
    ("expm1_float32", "float32"): 6,
    ("tanh_float32", "float32"): 6,
    ("log_float32", "float32"): 6,
    ("log1p_float32", "float32"): 6,
    ("erf_float32", "float32"): 6,
    ("exp_float64", "float64"): 6,
    ("expm1_float64", "float64"): 6,
    ("tanh_float64", "float64"): 6,
    ("log_float64", "float64"): 6,
    ("log1p_float64", "float64"): 6,
    ("erf_float64", "float64"): 6,
    ("sin_float32", "float32"): 6,
    ("cos_float32", "float32"): 6,
    ("sin_float64", "float64"): 6,
    ("cos_float64", "float64"): 6,
    ("rsqrt", "float32"): 0,
    ("rsqrt", "float64"): 0,
    ("softplus", "float32"): 6,
    ("softplus", "float64"): 6,
    ("sign", "float32"): 0,
    ("sign", "float64"): 0,
}
"""Functions of a number, and how many floats the two may be apart: the compiled one rounds a
product and a sum once, and calls polynomials where Python calls NumPy."""


@pytest.mark.parametrize(("name", "type_"), SINGLE, ids="-".join)
def test_functions_of_a_number(name: str, type_: str) -> None:
    x = numbers(type_)
    text = kernel(
        f"for i in independent(last):\n    out[i] = {name}(x[i])",
        f"out: {type_}, last",
        f"x: {type_}, last",
    )
    (found, _), (wanted, _) = run_both(text, np.zeros_like(x), x, library=NUMBERS, last=x.size)
    apart = steps_apart(found, wanted)
    worst = int(np.argmax(apart))
    assert apart[worst] <= SINGLE[name, type_], (x[worst], found[worst], wanted[worst])


@pytest.mark.parametrize("type_", FLOATS)
def test_the_sign_is_that_of_numpy(type_: str) -> None:
    x = numbers(type_)
    text = kernel(
        "for i in range(last):\n    out[i] = sign(x[i])", f"out: {type_}, last", f"x: {type_}, last"
    )
    (found, _), _ = run_both(text, np.zeros_like(x), x, library=NUMBERS, last=x.size)
    np.testing.assert_array_equal(found, np.sign(x))


PRECISIONS = {
    "float32": {
        "integer": "int32",
        "lowest": -126,
        "tolerance": 3e-7,
        "fraction": "y",
        "count": "n",
        "exponential": "reduced_exponential",
        "power": "power_of_two",
        "logarithm": "reduced_logarithm",
        "near": 1e5,
    },
    "float64": {
        "integer": "int64",
        "lowest": -1022,
        "tolerance": 5e-16,
        "fraction": "r, q",
        "count": "int64(n - 6755399441055744.0)",
        "exponential": "reduced_exponential_float64",
        "power": "power_of_two_float64",
        "logarithm": "reduced_logarithm_float64",
        "near": 1e9,
    },
}
"""How the parts of a function are called."""


@pytest.mark.parametrize("type_", FLOATS)
def test_parts_of_the_exponential(type_: str) -> None:
    names = PRECISIONS[type_]
    x = np.linspace(-60, 60, 1001).astype(type_)
    n = np.arange(names["lowest"], 2 - names["lowest"]).astype(names["integer"])
    part = "y" if type_ == "float32" else "q * r * r + r"
    body = f"""for i in range({n.size}):
    powers[i] = {names["power"]}(m[i])
for i in range(1001):
    n, {names["fraction"]} = {names["exponential"]}(x[i])
    wholes[i] = {names["count"]}
    parts[i] = {part}"""
    integer = names["integer"]
    text = kernel(
        body,
        f"x: {type_}, 1001",
        f"m: {integer}, {n.size}",
        f"powers: {type_}, {n.size}",
        f"wholes: {integer}, 1001",
        f"parts: {type_}, 1001",
    )
    results = run_both(
        text,
        x,
        n,
        np.zeros(n.size, type_),
        np.zeros(1001, integer),
        np.zeros(1001, type_),
        library=NUMBERS,
    )
    for _, _, powers, wholes, parts in results:
        assert_same(powers, np.exp2(n.astype("f8")).astype(type_))
        exact = np.exp(x.astype(np.longdouble) - wholes * np.log(np.longdouble(2)))
        np.testing.assert_allclose(
            1 + parts.astype(np.longdouble), exact, rtol=names["tolerance"], atol=0
        )
        assert np.abs(parts).max() < 0.42
    assert_same(results[0][3], results[1][3])


@pytest.mark.parametrize("type_", FLOATS)
def test_parts_of_the_logarithm(type_: str) -> None:
    names = PRECISIONS[type_]
    x = np.exp(np.random.default_rng(0).uniform(-80, 80, 500)).astype(type_)
    body = f"""for i in range(500):
    n, f, rest = {names["logarithm"]}(x[i])
    parts[i, 0], parts[i, 1], parts[i, 2] = n, f, rest"""
    text = kernel(body, f"x: {type_}, 500", f"parts: {type_}, 500, 3")
    for _, parts in run_both(text, x, np.zeros((500, 3), type_), library=NUMBERS):
        n, f, rest = parts.T.astype(np.longdouble)
        assert_same(np.ldexp(1 + f, n.astype(int)).astype(type_), x)
        assert np.all(n == np.rint(n)) and f.min() > -0.293 and f.max() < 0.4143
        np.testing.assert_allclose(f + rest, np.log1p(f), rtol=names["tolerance"], atol=0)


@pytest.mark.parametrize("type_", FLOATS)
def test_parts_of_sine_and_cosine(type_: str) -> None:
    """Also next to zeros of both, where hardly a digit of the argument is left."""
    names, integer = PRECISIONS[type_], PRECISIONS[type_]["integer"]
    generator = np.random.default_rng(0)
    zeros = np.rint(generator.uniform(0, names["near"], 300)) / 1.6 * (np.pi / 2)
    x = np.concatenate([generator.uniform(-1, 1, 300) * names["near"], zeros]).astype(type_)
    body = f"""for i in range(600):
    k, r = quadrant_{type_}(x[i])
    ks[i], rs[i] = k & 3, r
    y[i, 0] = sine_{type_}(k, r)
    y[i, 1], y[i, 2] = near_sin_{type_}(x[i]), near_cos_{type_}(x[i])"""
    text = kernel(
        body, f"x: {type_}, 600", f"ks: {integer}, 600", f"rs: {type_}, 600", f"y: {type_}, 600, 3"
    )
    exact = np.sin(x.astype(np.longdouble)), np.cos(x.astype(np.longdouble))
    for _, k, r, y in run_both(
        text,
        x,
        np.zeros(600, integer),
        np.zeros(600, type_),
        np.zeros((600, 3), type_),
        library=NUMBERS,
    ):
        assert np.abs(r).max() < 0.8 and set(k) == {0, 1, 2, 3}
        assert_same(y[:, 0], y[:, 1])
        for found, wanted in zip(y.T[1:], exact, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=names["tolerance"], atol=0)


@pytest.mark.parametrize("type_", FLOATS)
def test_signs_and_ends(type_: str) -> None:
    x = np.array([0.0, -0.0, 2, -3, np.inf, -np.inf, np.nan, 1e-40], type_)
    body = f"""for i in range(8):
    y[i, 0] = with_sign_{type_}({type_}(0.5), x[i])
    y[i, 1] = ends_of_log_{type_}(x[i], {type_}(0.5))"""
    text = kernel(body, f"x: {type_}, 8", f"y: {type_}, 8, 2")
    for _, y in run_both(text, x, np.zeros((8, 2), type_), library=NUMBERS):
        assert_same(y[:, 0][:6], np.copysign(0.5, x[:6]).astype(type_))
        nan, inf = np.nan, np.inf
        assert_same(y[:, 1], np.array([-inf, -inf, 0.5, nan, inf, nan, nan, 0.5], type_))


def exact_erf(x: np.ndarray) -> np.ndarray:
    """2/√π e^(-x²) Σ 2ⁿ x^(2n+1) / (1 · 3 · … · (2n+1)), a sum of positive numbers."""
    size = np.minimum(np.abs(x), 6.5)
    term = total = size
    for n in range(1, 160):
        term = term * (2 * size * size) / (2 * n + 1)
        total = total + term
    return np.copysign(total * np.exp(-size * size) / np.sqrt(np.arctan(x.dtype.type(1))), x)


WHOLE_RANGE: dict[str, tuple[Callable[..., Any], float]] = {
    "exp": (np.exp, 2),
    "expm1": (np.expm1, 2),
    "tanh": (np.tanh, 3),
    "log": (np.log, 1),
    "log1p": (np.log1p, 2),
    "erf": (exact_erf, 2),
    "sin": (np.sin, 2),
    "cos": (np.cos, 2),
    "softplus": (lambda x: np.logaddexp(x.dtype.type(0), x), 2.5),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 2),
}
"""What a function is, of numbers with more digits, and how many units it may be off."""


def floats(dtype: str) -> np.ndarray:
    """Among all bit patterns: denormals, both infinities and NaN of either sign."""
    if dtype == "float32":
        patterns = np.arange(0, 1 << 32, 9973, dtype=np.uint64).astype("u4").view("f4")
    else:
        patterns = np.random.default_rng(0).integers(0, 1 << 64, 200_000, np.uint64).view("f8")
    edges = [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        1,
        -1,
        3.95,
        5.95,
        88.7,
        -104,
        709.7827,
        709.783,
        -745.13,
        -745.14,
        -708.5,
        5e-324,
        -5e-324,
        1e-310,
        -1e-310,
        1e5,
        1.1e9,
    ]
    generator = np.random.default_rng(1)
    usual = generator.standard_normal(30_000) * 10.0 ** generator.uniform(-9, 3, 30_000)
    next_to_one = 1 - generator.choice([-1, 1], 9000) * 10.0 ** generator.uniform(-16, 0, 9000)
    parts = [np.linspace(-3, 3, 20_001), edges, usual, next_to_one, -next_to_one]
    with np.errstate(over="ignore"):
        return np.concatenate([patterns, *(np.asarray(part).astype(dtype) for part in parts)])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", WHOLE_RANGE)
def test_functions_over_the_whole_range(name: str, dtype: str) -> None:
    exact, units = WHOLE_RANGE[name]
    more = np.float64 if dtype == "float32" else LONG
    x = floats(dtype)
    compiled = compile(gg.Graph({"y": getattr(gg, name)(gg.input("x", ("n",), dtype))}), fuse=True)
    got = compiled(x=x)["y"]
    assert compiled.program(n=x.size).kernels
    tiny = np.finfo(dtype).tiny
    read = np.where(np.abs(x) < tiny, np.copysign(0, x), x)  # as a kernel reads them
    with np.errstate(all="ignore"):
        expected = exact(read.astype(more))
        rounded = expected.astype(dtype)
        finite = np.isfinite(rounded)
        wrong = np.abs(got[finite] - expected[finite]) / np.spacing(np.abs(rounded[finite]))
    if np.finfo(more).nmant == np.finfo(dtype).nmant:
        units += 1  # no number here has more digits
    normal = np.abs(rounded[finite]) > tiny
    assert wrong[normal].max() < units
    assert np.abs(got[finite][~normal]).max(initial=0) <= tiny  # a denormal result is flushed
    np.testing.assert_array_equal(got[~finite], rounded[~finite])
    zero = rounded == 0
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(rounded[zero]))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", [*WHOLE_RANGE, "sigmoid", "silu", "gelu", "gelu_tanh"])
def test_a_number_has_one_result_wherever_it_stands(name: str, dtype: str) -> None:
    """In a vector or in the rest of a row, in rows of one number, among others."""
    x = floats(dtype)[::97]
    if name in ("sin", "cos"):  # rows without a far number are computed by another loop
        x = x[np.abs(x) < 1e5]
    x = x[: x.size // 143 * 143]
    results = []
    for shape in [(x.size,), (x.size, 1), (x.size // 11, 11), (11, x.size // 11), (13, -1)]:
        given = x.reshape(shape)
        y = getattr(gg, name)(gg.input("x", given.shape, dtype))
        results.append(compile(gg.Graph({"y": y}), fuse=True)(x=given)["y"].reshape(-1))
    for other in results[1:]:
        assert_same(results[0], other)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("far", [3e9, -1e30, np.inf, np.nan])
def test_a_far_argument_changes_nothing_beside_it(far: float, dtype: str) -> None:
    """Also where the argument of a sine is computed in the loop, and where it is a sine itself."""
    x = gg.input("x", (6, 100), dtype)
    outputs = {
        "y": gg.sin(x * 3.0) + gg.cos(x),
        "z": gg.cos(gg.sin(x) * 7.0) * gg.sin(x),
        "rows": gg.sum(gg.sin(x), 1),
        "most": gg.max(gg.cos(x * 2.0), 1),
    }
    compiled = compile(gg.Graph(outputs), fuse=True)
    near = np.random.default_rng(0).standard_normal((6, 100)).astype(dtype) * 1000
    with_far = near.copy()
    with_far[[1, 4], [0, 99]] = far
    given, other = compiled(x=near), compiled(x=with_far)
    plain = compile(gg.Graph(outputs))(x=with_far)
    rows = [0, 2, 3, 5]
    for name in outputs:
        assert_same(given[name][rows], other[name][rows])
        np.testing.assert_allclose(other[name], plain[name], rtol=1e-5, atol=1e-4)
    for name in ("y", "z"):
        assert_same(given[name][1, 1:], other[name][1, 1:])
        assert_same(given[name][4, :-1], other[name][4, :-1])
    assert "near_sin" in "".join(compiled.program().kernels.values())


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_power_is_left_to_numpy(dtype: str) -> None:
    """Zeros, infinities and negative bases are its affair; what is around it is a kernel."""
    numbers = [0.0, -0.0, 1, -1, 2, -2.5, 0.5, 3, -3, np.inf, -np.inf, np.nan, 1e-40, -1e30]
    bases, exponents = np.meshgrid(np.array(numbers, dtype), np.array(numbers, dtype))
    x, e = (gg.input(name, bases.shape, dtype) for name in "xe")
    y = gg.power(x * 1.0 + 0.0, e) * 2.0
    compiled = compile(gg.Graph({"y": y, "p": gg.power(x, e)}), fuse=True)
    with np.errstate(all="ignore"):
        got, wanted = compiled(x=bases, e=exponents), np.power(bases, exponents)
    assert_same(got["p"], wanted)
    assert "pow(" not in "".join(compiled.program().kernels.values())


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_power_that_is_taken_once_a_row_stays_in_the_kernel(dtype: str) -> None:
    x = gg.input("x", (6, 50), dtype)
    y = x * (gg.sum(x * x, 1, keepdims=True) + 1.0) ** -1.25
    compiled = compile(gg.Graph({"y": y}), fuse=True)
    given = np.random.default_rng(0).standard_normal((6, 50)).astype(dtype)
    wanted = given * (np.sum(given * given, 1, keepdims=True) + 1) ** -1.25
    np.testing.assert_allclose(compiled(x=given)["y"], wanted, rtol=2e-6)
    assert "pow(" in "".join(compiled.program().kernels.values())
    assert len(compiled.program().kernels) == 1
