"""Builds LLVM IR: types, scalars and literals, and the text of one function.

operations.py adds the instructions for the operations of the loop language.
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
"""The types that are computed with, and LLVM's names of them."""
HALVES: Mapping[str, str] = {"bfloat16": "i16", "float16": "i16"}
"""Types of memory, which are read, cast and stored, and not computed with; see halves.py."""
SCALAR_TYPES: Mapping[str, str] = {**LLVM_TYPES, **HALVES}
MEMORY_TYPES: Mapping[str, str] = {**SCALAR_TYPES, "bool_": "i8"}
BYTES: Mapping[str, int] = {
    "float32": 4,
    "float64": 8,
    "bfloat16": 2,
    "float16": 2,
    "bool_": 1,
    "int32": 4,
    "int64": 8,
    "uint32": 4,
    "uint64": 8,
}
FLOATS: Mapping[str, str] = {"float32": "f32", "float64": "f64"}
"""The floating-point types, and their suffixes in the names of LLVM's intrinsics."""


class LoopError(Exception):
    """A text is not in the loop language; an error of this package, not of its user."""

    def at(self, statement: ast.stmt) -> LoopError:
        """The error with the innermost statement in which it was found."""
        if "\n" in str(self):
            return self
        first = ast.unparse(statement).splitlines()[0]
        return LoopError(f"{self}\n  in line {statement.lineno}: {first}")


@dataclass(frozen=True)
class Scalar:
    """A computed number: its type, and its name in the LLVM text."""

    type: str
    text: str


@dataclass(frozen=True)
class Literal:
    """A number written in the text; its type depends on the context."""

    value: int | float

    @property
    def usual_type(self) -> str:
        """The type where the context does not ask for one."""
        return "int64" if isinstance(self.value, int) else "float64"

    def typed(self, type_: str) -> Scalar:
        """The number as a constant of this type."""
        if type_ in FLOATS:
            return Scalar(type_, _float_text(float(self.value), type_))
        if type_ == "bool_":
            return Scalar(type_, "true" if self.value else "false")
        if isinstance(self.value, float):
            raise LoopError(f"expected {type_}, not {self.value}")
        bits = 8 * BYTES[type_]  # -1 is all bits of an unsigned type
        if not -1 << bits - 1 <= self.value < 1 << bits - (not type_.startswith("u")):
            raise LoopError(f"{self.value} does not fit into {type_}")
        return Scalar(type_, str(self.value))

    def combined(self, sign: str, other: Literal) -> Literal:
        """The result of arithmetic on two literals."""
        operations: dict[str, Callable[[float, float], float]] = {
            "+": lambda a, b: a + b,
            "-": lambda a, b: a - b,
            "*": lambda a, b: a * b,
            "//": lambda a, b: a // b,
        }
        if sign not in operations:
            raise LoopError(f"one of the numbers beside {sign!r} needs a type")
        return Literal(operations[sign](self.value, other.value))


def _float_text(value: float, type_: str) -> str:
    """A floating-point constant by its bits, so exactly; float32 is written as a double."""
    if type_ == "float32" and math.isfinite(value):
        try:
            value = struct.unpack("f", struct.pack("f", value))[0]
        except OverflowError:
            value = math.copysign(math.inf, value)
    return f"0x{struct.unpack('>Q', struct.pack('>d', value))[0]:016X}"


@dataclass
class Builder:
    """Builds the LLVM text of one function, instruction by instruction."""

    flags: tuple[str, ...] = ()
    """Fast-math flags of the floating-point operations that are added."""
    _lines: list[str] = field(default_factory=list)
    _allocas: list[str] = field(default_factory=list)
    _declared: dict[str, None] = field(default_factory=dict)
    _count: int = 0

    def add(self, text: str) -> None:
        """Adds an instruction without a result."""
        self._lines.append(f"  {text}")

    def assign(self, text: str) -> str:
        """Adds an instruction; returns the name of its result."""
        self._count += 1
        self._lines.append(f"  %v{self._count} = {text}")
        return f"%v{self._count}"

    def alloca(self, type_: str, size: int = 1) -> str:
        """Allocates memory on the stack, once a call; LLVM keeps what it can in registers."""
        self._count += 1
        name, count = f"%s{self._count}", f", i64 {size}" if size > 1 else ""
        kind = (MEMORY_TYPES if size > 1 else SCALAR_TYPES)[type_]
        self._allocas.append(f"  {name} = alloca {kind}{count}")
        return name

    def new_label(self, part: str) -> str:
        """A new label of a basic block."""
        self._count += 1
        return f"{part}{self._count}"

    def start_block(self, label: str) -> None:
        """Starts the basic block of this label."""
        self._lines.append(f"{label}:")

    def declare(self, *functions: str) -> None:
        """Adds declarations of functions that the text calls."""
        self._declared.update(dict.fromkeys(functions))

    def module(self, head: str, metadata: Sequence[str]) -> str:
        """The text of the module that defines the function."""
        return "\n".join(
            [*self._declared, f"{head} {{", *self._allocas, *self._lines, "}", *metadata, ""]
        )

    def intrinsic(self, name: str, *operands: Scalar, flags: str = "") -> Scalar:
        """Calls an intrinsic of LLVM on numbers of one type."""
        kind = operands[0].type
        suffix = FLOATS.get(kind, LLVM_TYPES[kind])
        return self.call(f"llvm.{name}.{suffix}", *operands, flags=flags)

    def call(self, function: str, *operands: Scalar, flags: str = "") -> Scalar:
        """Calls a function without side effects on floats of one type."""
        if operands[0].type not in FLOATS:
            word = function.removeprefix("llvm.").split(".")[0]
            raise LoopError(f"{word} is not defined for {operands[0].type}")
        kind = LLVM_TYPES[operands[0].type]
        types = ", ".join([kind] * len(operands))
        # no memory is read or written: the C library's functions at most set errno
        effects = "" if function.startswith("llvm.") else " nounwind willreturn memory(none)"
        self.declare(f"declare {kind} @{function}({types}){effects}")
        given = ", ".join(f"{kind} {operand.text}" for operand in operands)
        return Scalar(operands[0].type, self.assign(f"call {flags} {kind} @{function}({given})"))
