"""Kernel expressions as CUDA C: every word of the loop language, every type, the edges of
numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from cpu_device import Bound, Device, needs_compiler
from device_programs import device_of
from loop_texts import assert_same
from planned import plan_of

import graphgrad as gg
from graphgrad import Graph, Node, Operation
from graphgrad.backends.cupy.backend import lower
from graphgrad.backends.cupy.expressions import FUNCTIONS, Typed, cast, number, translate
from graphgrad.backends.cupy.launches import Computed
from graphgrad.errors import GraphgradError
from graphgrad.loops import language, operations
from graphgrad.loops.library import mathematics
from graphgrad.loops.llvm_text import LoopError
from graphgrad.ops import ALL_OPERATIONS
from graphgrad.ops.evaluate import evaluate

DTYPES = ("float32", "float64", "int32", "int64", "bool")
ELEMENTWISE = [operation for operation in ALL_OPERATIONS if operation.kernel]
ROUNDED = {
    *("exp", "expm1", "log", "log1p", "power", "sin", "cos", "erf", "tanh", "sigmoid"),
    *("softplus", "gelu", "gelu_tanh", "silu"),
}
"""What is computed by functions that are right to the last digits only."""


def edges(dtype: str) -> np.ndarray:
    """Numbers at which operations are easily wrong."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return np.array([False, True])
    if kind.kind == "i":
        limits = np.iinfo(kind)
        return np.array([limits.min, limits.min + 1, -7, -1, 0, 1, 2, 3, limits.max], kind)
    limits = np.finfo(kind)
    positive = [0.0, limits.smallest_subnormal, limits.tiny, 1e-3, 0.5, 1.0, 2.5, 1e5, 2.0**31]
    positive += [2.0**63, limits.max, np.inf]
    return np.array([*positive, *(-x for x in positive), np.nan], kind)


def at_edges(operation: Operation, dtypes: tuple[str, ...]) -> tuple[Graph, Any] | None:
    """The operation on all combinations of edges; None where its heads have other dtypes."""
    grid = np.meshgrid(*map(edges, dtypes), indexing="ij")
    feeds = {f"x{place}": its.reshape(-1) for place, its in enumerate(grid)}
    heads = [gg.input(name, its.shape, its.dtype) for name, its in feeds.items()]
    attributes = operation.samples[0].attributes
    try:
        return Graph({"y": operation.node(*heads, **attributes)}), feeds
    except GraphgradError:
        return None


def cases() -> dict[str, tuple[Graph, Any]]:
    """All elementwise operations with all dtypes that they take, and all conversions."""
    found = {}
    for operation in ELEMENTWISE:
        arity = len(operation.samples[0].heads)
        for dtypes in itertools.product(DTYPES, repeat=arity):
            case = at_edges(operation, dtypes)
            if case is not None and operation.name != "cast":
                found[f"{operation.name}-{'-'.join(dtypes)}"] = case
    for old, new in itertools.permutations(DTYPES, 2):
        x = gg.input("x", edges(old).shape, old)
        found[f"cast-{old}-{new}"] = Graph({"y": gg.cast(x, new)}), {"x": edges(old)}
    return found


CASES = cases()


@pytest.fixture(scope="module")
def bound() -> Mapping[str, Bound]:
    programs = {name: lower(plan_of(graph)) for name, (graph, _) in CASES.items()}
    device = device_of(programs.values())
    return {name: Bound(program, device) for name, program in programs.items()}


@needs_compiler
@pytest.mark.parametrize("name", CASES)
def test_an_operation_gives_what_numpy_gives_at_the_edges(bound, name):
    graph, feeds = CASES[name]
    assert not any(isinstance(action, Computed) for action in bound[name].program.actions)
    found, wanted = bound[name].run(feeds)["y"], evaluate(graph, feeds)[graph["y"]]
    if name.split("-")[0] not in ROUNDED:
        if name.startswith("sign-float"):
            found = found + np.zeros(1, found.dtype)  # in a kernel, the sign of -0 is -0
        assert_same(found, wanted, name)
        return
    tolerance = 2e-6 if found.dtype == np.float32 else 1e-14
    if name.startswith("gelu_tanh"):  # 1 + tanh loses digits where tanh is near -1
        tolerance *= 5
    smallest = float(np.finfo(found.dtype).tiny)
    np.testing.assert_allclose(found, wanted, tolerance, smallest)


def test_every_elementwise_operation_is_among_the_cases():
    assert {name.split("-")[0] for name in CASES} == {each.name for each in ELEMENTWISE}


def test_every_function_of_the_loop_language_has_its_word():
    """And nothing else has one."""
    library = {
        name
        for name in mathematics.__all__
        if name.removesuffix("_float32").removesuffix("_float64") not in operations.FUNCTIONS
    }
    assert {*operations.FUNCTIONS, *library, "where", "bits"} == FUNCTIONS


NAMES = {"x": "float64", "y": "float64", "k": "int64", "j": "int64", "n": "int32", "t": "bool"}
CODES: Mapping[str, str] = {
    "float64": "double",
    "float32": "float",
    "int64": "long long",
    "int32": "int",
    "bool": "bool",
}


class RandomExpression:
    """Expressions of every type over the names: equal seeds give equal texts."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def one_of(self, *choices: str) -> str:
        return choices[int(self.random.integers(len(choices)))]

    def real(self, depth: int) -> str:
        if not depth:
            return self.one_of("x", "y", "float64(0.5)", "float64(-3)", "float64(1e300)")
        a, b = self.real(depth - 1), self.real(depth - 1)
        return self.one_of(
            *(f"({a} {sign} {b})" for sign in "+-*/"),
            *(f"{name}({a}, {b})" for name in ("max", "min", "plus", "larger", "smaller")),
            *(f"{name}({a})" for name in ("abs", "floor", "sign", "-")),
            f"sqrt(abs({a}))",
            f"fma({a}, {b}, {self.real(0)})",
            f"where({self.truth(depth - 1)}, {a}, {b})",
            f"({a} if {self.truth(depth - 1)} else {b})",
            f"float64({self.whole(depth - 1)})",
            f"float64(float32({a}))",
            f"bits({self.whole(depth - 1)}, float64)",
        )

    def whole(self, depth: int) -> str:
        if not depth:
            return self.one_of("k", "j", f"int64({self.random.integers(-9, 9)})", "int64(n)")
        a, b, small = self.whole(depth - 1), self.whole(depth - 1), self.random.integers(1, 9)
        return self.one_of(
            *(f"({a} {sign} {b})" for sign in ("+", "-", "*", "&", "|", "^")),
            *(f"({a} {sign} int64({small}))" for sign in ("//", "%", "<<", ">>")),
            *(f"{name}({a}, {b})" for name in ("max", "min")),
            f"(-{a})",
            f"~{a}",
            f"whole_int64({self.real(depth - 1)})",
            f"int64(whole_int32({self.real(depth - 1)}))",
            f"int64({self.truth(depth - 1)})",
            f"bits({self.real(depth - 1)}, int64)",
            f"int64(int32({a}))",
            f"int64(n * int32({b}))",
        )

    def truth(self, depth: int) -> str:
        if not depth:
            return "t"
        relation = self.one_of("<", "<=", ">", ">=", "==", "!=")
        kind = self.one_of("real", "whole")
        a, b = (getattr(self, kind)(depth - 1) for _ in range(2))
        other = self.truth(depth - 1)
        return self.one_of(
            f"({a} {relation} {b})",
            f"({other} & ({a} {relation} {b}))",
            f"(not {other})",
            f"({other} and ({a} {relation} {b}))",
            f"({other} or t)",
            f"isfinite({self.real(depth - 1)})",
        )


def random_expressions() -> list[tuple[str, str]]:
    """Texts, and the dtypes of what they are worth."""
    found = []
    for seed in range(90):
        kind = ("float64", "int64", "bool")[seed % 3]
        maker = RandomExpression(seed)
        make: Callable[[int], str] = {
            "float64": maker.real,
            "int64": maker.whole,
            "bool": maker.truth,
        }[kind]
        found.append((make(3), kind))
    return found


def values_of_names() -> dict[str, np.ndarray]:
    generator, count = np.random.default_rng(3), 64
    drawn = {
        name: generator.choice(edges(dtype), count)
        if dtype != "bool"
        else generator.random(count) < 0.5
        for name, dtype in NAMES.items()
    }
    drawn["x"][::2] = generator.normal(size=count // 2)
    drawn["k"][::2] = generator.integers(-1000, 1000, count // 2)
    return drawn


@needs_compiler
def test_random_expressions_mean_what_python_says_they_mean():
    expressions = random_expressions()
    kernels = {}
    names = {name: Typed(dtype, f"{name}[i]") for name, dtype in NAMES.items()}
    parameters = ", ".join(f"const {CODES[dtype]}* {name}" for name, dtype in NAMES.items())
    for place, (text, dtype) in enumerate(expressions):
        result = translate(text, names, dtype)
        assert result.dtype == dtype, text
        kernels[f"kernel_{place}"] = (
            f"__global__ void kernel_{place}({parameters}, {CODES[dtype]}* out) {{\n"
            f"    const int i = threadIdx.x;\n    out[i] = {result.text};\n}}"
        )
    device, drawn = Device(kernels), values_of_names()
    words = [its.ctypes.data for its in drawn.values()]
    namespace: dict[str, Any] = {
        **vars(language),
        "max": language.maximum,
        "min": language.minimum,
        "sign": mathematics.sign,
        "bits": lambda x, dtype: np.asarray(x).view(dtype)[()],
    }
    for place, (text, dtype) in enumerate(expressions):
        found = np.zeros(64, dtype)
        device.launch(f"kernel_{place}", 1, 64, [*words, found.ctypes.data], seed=place)
        code = compile(text, text, "eval")
        with np.errstate(all="ignore"):
            wanted = [
                eval(code, namespace, {name: its[i] for name, its in drawn.items()})
                for i in range(64)
            ]
        assert_same(found, np.array(wanted, dtype), text)


REFUSED = {
    "x + k": "different types",
    "x // y": "is not for float64",
    "t + t": "is not for bool",
    "n // n": "is not for int32",
    "exp(k)": "exp is not for int64",
    "whole_int32(k)": "is not for int64",
    "wholly(x)": "no function 'wholly'",
    "x if k else y": "bool_ is wanted, not int64",
    "x < y < x": "not in the language",
    "x[0]": "not in the language",
    "x ** y": "'**' is not for float64",
    "not x": "not for float64",
    "~x": "not for float64",
    "-t": "not for bool",
    "bits(n, float64)": "differ in size",
    "k + 0.5": "int64 is wanted, not 0.5",
    "n + 3000000000": "does not fit into int32",
    "z": "not in the language",
    "x +": "not in the language",
    "lambda: x": "not in the language",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_in_the_language_is_refused(text):
    names = {name: Typed(dtype, name) for name, dtype in NAMES.items()}
    with pytest.raises(LoopError, match=REFUSED[text].replace("*", r"\*")):
        translate(text, names, "float64")


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (0.1, "float32", "0.1f"),
        (0.1, "float64", "0.1"),
        (1, "float32", "1.0f"),
        ("-inf", "float32", "-infinity(0.0f)"),
        ("nan", "float64", "(0.0 * infinity(0.0))"),
        (1e300, "float32", "infinity(0.0f)"),
        (-(2**31), "int32", "(-2147483647 - 1)"),
        (2**40, "int64", "1099511627776LL"),
        ("True", "bool", "true"),
        (-0.0, "float32", "-0.0f"),
    ],
)
def test_numbers_are_written_exactly(value, dtype, text):
    assert number(value, dtype) == text


def test_a_conversion_to_the_same_type_is_none():
    assert cast(Typed("float32", "x"), "float32") == Typed("float32", "x")


@needs_compiler
def test_an_operation_of_a_users_own(tmp_path):
    def compute(xp: Any, out: Any, x: Any) -> None:
        xp.divide(x, 1 + xp.absolute(x), out=out)

    softsign = gg.elementwise(
        "softsign", "x / (1 + |x|)", "{0} / (1 + abs({0}))", compute=compute, delta=None
    )
    x: Node = gg.input("x", (3, 5))
    graph = Graph({"y": softsign(x)})
    feeds = {"x": np.linspace(-2, 2, 15, dtype="float32").reshape(3, 5)}
    found = Bound(lower(plan_of(graph))).run(feeds)["y"]
    assert_same(found, evaluate(graph, feeds)[graph["y"]])
