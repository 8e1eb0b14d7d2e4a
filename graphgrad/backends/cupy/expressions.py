"""Kernel expressions of operations as CUDA C: the loop language's, typed as the language types
them.

An expression is one line of the loop language (graphgrad/loops/translate.py): arithmetic,
relations, choices and calls. Types are equal on both sides of an operator and nothing is converted
in silence; a number that is written in the text takes the type that the expression is read with.

C's own rules differ where Python's and NumPy's count: integers wrap around (in C that is
undefined), `//` and `%` round down, a maximum lets NaN through. `device.cuh` has functions for
these.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from graphgrad.loops.expressions import ARITHMETIC, RELATIONS
from graphgrad.loops.llvm_text import LoopError

C_TYPES: Mapping[str, str] = {
    "float32": "float",
    "float64": "double",
    "bfloat16": "bfloat16",
    "float16": "float16",
    "bool": "bool",
    "int32": "int",
    "int64": "long long",
    "uint32": "unsigned",
    "uint64": "unsigned long long",
}
FLOATS = ("float32", "float64")
HALVES = ("bfloat16", "float16")
"""Structures of device.cuh: loaded, cast to float32 and from it, and stored."""
_SIGNED = ("int32", "int64")
_UNSIGNED = ("uint32", "uint64")
_WRAPPING = {"+": "added", "-": "subtracted", "*": "multiplied", "<<": "shifted_left"}
"""Of signed integers; C leaves open what an overflow gives."""
_FLOORED = {"//": "floor_quotient", "%": "floor_rest"}
_OF_FLOATS: Mapping[str, str] = {
    **{
        name: name
        for name in (
            *("exp", "expm1", "log", "log1p", "sqrt", "pow", "sin", "cos", "tanh", "erf"),
            *("floor", "fma"),
        )
    },
    "c_sin": "sin",
    "c_cos": "cos",
    **{f"near_{name}_{dtype}": name for name in ("sin", "cos") for dtype in FLOATS},
}
"""Functions of C, whose names end in f for float32."""
_OF_ANY: Mapping[str, str] = {
    "plus": "added",
    "larger": "maximum",
    "smaller": "minimum",
    "max": "maximum",
    "min": "minimum",
    "maximum": "maximum",
    "minimum": "minimum",
    "abs": "absolute",
    "isfinite": "is_finite",
    "sign": "sign",
    "rsqrt": "reciprocal_root",
    "softplus": "softplus",
    "whole_int32": "whole_int32",
    "whole_int64": "whole_int64",
}
"""Functions of device.cuh, which tell types apart themselves."""
_ONLY_FLOATS = ("rsqrt", "softplus", "whole_int32", "whole_int64")
_RESULTS = {"isfinite": "bool", "whole_int32": "int32", "whole_int64": "int64"}
FUNCTIONS = frozenset({*_OF_FLOATS, *_OF_ANY, "where", "bits"})
"""What an expression may call."""


@dataclass(frozen=True)
class Typed:
    """A piece of C, and the dtype of what it is worth."""

    dtype: str
    text: str


def number(value: str | float, dtype: np.dtype | str) -> str:
    """A number as C writes it: exactly, whatever the dtype; infinity and NaN have no digits."""
    name = np.dtype(dtype).name
    if name in HALVES:
        return f"{name}_of({number(value, 'float32')})"
    if name == "bool":
        return "true" if value in (True, "True", 1, 1.0) else "false"
    if name not in FLOATS:
        whole = int(value)
        limits = np.iinfo(name)
        if whole != float(value) and not isinstance(value, str):
            raise LoopError(f"{name} is wanted, not {value}")
        if not limits.min <= whole <= limits.max:
            raise LoopError(f"{whole} does not fit into {name}")
        suffix = {"int32": "", "int64": "LL", "uint32": "u", "uint64": "ull"}[name]
        # the smallest integer is no literal in C
        return f"(-{limits.max}{suffix} - 1)" if 0 > whole == limits.min else f"{whole}{suffix}"
    with np.errstate(over="ignore"):
        rounded = np.dtype(name).type(float(value))
    suffix = "f" if name == "float32" else ""
    if math.isfinite(rounded):
        digits = str(rounded)
        return (digits if "." in digits or "e" in digits else f"{digits}.0") + suffix
    zero = f"0.0{suffix}"
    if math.isnan(rounded):
        return f"({zero} * infinity({zero}))"
    return f"{'-' if rounded < 0 else ''}infinity({zero})"


def translate(expression: str, names: Mapping[str, Typed], literal: np.dtype | str) -> Typed:
    """What an expression is in C. `names` are its operands; its numbers have the dtype `literal`.

    Raises `LoopError` where it is no expression of the loop language.
    """
    try:
        parsed = ast.parse(expression, mode="eval").body
    except SyntaxError as error:
        raise LoopError(f"not in the language: {expression} ({error.msg})") from None
    return _Expression(names, np.dtype(literal).name).value(parsed)


def cast(value: Typed, dtype: np.dtype | str) -> Typed:
    """The value as another dtype: to integers cut towards zero and held within them."""
    name = np.dtype(dtype).name
    if name == value.dtype:
        return value
    if value.dtype in HALVES:
        return cast(Typed("float32", f"as_float({value.text})"), name)
    if name in HALVES:
        return Typed(name, f"{name}_of({cast(value, 'float32').text})")
    if name == "bool":
        return Typed(name, f"({value.text} != {number(0, value.dtype)})")
    if value.dtype in FLOATS and name in _SIGNED:
        return Typed(name, f"whole_{name}({value.text})")
    return Typed(name, f"({C_TYPES[name]})({value.text})")


@dataclass(frozen=True)
class _Expression:
    names: Mapping[str, Typed]
    literal: str

    def value(self, part: ast.expr) -> Typed:
        match part:
            case ast.Constant(value=bool(value)):
                return Typed("bool", number(value, "bool"))
            case ast.Constant(value=int(value) | float(value)):
                return Typed(self.literal, number(value, self.literal))
            case ast.Name(id=name) if name in self.names:
                return self.names[name]
            case ast.Name(id="inf" | "nan" as name):
                return Typed(self.literal, number(name, self.literal))
            case ast.BinOp(left=left, op=operator, right=right):
                return _binary(ARITHMETIC.get(type(operator), "**"), *self._alike(left, right))
            case ast.UnaryOp(op=operator, operand=operand):
                return _unary(operator, self.value(operand))
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(name, arguments)
        return self._decision(part)

    def _decision(self, part: ast.expr) -> Typed:
        match part:
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                a, b = self._alike(left, right)
                if type(operator) in RELATIONS:
                    return Typed("bool", f"({a.text} {RELATIONS[type(operator)]} {b.text})")
            case ast.BoolOp(op=operator, values=values):
                sign = " && " if isinstance(operator, ast.And) else " || "
                return Typed("bool", f"({sign.join(self._condition(value) for value in values)})")
            case ast.IfExp(test=test, body=body, orelse=otherwise):
                return self._where(test, body, otherwise)
        raise LoopError(f"not in the language: {ast.unparse(part)}")

    def _call(self, name: str, arguments: list[ast.expr]) -> Typed:
        if name == "where" and len(arguments) == 3:
            return self._where(*arguments)
        dtype = {"bool_": "bool"}.get(name, name)
        if dtype in C_TYPES and len(arguments) == 1:
            if _is_number(arguments[0]):
                return _Expression(self.names, dtype).value(arguments[0])
            return self._converted(self.value(arguments[0]), dtype)
        if name == "bits" and len(arguments) == 2:
            return self._bits(*arguments)
        if name not in FUNCTIONS:
            raise LoopError(f"there is no function {name!r}")
        values = self._alike(*arguments)
        given, kind = ", ".join(value.text for value in values), values[0].dtype
        if kind not in FLOATS and (name in _OF_FLOATS or name in _ONLY_FLOATS):
            raise LoopError(f"{name} is not for {kind}")
        if name in _OF_FLOATS:
            return Typed(kind, f"{_OF_FLOATS[name]}{'f' if kind == 'float32' else ''}({given})")
        return Typed(_RESULTS.get(name, kind), f"{_OF_ANY[name]}({given})")

    def _bits(self, number: ast.expr, kind: ast.expr) -> Typed:
        """The bits of a number as another type."""
        value, dtype = self.value(number), kind.id if isinstance(kind, ast.Name) else ""
        if dtype not in C_TYPES or np.dtype(dtype).itemsize != np.dtype(value.dtype).itemsize:
            raise LoopError(f"{value.dtype} and {dtype} differ in size")
        return Typed(dtype, f"bits_as<{C_TYPES[dtype]}>({value.text})")

    def _converted(self, value: Typed, dtype: str) -> Typed:
        """A conversion that the text asks for; one to integers does not say what is too large."""
        if value.dtype in FLOATS and dtype not in (*FLOATS, *HALVES, "bool"):
            return Typed(dtype, f"({C_TYPES[dtype]})({value.text})")
        return cast(value, dtype)

    def _where(self, test: ast.expr, body: ast.expr, otherwise: ast.expr) -> Typed:
        a, b = self._alike(body, otherwise)
        return Typed(a.dtype, f"({self._condition(test)} ? {a.text} : {b.text})")

    def _condition(self, part: ast.expr) -> str:
        value = self.value(part)
        if value.dtype != "bool":
            raise LoopError(f"bool_ is wanted, not {value.dtype}")
        return value.text

    def _alike(self, *parts: ast.expr) -> list[Typed]:
        """Values of one dtype; a number takes that of the others."""
        values = {index: self.value(p) for index, p in enumerate(parts) if not _is_number(p)}
        dtypes = dict.fromkeys(value.dtype for value in values.values())
        if stored := [dtype for dtype in dtypes if dtype in HALVES]:
            raise LoopError(f"{stored[0]} is stored and cast, not computed with")
        if len(dtypes) > 1:
            raise LoopError(f"the operands have different types: {', '.join(dtypes)}")
        inner = _Expression(self.names, next(iter(dtypes), self.literal))
        return [values.get(index) or inner.value(part) for index, part in enumerate(parts)]


def _is_number(part: ast.expr) -> bool:
    if isinstance(part, ast.UnaryOp) and isinstance(part.op, ast.USub):
        return _is_number(part.operand)
    return isinstance(part, ast.Constant) and not isinstance(part.value, bool)


def _binary(sign: str, a: Typed, b: Typed) -> Typed:
    kind = a.dtype
    allowed = {"+", "-", "*", "/"} if kind in FLOATS else {"&", "|", "^"}
    if kind in (*_SIGNED, *_UNSIGNED):
        allowed |= {"+", "-", "*", "<<", ">>"}
    if kind in (*_UNSIGNED, "int64"):
        allowed |= {"//", "%"}
    if sign not in allowed:
        raise LoopError(f"{sign!r} is not for {kind}")
    if kind in _SIGNED and sign in (*_WRAPPING, *_FLOORED):
        return Typed(kind, f"{ {**_WRAPPING, **_FLOORED}[sign] }({a.text}, {b.text})")
    text = f"({a.text} {sign.replace('//', '/')} {b.text})"
    return Typed(kind, f"bool{text}" if kind == "bool" else text)


def _unary(operator: ast.unaryop, value: Typed) -> Typed:
    kind = value.dtype
    if kind in HALVES:
        raise LoopError(f"{kind} is stored and cast, not computed with")
    match operator:
        case ast.Not() if kind == "bool":
            return Typed(kind, f"!{value.text}")
        case ast.Invert() if kind not in FLOATS:
            return Typed(kind, f"!{value.text}" if kind == "bool" else f"(~{value.text})")
        case ast.USub() if kind in _SIGNED:
            return Typed(kind, f"subtracted({number(0, kind)}, {value.text})")
        case ast.USub() if kind != "bool":
            return Typed(kind, f"(-{value.text})")
    raise LoopError(f"an operator that is not for {kind}")
