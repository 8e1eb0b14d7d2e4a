"""What the loop language can do with numbers, as LLVM's instructions.

Each function writes instructions down and gives the number that they leave. Floating-point numbers
are rounded as NumPy rounds them: no operation may be reordered but the steps of a sum, a maximum
and a minimum (`plus`, `larger`, `smaller`), which vectorise so, and what a function's flags allow.
"""

from __future__ import annotations

import ast
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

LLVM_TYPES: Mapping[str, str] = {
    "float32": "float",
    "float64": "double",
    "bool_": "i1",
    "int32": "i32",
    "int64": "i64",
    "uint32": "i32",
    "uint64": "i64",
}
"""The types of scalars and what LLVM calls them."""
MEMORY_TYPES: Mapping[str, str] = {**LLVM_TYPES, "bool_": "i8"}
BYTES: Mapping[str, int] = {
    "float32": 4,
    "float64": 8,
    "bool_": 1,
    "int32": 4,
    "int64": 8,
    "uint32": 4,
    "uint64": 8,
}
_FLOATS = {"float32": "f32", "float64": "f64"}
_REORDERED = "reassoc nsz"
"""A sum may be taken in any order; NaN and infinity keep their meaning."""


class LoopError(Exception):
    """A text that is not in the loop language; an error of this package, not of its user."""

    def at(self, statement: ast.stmt) -> LoopError:
        """The error with the statement in which it was found, once."""
        if "\n" in str(self):
            return self
        first = ast.unparse(statement).splitlines()[0]
        return LoopError(f"{self}\n  in line {statement.lineno}: {first}")


@dataclass(frozen=True)
class Scalar:
    """A number that is computed: its type, and what LLVM's text calls it."""

    type: str
    text: str


@dataclass(frozen=True)
class Number:
    """A number that is written in the text and takes the type that is wanted."""

    value: int | float

    @property
    def usual_type(self) -> str:
        return "int64" if isinstance(self.value, int) else "float64"

    def of(self, type_: str) -> Scalar:
        if type_ in _FLOATS:
            return Scalar(type_, _float_text(float(self.value), type_))
        if type_ == "bool_":
            return Scalar(type_, "true" if self.value else "false")
        if isinstance(self.value, float):
            raise LoopError(f"{type_} is wanted, not {self.value}")
        bits = 8 * BYTES[type_]  # -1 is all bits of an unsigned type
        if not -1 << bits - 1 <= self.value < 1 << bits - (not type_.startswith("u")):
            raise LoopError(f"{self.value} does not fit into {type_}")
        return Scalar(type_, str(self.value))

    def combined(self, sign: str, other: Number) -> Number:
        """Arithmetic of two written numbers."""
        operations: dict[str, Callable[[float, float], float]] = {
            "+": lambda a, b: a + b,
            "-": lambda a, b: a - b,
            "*": lambda a, b: a * b,
            "//": lambda a, b: a // b,
        }
        if sign not in operations:
            raise LoopError(f"give one of the numbers at {sign!r} a type")
        return Number(operations[sign](self.value, other.value))


def _float_text(value: float, type_: str) -> str:
    """A floating-point constant by its bits, which is exact; float32 is written as a double."""
    if type_ == "float32" and math.isfinite(value):
        try:
            value = struct.unpack("f", struct.pack("f", value))[0]
        except OverflowError:
            value = math.copysign(math.inf, value)
    return f"0x{struct.unpack('>Q', struct.pack('>d', value))[0]:016X}"


@dataclass
class Emitter:
    """The text of one function of LLVM, as it grows."""

    flags: tuple[str, ...] = ()
    """What floating-point operations may do beyond rounding one by one."""
    _lines: list[str] = field(default_factory=list)
    _slots: list[str] = field(default_factory=list)
    _declared: dict[str, None] = field(default_factory=dict)
    _count: int = 0

    def line(self, text: str) -> None:
        self._lines.append(f"  {text}")

    def new(self, text: str) -> str:
        """Adds an instruction; the name of its value."""
        self._count += 1
        self._lines.append(f"  %v{self._count} = {text}")
        return f"%v{self._count}"

    def slot(self, type_: str, size: int = 1) -> str:
        """Memory on the stack, taken once; LLVM keeps what it can in registers."""
        self._count += 1
        name, count = f"%s{self._count}", f", i64 {size}" if size > 1 else ""
        kind = MEMORY_TYPES[type_] if size > 1 else LLVM_TYPES[type_]
        self._slots.append(f"  {name} = alloca {kind}{count}")
        return name

    def label(self, part: str) -> str:
        self._count += 1
        return f"{part}{self._count}"

    def place(self, label: str) -> None:
        self._lines.append(f"{label}:")

    def declare(self, *functions: str) -> None:
        """Says that the text calls these functions."""
        self._declared.update(dict.fromkeys(functions))

    def module(self, head: str, metadata: Sequence[str]) -> str:
        return "\n".join(
            [*self._declared, f"{head} {{", *self._slots, *self._lines, "}", *metadata, ""]
        )

    def intrinsic(self, name: str, *operands: Scalar, flags: str = "") -> Scalar:
        """A call of one of LLVM's own functions on numbers of one type."""
        kind = operands[0].type
        suffix = _FLOATS.get(kind, LLVM_TYPES[kind])
        return self.call(f"llvm.{name}.{suffix}", *operands, flags=flags)

    def call(self, function: str, *operands: Scalar, flags: str = "") -> Scalar:
        """A call of a function without effects on floats of one type."""
        if operands[0].type not in _FLOATS:
            word = function.removeprefix("llvm.").split(".")[0]
            raise LoopError(f"{word} is not for {operands[0].type}")
        kind = LLVM_TYPES[operands[0].type]
        types = ", ".join([kind] * len(operands))
        # no memory is read or written: the C library's functions at most set errno
        effects = "" if function.startswith("llvm.") else " nounwind willreturn memory(none)"
        self.declare(f"declare {kind} @{function}({types}){effects}")
        given = ", ".join(f"{kind} {operand.text}" for operand in operands)
        return Scalar(operands[0].type, self.new(f"call {flags} {kind} @{function}({given})"))


def to_memory(emit: Emitter, value: Scalar) -> str:
    """The number with its type, as it lies in an array: truth values take a byte."""
    if value.type == "bool_":
        return f"i8 {emit.new(f'zext i1 {value.text} to i8')}"
    return f"{LLVM_TYPES[value.type]} {value.text}"


def from_memory(emit: Emitter, value: Scalar) -> Scalar:
    if value.type == "bool_":
        return Scalar("bool_", emit.new(f"icmp ne i8 {value.text}, 0"))
    return value


def binary(emit: Emitter, sign: str, a: Scalar, b: Scalar) -> Scalar:
    """Arithmetic of two numbers of one type."""
    if a.type in _FLOATS:
        names = {"+": "fadd", "-": "fsub", "*": "fmul", "/": "fdiv"}
        flags = " ".join(emit.flags)
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
        return _floor_division(emit, sign, a, b)
    if sign not in names:
        raise LoopError(f"{sign!r} is not for {a.type}")
    return Scalar(
        a.type, emit.new(f"{names[sign]} {flags} {LLVM_TYPES[a.type]} {a.text}, {b.text}")
    )


def _floor_division(emit: Emitter, sign: str, a: Scalar, b: Scalar) -> Scalar:
    """Python's // and %, which round down."""
    quotient = emit.new(f"sdiv i64 {a.text}, {b.text}")
    rest = emit.new(f"srem i64 {a.text}, {b.text}")
    other = emit.new(f"xor i64 {rest}, {b.text}")
    signs = emit.new(f"icmp slt i64 {other}, 0")
    inexact = emit.new(f"icmp ne i64 {rest}, 0")
    lower = emit.new(f"and i1 {signs}, {inexact}")
    if sign == "//":
        one = emit.new(f"zext i1 {lower} to i64")
        return Scalar("int64", emit.new(f"sub i64 {quotient}, {one}"))
    raised = emit.new(f"add i64 {rest}, {b.text}")
    return Scalar("int64", emit.new(f"select i1 {lower}, i64 {raised}, i64 {rest}"))


def negative(emit: Emitter, a: Scalar) -> Scalar:
    return Scalar(a.type, emit.new(f"fneg {LLVM_TYPES[a.type]} {a.text}"))


def negation(emit: Emitter, a: Scalar) -> Scalar:
    return Scalar("bool_", emit.new(f"xor i1 {a.text}, true"))


def compare(emit: Emitter, sign: str, a: Scalar, b: Scalar) -> Scalar:
    """A relation; with NaN only != holds."""
    words = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}
    word, kind = words[sign], LLVM_TYPES[a.type]
    if a.type in _FLOATS:
        word = f"{'u' if sign == '!=' else 'o'}{word}"
        return Scalar("bool_", emit.new(f"fcmp {word} {kind} {a.text}, {b.text}"))
    if sign not in ("==", "!="):
        word = f"{'u' if a.type[0] in 'ub' else 's'}{word}"
    return Scalar("bool_", emit.new(f"icmp {word} {kind} {a.text}, {b.text}"))


def where(emit: Emitter, condition: Scalar, a: Scalar, b: Scalar) -> Scalar:
    """a where the condition holds, else b, without a branch."""
    kind = LLVM_TYPES[a.type]
    chosen = emit.new(f"select i1 {condition.text}, {kind} {a.text}, {kind} {b.text}")
    return Scalar(a.type, chosen)


def cast(emit: Emitter, a: Scalar, type_: str) -> Scalar:
    """The number in another type, as NumPy converts it."""
    if a.type == type_:
        return a
    if type_ == "bool_":
        return compare(emit, "!=", a, Number(0).of(a.type))
    word = _conversion(a.type, type_)
    if not word:
        return Scalar(type_, a.text)
    kinds = LLVM_TYPES[a.type], LLVM_TYPES[type_]
    return Scalar(type_, emit.new(f"{word} {kinds[0]} {a.text} to {kinds[1]}"))


def _conversion(old: str, new: str) -> str:
    """The instruction that converts a number; "" where the bits stay."""
    unsigned = old[0] in "ub"
    if old in _FLOATS and new in _FLOATS:
        return "fpext" if new == "float64" else "fptrunc"
    if old in _FLOATS:
        return "fptoui" if new.startswith("u") else "fptosi"
    if new in _FLOATS:
        return "uitofp" if unsigned else "sitofp"
    if BYTES[old] == BYTES[new]:
        return ""
    if BYTES[old] > BYTES[new]:
        return "trunc"
    return "zext" if unsigned else "sext"


def bits(emit: Emitter, a: Scalar, type_: str) -> Scalar:
    """The bits of a number as a number of another type of the same size."""
    if BYTES[a.type] != BYTES[type_]:
        raise LoopError(f"{a.type} and {type_} differ in size")
    kinds = LLVM_TYPES[a.type], LLVM_TYPES[type_]
    if kinds[0] == kinds[1]:
        return Scalar(type_, a.text)
    return Scalar(type_, emit.new(f"bitcast {kinds[0]} {a.text} to {kinds[1]}"))


def call_address(emit: Emitter, words: Sequence[Scalar], returns: bool) -> Scalar | None:
    """Calls the function at an address with words of 64 bits.

    With `returns` it is one of the C library that gives an int; what it does not take lies in
    registers that it does not read.
    """
    pointer = emit.new(f"inttoptr i64 {words[0].text} to ptr")
    given = ", ".join(f"i64 {word.text}" for word in words[1:])
    if not returns:
        emit.line(f"call void {pointer}({given})")
        return None
    result = emit.new(f"call i32 {pointer}({given})")
    return Scalar("int64", emit.new(f"sext i32 {result} to i64"))


def _extreme(sign: str) -> Callable[[Emitter, Scalar, Scalar], Scalar]:
    """NumPy's maximum or minimum: NaN where either is."""

    def chosen(emit: Emitter, a: Scalar, b: Scalar) -> Scalar:
        first = compare(emit, sign, a, b)
        if a.type in _FLOATS:
            nan = Scalar("bool_", emit.new(f"fcmp uno {LLVM_TYPES[a.type]} {a.text}, {a.text}"))
            first = binary(emit, "|", first, nan)
        return where(emit, first, a, b)

    return chosen


def _extreme_of_row(name: str) -> Callable[[Emitter, Scalar, Scalar], Scalar]:
    """A step of the largest or smallest of a row: NaN where there is one, in any order."""

    def chosen(emit: Emitter, a: Scalar, b: Scalar) -> Scalar:
        if a.type not in _FLOATS:
            return _extreme(">" if name == "maximum" else "<")(emit, a, b)
        return emit.intrinsic(name, a, b, flags="nsz")

    return chosen


def _plus(emit: Emitter, a: Scalar, b: Scalar) -> Scalar:
    """A step of a sum."""
    if a.type not in _FLOATS:
        return binary(emit, "+", a, b)
    return Scalar(a.type, emit.new(f"fadd {_REORDERED} {LLVM_TYPES[a.type]} {a.text}, {b.text}"))


def _absolute(emit: Emitter, a: Scalar) -> Scalar:
    if a.type in _FLOATS:
        return emit.intrinsic("fabs", a)
    return where(
        emit,
        compare(emit, "<", a, Number(0).of(a.type)),
        binary(emit, "-", Number(0).of(a.type), a),
        a,
    )


def _is_finite(emit: Emitter, a: Scalar) -> Scalar:
    if a.type not in _FLOATS:
        return Number(1).of("bool_")
    size = emit.intrinsic("fabs", a)
    return compare(emit, "<", size, Number(math.inf).of(a.type))


def _intrinsic(name: str) -> Callable[..., Scalar]:
    return lambda emit, *operands: emit.intrinsic(name, *operands)


def _library(name: str) -> Callable[..., Scalar]:
    """A function of the C library; those of float32 end in f."""
    return lambda emit, a: emit.call(f"{name}f" if a.type == "float32" else name, a)


def _whole(type_: str) -> Callable[..., Scalar]:
    """A float as an integer: held within the type, NaN as 0. (A conversion does not say.)"""

    def converted(emit: Emitter, a: Scalar) -> Scalar:
        if a.type not in _FLOATS:
            raise LoopError(f"whole_{type_} is not for {a.type}")
        kind, given = LLVM_TYPES[type_], LLVM_TYPES[a.type]
        function = f"llvm.fptosi.sat.{kind}.{'f32' if a.type == 'float32' else 'f64'}"
        emit.declare(f"declare {kind} @{function}({given})")
        return Scalar(type_, emit.new(f"call {kind} @{function}({given} {a.text})"))

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
"""What a text may call on numbers of one type."""
