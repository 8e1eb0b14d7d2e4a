"""Expressions of the loop language: what a piece of text is worth, as LLVM's instructions.

A value is a `Scalar` (computed), a `Number` (written, and of no type until one is wanted), an
`Array` or a tuple. Types must be equal; nothing is converted in silence.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NoReturn

from graphgrad.loops import instructions
from graphgrad.loops.instructions import LLVM_TYPES, Emitter, LoopError, Number, Scalar
from graphgrad.loops.language import Function

_STACK = 64
"""Elements of fixed memory that a function takes from the stack."""
ARITHMETIC: Mapping[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
}
RELATIONS: Mapping[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}


Name = Function | Number
"""What a text may name beside its own variables: a function or a constant."""


@cache
def definition_of(function: Function) -> ast.FunctionDef:
    """The source of a function, parsed."""
    found = ast.parse(textwrap.dedent(inspect.getsource(function.python))).body[0]
    assert isinstance(found, ast.FunctionDef)
    return found


@cache
def names_of(function: Function) -> Mapping[str, Name]:
    """What a function may name: the functions and constants of the file that it stands in."""
    found: dict[str, Name] = {}
    for name, value in function.python.__globals__.items():
        if isinstance(value, Function):
            found[name] = value
        elif type(value) in (int, float):
            found[name] = Number(value)
    return found


@dataclass(frozen=True)
class Array:
    """Numbers in memory, in C order."""

    dtype: str
    pointer: str
    sizes: tuple[Scalar, ...]


@dataclass(frozen=True)
class Slot:
    """Where a variable lies."""

    type: str
    place: str


@dataclass
class Expressions:
    """Evaluates expressions where a translation stands at the moment."""

    library: Mapping[str, Name]
    types: Mapping[str, str]
    """Names that stand for a type in this translation."""
    inline: Callable[[Function, list[Any]], Any]
    """Writes the call of a function of the library out."""
    emit: Emitter = field(default_factory=Emitter)
    names: dict[str, Any] = field(default_factory=dict)
    """The variables of the function that is being written out."""
    depth: int = 0
    """How many loops there are around this place."""
    groups: list[str] = field(default_factory=list)
    """The access groups of the independent loops around this place."""
    freed: list[str] = field(default_factory=list)
    """What has to be freed at the end."""

    def value(self, expression: ast.expr) -> Any:
        """What an expression is worth."""
        match expression:
            case ast.Constant(value=bool(value)):
                return Scalar("bool_", str(value).lower())
            case ast.Constant(value=int(value) | float(value)):
                return Number(value)
            case ast.Name(id=name):
                return self._named(name)
            case ast.Tuple(elts=parts):
                return tuple(self.value(part) for part in parts)
            case ast.BinOp(left=left, op=operator, right=right):
                return self.arithmetic(operator, self.value(left), self.value(right))
            case ast.UnaryOp(op=operator, operand=operand):
                return self._unary(operator, self.value(operand))
            case ast.Subscript():
                return self._element(expression)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(name, arguments)
        return self._decision(expression)

    def _decision(self, expression: ast.expr) -> Scalar:
        """Relations, and what is made of truth values."""
        match expression:
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                if type(operator) not in RELATIONS:
                    refused(expression)
                a, b = self._alike(self.value(left), self.value(right))
                return instructions.compare(self.emit, RELATIONS[type(operator)], a, b)
            case ast.BoolOp(op=operator, values=values):
                sign = "&" if isinstance(operator, ast.And) else "|"
                first, *others = [Scalar("bool_", self.condition(value)) for value in values]
                for other in others:
                    first = instructions.binary(self.emit, sign, first, other)
                return first
            case ast.IfExp(test=test, body=body, orelse=otherwise):
                return self._where([test, body, otherwise])
        return refused(expression)

    def _named(self, name: str) -> Any:
        found = self.names.get(name)
        if isinstance(found, Slot):
            kind = LLVM_TYPES[found.type]
            return Scalar(found.type, self.emit.new(f"load {kind}, ptr {found.place}"))
        if found is None:
            found = self.library.get(name)
        if found is None or isinstance(found, Function):
            raise LoopError(f"there is no value {name!r}")
        return found

    def arithmetic(self, operator: ast.operator, left: Any, right: Any) -> Any:
        """What an operator between two values gives."""
        if type(operator) not in ARITHMETIC:
            raise LoopError("an operator that is not in the language")
        return self._binary(ARITHMETIC[type(operator)], left, right)

    def _binary(self, sign: str, left: Any, right: Any) -> Any:
        if isinstance(left, Number) and isinstance(right, Number):
            return left.combined(sign, right)
        return instructions.binary(self.emit, sign, *self._alike(left, right))

    def _unary(self, operator: ast.unaryop, value: Any) -> Any:
        if isinstance(operator, ast.Not):
            return instructions.negation(self.emit, self.as_type(value, "bool_"))
        sign = {ast.USub: "-", ast.Invert: "~"}.get(type(operator))
        if sign == "-" and isinstance(value, Number):
            return Number(-value.value)
        if sign is None:
            raise LoopError("an operator that is not in the language")
        zero = Number(0 if sign == "-" else -1)
        if sign == "-" and self.scalar(value).type.startswith("float"):
            return instructions.negative(self.emit, value)
        return self._binary("-" if sign == "-" else "^", zero, value)

    def _call(self, name: str, arguments: list[ast.expr]) -> Any:
        forms = {
            "array": self._array,
            "empty": self._empty,
            "bits": self._bits,
            "where": self._where,
        }
        if name in forms:
            return forms[name](arguments)
        values = [self.value(argument) for argument in arguments]
        if name in LLVM_TYPES or name in self.types:
            return self._cast(values[0], self._known_type(name))
        if name in instructions.FUNCTIONS:
            scalars = self._alike(*values)
            better = self.library.get(f"{name}_{scalars[0].type}")
            if isinstance(better, Function):
                return self.inline(better, scalars)
            return instructions.FUNCTIONS[name](self.emit, *scalars)
        if name in ("len", "address"):
            return self._of_array(name, values[0])
        if name in ("call_blocks", "call_c"):
            words = [self.as_type(value, "int64") for value in values]
            return instructions.call_address(self.emit, words, name == "call_c")
        function = self.library.get(name)
        if isinstance(function, Function):
            return self.inline(function, values)
        raise LoopError(f"there is no function {name!r}")

    def _of_array(self, name: str, array: Any) -> Scalar:
        """How many rows an array has, or where it lies."""
        if not isinstance(array, Array):
            raise LoopError(f"{name} is asked of an array")
        if name == "len":
            return array.sizes[0]
        return Scalar("int64", self.emit.new(f"ptrtoint ptr {array.pointer} to i64"))

    def _bits(self, arguments: list[ast.expr]) -> Scalar:
        """The bits of a number as another type."""
        kind = self.type_named(arguments[1])
        return instructions.bits(self.emit, self.scalar(self.value(arguments[0])), kind)

    def _where(self, arguments: list[ast.expr]) -> Scalar:
        """A choice of which both sides are computed."""
        condition = Scalar("bool_", self.condition(arguments[0]))
        a, b = self._alike(*(self.value(argument) for argument in arguments[1:]))
        return instructions.where(self.emit, condition, a, b)

    def _array(self, arguments: list[ast.expr]) -> Array:
        if len(arguments) not in (3, 4):
            raise LoopError("an array is made of an address, a type and one or two sizes")
        address = self.as_type(self.value(arguments[0]), "int64")
        sizes = tuple(self.as_type(self.value(size), "int64") for size in arguments[2:])
        pointer = self.emit.new(f"inttoptr i64 {address.text} to ptr")
        return Array(self.type_named(arguments[1]), pointer, sizes)

    def _empty(self, arguments: list[ast.expr]) -> Array:
        size, dtype = self.value(arguments[0]), self.type_named(arguments[1])
        if self.depth:
            raise LoopError("memory is taken before the first loop")
        count = self.as_type(size, "int64")
        if isinstance(size, Number) and size.value <= _STACK:
            return Array(dtype, self.emit.slot(dtype, int(size.value)), (count,))
        width = instructions.BYTES[dtype]
        size_in_bytes = self.emit.new(f"mul i64 {count.text}, {width}")
        pointer = self.emit.new(f"call noalias ptr @malloc(i64 {size_in_bytes})")
        self.emit.declare("declare noalias ptr @malloc(i64)", "declare void @free(ptr)")
        self.freed.append(pointer)
        return Array(dtype, pointer, (count,))

    def _element(self, expression: ast.Subscript) -> Any:
        array = self.value(expression.value)
        if isinstance(array, tuple):
            place = self.value(expression.slice)
            if not isinstance(place, Number):
                raise LoopError("one of several values is asked for by a number")
            return array[int(place.value)]
        array, place = self.place(expression)
        if isinstance(place, Array):
            return place
        kind = instructions.MEMORY_TYPES[array.dtype]
        loaded = self.emit.new(f"load {kind}, ptr {place}{self.group()}")
        return instructions.from_memory(self.emit, Scalar(array.dtype, loaded))

    def place(self, expression: ast.Subscript) -> Any:
        """An array and where an element of it lies; or, for a row, the row."""
        array = self.value(expression.value)
        if not isinstance(array, Array):
            raise LoopError("only an array has elements")
        index = self.value(expression.slice)
        indices = [
            self.as_type(one, "int64") for one in (index if isinstance(index, tuple) else [index])
        ]
        if len(indices) > len(array.sizes):
            raise LoopError(f"{len(indices)} indices for an array of {len(array.sizes)}")
        offset = indices[0].text
        if len(array.sizes) == 2:
            offset = self.emit.new(f"mul nsw i64 {offset}, {array.sizes[1].text}")
            if len(indices) == 2:
                offset = self.emit.new(f"add nsw i64 {offset}, {indices[1].text}")
        kind = instructions.MEMORY_TYPES[array.dtype]
        pointer = self.emit.new(f"getelementptr inbounds {kind}, ptr {array.pointer}, i64 {offset}")
        if len(indices) < len(array.sizes):
            return array, Array(array.dtype, pointer, array.sizes[1:])
        return array, pointer

    def group(self) -> str:
        """The mark of a read or write inside independent loops."""
        if not self.groups:
            return ""
        return f", !llvm.access.group {self.groups[-1]}"

    def type_named(self, expression: ast.expr | None) -> str:
        """The type that an annotation or an argument names."""
        return self._known_type(expression.id if isinstance(expression, ast.Name) else "")

    def _known_type(self, name: str) -> str:
        name = self.types.get(name, name)
        if name not in LLVM_TYPES:
            raise LoopError(f"a type is wanted: one of {', '.join(LLVM_TYPES)}")
        return name

    def _cast(self, value: Any, type_: str) -> Scalar:
        if isinstance(value, Number):
            return value.of(type_)
        return instructions.cast(self.emit, self.scalar(value), type_)

    def condition(self, expression: ast.expr) -> str:
        return self.as_type(self.value(expression), "bool_").text

    def scalar(self, value: Any) -> Scalar:
        if isinstance(value, Number):
            return value.of(value.usual_type)
        if not isinstance(value, Scalar):
            raise LoopError("a single number is wanted")
        return value

    def as_type(self, value: Any, type_: str) -> Scalar:
        if isinstance(value, Number):
            return value.of(type_)
        scalar = self.scalar(value)
        if scalar.type != type_:
            raise LoopError(f"{type_} is wanted, not {scalar.type}")
        return scalar

    def _alike(self, *values: Any) -> list[Scalar]:
        """The values with one type: that of those that have one."""
        types = dict.fromkeys(value.type for value in values if isinstance(value, Scalar))
        if len(types) > 1:
            raise LoopError(f"the operands have different types: {', '.join(types)}")
        written = [value.usual_type for value in values if isinstance(value, Number)]
        type_ = next(iter(types), "float64" if "float64" in written else None)
        return [self.as_type(v, type_) if type_ else self.scalar(v) for v in values]


def refused(part: ast.AST) -> NoReturn:
    """Says that something is not in the language."""
    raise LoopError(f"not in the language: {ast.unparse(part).splitlines()[0]}")
