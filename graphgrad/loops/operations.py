"""Translates the operations of the loop language on numbers to LLVM instructions.

Each function adds instructions to a `Builder` and returns their result. Floating-point numbers are
rounded as NumPy rounds them. Only the steps of a sum, a maximum or a minimum (`plus`, `larger`,
`smaller`) may be reordered, so that they vectorise, and whatever the flags of a function allow.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping, Sequence

from graphgrad.loops.halves import narrowed, widened
from graphgrad.loops.llvm_text import (
    BYTES,
    FLOATS,
    HALVES,
    LLVM_TYPES,
    SCALAR_TYPES,
    Builder,
    Literal,
    LoopError,
    Scalar,
)

_REORDERED = "reassoc nsz"
"""Fast-math flags: a sum may be taken in any order; NaN and infinity keep their meaning."""


def to_memory(builder: Builder, value: Scalar) -> str:
    """The number with its type, as it is stored in an array: a boolean takes a byte."""
    if value.type == "bool_":
        return f"i8 {builder.assign(f'zext i1 {value.text} to i8')}"
    return f"{SCALAR_TYPES[value.type]} {value.text}"


def from_memory(builder: Builder, value: Scalar) -> Scalar:
    """The number as it is computed with, from its form in an array."""
    if value.type == "bool_":
        return Scalar("bool_", builder.assign(f"icmp ne i8 {value.text}, 0"))
    return value


def binary(builder: Builder, sign: str, a: Scalar, b: Scalar) -> Scalar:
    """A binary operation on two numbers of one type."""
    if a.type in FLOATS:
        names = {"+": "fadd", "-": "fsub", "*": "fmul", "/": "fdiv"}
        flags = " ".join(builder.flags)
    else:
        names = {"&": "and", "|": "or", "^": "xor"}
        if a.type != "bool_":
            names |= {
                "+": "add",
                "-": "sub",
                "*": "mul",
                "<<": "shl",
                ">>": "lshr" if a.type.startswith("u") else "ashr",
            }
        if a.type.startswith("u"):
            names |= {"//": "udiv", "%": "urem"}
        flags = ""
    if a.type == "int64" and sign in ("//", "%"):
        return _floor_division(builder, sign, a, b)
    if sign not in names:
        raise LoopError(f"{sign!r} is not defined for {a.type}")
    return Scalar(
        a.type, builder.assign(f"{names[sign]} {flags} {LLVM_TYPES[a.type]} {a.text}, {b.text}")
    )


def _floor_division(builder: Builder, sign: str, a: Scalar, b: Scalar) -> Scalar:
    """Python's `//` and `%`, which round towards -∞."""
    quotient = builder.assign(f"sdiv i64 {a.text}, {b.text}")
    rest = builder.assign(f"srem i64 {a.text}, {b.text}")
    other = builder.assign(f"xor i64 {rest}, {b.text}")
    signs = builder.assign(f"icmp slt i64 {other}, 0")
    inexact = builder.assign(f"icmp ne i64 {rest}, 0")
    lower = builder.assign(f"and i1 {signs}, {inexact}")
    if sign == "//":
        one = builder.assign(f"zext i1 {lower} to i64")
        return Scalar("int64", builder.assign(f"sub i64 {quotient}, {one}"))
    raised = builder.assign(f"add i64 {rest}, {b.text}")
    return Scalar("int64", builder.assign(f"select i1 {lower}, i64 {raised}, i64 {rest}"))


def negative(builder: Builder, a: Scalar) -> Scalar:
    """-a of a float, where 0 - a would lose the sign of zero."""
    return Scalar(a.type, builder.assign(f"fneg {LLVM_TYPES[a.type]} {a.text}"))


def negation(builder: Builder, a: Scalar) -> Scalar:
    """`not a`."""
    return Scalar("bool_", builder.assign(f"xor i1 {a.text}, true"))


def compare(builder: Builder, sign: str, a: Scalar, b: Scalar) -> Scalar:
    """A comparison; if an operand is NaN, only != is true."""
    words = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}
    word, kind = words[sign], LLVM_TYPES[a.type]
    if a.type in FLOATS:
        word = f"{'u' if sign == '!=' else 'o'}{word}"
        return Scalar("bool_", builder.assign(f"fcmp {word} {kind} {a.text}, {b.text}"))
    if sign not in ("==", "!="):
        word = f"{'u' if a.type[0] in 'ub' else 's'}{word}"
    return Scalar("bool_", builder.assign(f"icmp {word} {kind} {a.text}, {b.text}"))


def where(builder: Builder, condition: Scalar, a: Scalar, b: Scalar) -> Scalar:
    """a if the condition is true, else b, without a branch."""
    kind = LLVM_TYPES[a.type]
    chosen = builder.assign(f"select i1 {condition.text}, {kind} {a.text}, {kind} {b.text}")
    return Scalar(a.type, chosen)


def cast(builder: Builder, a: Scalar, type_: str) -> Scalar:
    """Converts the number to another type, as NumPy does."""
    if a.type == type_:
        return a
    if a.type in HALVES:
        return cast(builder, widened(builder, a), type_)
    if type_ in HALVES:
        return narrowed(builder, cast(builder, a, "float32"), type_)
    if type_ == "bool_":
        return compare(builder, "!=", a, Literal(0).typed(a.type))
    word = _conversion(a.type, type_)
    if not word:
        return Scalar(type_, a.text)
    kinds = LLVM_TYPES[a.type], LLVM_TYPES[type_]
    return Scalar(type_, builder.assign(f"{word} {kinds[0]} {a.text} to {kinds[1]}"))


def _conversion(old: str, new: str) -> str:
    """The instruction that converts a number; "" if the bits stay the same."""
    unsigned = old[0] in "ub"
    if old in FLOATS and new in FLOATS:
        return "fpext" if new == "float64" else "fptrunc"
    if old in FLOATS:
        return "fptoui" if new.startswith("u") else "fptosi"
    if new in FLOATS:
        return "uitofp" if unsigned else "sitofp"
    if BYTES[old] == BYTES[new]:
        return ""
    if BYTES[old] > BYTES[new]:
        return "trunc"
    return "zext" if unsigned else "sext"


def bits(builder: Builder, a: Scalar, type_: str) -> Scalar:
    """Reinterprets the bits of a number as another type of the same size."""
    if BYTES[a.type] != BYTES[type_]:
        raise LoopError(f"{a.type} and {type_} differ in size")
    kinds = LLVM_TYPES[a.type], LLVM_TYPES[type_]
    if kinds[0] == kinds[1]:
        return Scalar(type_, a.text)
    return Scalar(type_, builder.assign(f"bitcast {kinds[0]} {a.text} to {kinds[1]}"))


def call_address(builder: Builder, words: Sequence[Scalar], returns: bool) -> Scalar | None:
    """Calls the function at the address `words[0]` with 64-bit arguments.

    With `returns` it is a function of the C library that returns an int. It may take fewer
    arguments than it is passed: the others are in registers that it does not read.
    """
    pointer = builder.assign(f"inttoptr i64 {words[0].text} to ptr")
    given = ", ".join(f"i64 {word.text}" for word in words[1:])
    if not returns:
        builder.add(f"call void {pointer}({given})")
        return None
    result = builder.assign(f"call i32 {pointer}({given})")
    return Scalar("int64", builder.assign(f"sext i32 {result} to i64"))


def fetch_add(builder: Builder, address: Scalar, amount: Scalar) -> Scalar:
    """Adds to a number that threads share, at once; returns the old one."""
    pointer = builder.assign(f"inttoptr i64 {address.text} to ptr")
    old = builder.assign(f"atomicrmw add ptr {pointer}, i64 {amount.text} seq_cst")
    return Scalar("int64", old)


def exchange_if(builder: Builder, address: Scalar, expected: Scalar, new: Scalar) -> Scalar:
    """Stores a number that threads share if the old one is as expected; returns the old one."""
    pointer = builder.assign(f"inttoptr i64 {address.text} to ptr")
    given = f"ptr {pointer}, i64 {expected.text}, i64 {new.text}"
    pair = builder.assign(f"cmpxchg {given} seq_cst seq_cst")
    return Scalar("int64", builder.assign(f"extractvalue {{i64, i1}} {pair}, 0"))


def shared_load(builder: Builder, address: Scalar) -> Scalar:
    """Reads a number that threads share, and what was written before it."""
    pointer = builder.assign(f"inttoptr i64 {address.text} to ptr")
    return Scalar("int64", builder.assign(f"load atomic i64, ptr {pointer} acquire, align 8"))


def shared_store(builder: Builder, address: Scalar, value: Scalar) -> None:
    """Writes a number that threads share, after all that was written before it."""
    pointer = builder.assign(f"inttoptr i64 {address.text} to ptr")
    builder.add(f"store atomic i64 {value.text}, ptr {pointer} release, align 8")


def pause(builder: Builder) -> None:
    """Waits for some cycles in a loop that waits for another thread."""
    if platform.machine().lower() in ("x86_64", "amd64", "i386", "i686"):
        builder.declare("declare void @llvm.x86.sse2.pause()")
        builder.add("call void @llvm.x86.sse2.pause()")


SHARED: Mapping[str, Callable[..., Scalar | None]] = {
    "fetch_add": fetch_add,
    "exchange_if": exchange_if,
    "shared_load": shared_load,
    "shared_store": shared_store,
    "pause": pause,
}
"""What threads do with numbers that they share: int64, by their addresses."""


def _extreme(sign: str) -> Callable[[Builder, Scalar, Scalar], Scalar]:
    """NumPy's maximum or minimum: NaN if either operand is."""

    def chosen(builder: Builder, a: Scalar, b: Scalar) -> Scalar:
        first = compare(builder, sign, a, b)
        if a.type in FLOATS:
            nan = Scalar(
                "bool_", builder.assign(f"fcmp uno {LLVM_TYPES[a.type]} {a.text}, {a.text}")
            )
            first = binary(builder, "|", first, nan)
        return where(builder, first, a, b)

    return chosen


def _extreme_of_row(name: str) -> Callable[[Builder, Scalar, Scalar], Scalar]:
    """A step of a maximum or minimum along a row: NaN if an element is, in any order."""

    def chosen(builder: Builder, a: Scalar, b: Scalar) -> Scalar:
        if a.type not in FLOATS:
            return _extreme(">" if name == "maximum" else "<")(builder, a, b)
        return builder.intrinsic(name, a, b, flags="nsz")

    return chosen


def _plus(builder: Builder, a: Scalar, b: Scalar) -> Scalar:
    """A step of a sum, in any order."""
    if a.type not in FLOATS:
        return binary(builder, "+", a, b)
    return Scalar(
        a.type, builder.assign(f"fadd {_REORDERED} {LLVM_TYPES[a.type]} {a.text}, {b.text}")
    )


def _absolute(builder: Builder, a: Scalar) -> Scalar:
    if a.type in FLOATS:
        return builder.intrinsic("fabs", a)
    return where(
        builder,
        compare(builder, "<", a, Literal(0).typed(a.type)),
        binary(builder, "-", Literal(0).typed(a.type), a),
        a,
    )


def _is_finite(builder: Builder, a: Scalar) -> Scalar:
    if a.type not in FLOATS:
        return Literal(1).typed("bool_")
    size = builder.intrinsic("fabs", a)
    return compare(builder, "<", size, Literal(math.inf).typed(a.type))


def _intrinsic(name: str) -> Callable[..., Scalar]:
    return lambda builder, *operands: builder.intrinsic(name, *operands)


def _library(name: str) -> Callable[..., Scalar]:
    """A function of the C library, whose float32 version has an f at the end."""
    return lambda builder, a: builder.call(f"{name}f" if a.type == "float32" else name, a)


def _whole(type_: str) -> Callable[..., Scalar]:
    """Rounds a float towards zero and clamps it to the integer type; NaN becomes 0.

    (LLVM leaves the result of a plain conversion undefined there.)
    """

    def converted(builder: Builder, a: Scalar) -> Scalar:
        if a.type not in FLOATS:
            raise LoopError(f"whole_{type_} is not defined for {a.type}")
        kind, given = LLVM_TYPES[type_], LLVM_TYPES[a.type]
        function = f"llvm.fptosi.sat.{kind}.{'f32' if a.type == 'float32' else 'f64'}"
        builder.declare(f"declare {kind} @{function}({given})")
        return Scalar(type_, builder.assign(f"call {kind} @{function}({given} {a.text})"))

    return converted


FUNCTIONS: Mapping[str, Callable[..., Scalar]] = {
    "plus": _plus,
    "larger": _extreme_of_row("maximum"),
    "smaller": _extreme_of_row("minimum"),
    "max": _extreme(">"),
    "min": _extreme("<"),
    "maximum": _extreme(">"),
    "minimum": _extreme("<"),
    "abs": _absolute,
    "isfinite": _is_finite,
    **{name: _intrinsic(name) for name in ("sqrt", "floor", "exp", "log", "sin", "cos", "pow")},
    **{f"whole_{name}": _whole(name) for name in ("int32", "int64")},
    **{name: _library(name) for name in ("tanh", "erf", "log1p", "expm1")},
    "fma": _intrinsic("fma"),
    "c_sin": _library("sin"),
    "c_cos": _library("cos"),
}
"""Functions on numbers of one type that a text may call."""
