"""Translates expressions of the loop language to LLVM instructions.

The value of an expression is a `Scalar` (computed), a `Literal` (a written number, which takes its
type from the context), an `Array` or a tuple. The types of operands must be equal; there are no
implicit conversions.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NoReturn

from graphgrad.loops import operations
from graphgrad.loops.float_control import float_control, set_float_control
from graphgrad.loops.halves import half_bits
from graphgrad.loops.language import Function
from graphgrad.loops.llvm_text import (
    BYTES,
    HALVES,
    MEMORY_TYPES,
    SCALAR_TYPES,
    Builder,
    Literal,
    LoopError,
    Scalar,
)

_STACK = 64
"""The most elements of an `empty` array of constant size that is allocated on the stack."""
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


Symbol = Function | Literal
"""A name that a text may use beside its own variables: a function or a constant."""


@cache
def definition_of(function: Function) -> ast.FunctionDef:
    """The parsed source of a function."""
    found = ast.parse(textwrap.dedent(inspect.getsource(function.python))).body[0]
    assert isinstance(found, ast.FunctionDef)
    return found


@cache
def symbols_of(function: Function) -> Mapping[str, Symbol]:
    """The names that a function may use: the functions and constants of its module."""
    found: dict[str, Symbol] = {}
    for name, value in function.python.__globals__.items():
        if isinstance(value, Function):
            found[name] = value
        elif type(value) in (int, float):
            found[name] = Literal(value)
    return found


@dataclass(frozen=True)
class Array:
    """An array in memory, in C order."""

    dtype: str
    pointer: str
    sizes: tuple[Scalar, ...]


@dataclass(frozen=True)
class Variable:
    """A scalar variable, in memory on the stack."""

    type: str
    pointer: str


@dataclass
class Expressions:
    """Translates the expressions of one function, one after the other."""

    library: Mapping[str, Symbol]
    types: Mapping[str, str]
    """The type for each type variable."""
    inline: Callable[[Function, list[Any]], Any]
    """Inlines the call of a function of the library."""
    builder: Builder = field(default_factory=Builder)
    names: dict[str, Any] = field(default_factory=dict)
    """The variables of the function that is being translated or inlined."""
    depth: int = 0
    """The number of enclosing loops."""
    groups: list[str] = field(default_factory=list)
    """The access groups of the enclosing independent loops."""
    to_free: list[str] = field(default_factory=list)
    """Pointers that are freed at the end of the function."""

    def value(self, expression: ast.expr) -> Any:
        """Translates an expression; returns its value."""
        match expression:
            case ast.Constant(value=bool(value)):
                return Scalar("bool_", str(value).lower())
            case ast.Constant(value=int(value) | float(value)):
                return Literal(value)
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
        """Comparisons, `and`, `or`, and conditional expressions."""
        match expression:
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                if type(operator) not in RELATIONS:
                    reject(expression)
                a, b = self._of_one_type(self.value(left), self.value(right))
                return operations.compare(self.builder, RELATIONS[type(operator)], a, b)
            case ast.BoolOp(op=operator, values=values):
                sign = "&" if isinstance(operator, ast.And) else "|"
                first, *others = [Scalar("bool_", self.condition(value)) for value in values]
                for other in others:
                    first = operations.binary(self.builder, sign, first, other)
                return first
            case ast.IfExp(test=test, body=body, orelse=otherwise):
                return self._where([test, body, otherwise])
        return reject(expression)

    def _named(self, name: str) -> Any:
        found = self.names.get(name)
        if isinstance(found, Variable):
            kind = SCALAR_TYPES[found.type]
            return Scalar(found.type, self.builder.assign(f"load {kind}, ptr {found.pointer}"))
        if found is None:
            found = self.library.get(name)
        if found is None or isinstance(found, Function):
            raise LoopError(f"there is no value {name!r}")
        return found

    def arithmetic(self, operator: ast.operator, left: Any, right: Any) -> Any:
        """Translates a binary operator."""
        if type(operator) not in ARITHMETIC:
            raise LoopError("an operator that is not in the language")
        return self._binary(ARITHMETIC[type(operator)], left, right)

    def _binary(self, sign: str, left: Any, right: Any) -> Any:
        if isinstance(left, Literal) and isinstance(right, Literal):
            return left.combined(sign, right)
        return operations.binary(self.builder, sign, *self._of_one_type(left, right))

    def _unary(self, operator: ast.unaryop, value: Any) -> Any:
        if isinstance(operator, ast.Not):
            return operations.negation(self.builder, self.as_type(value, "bool_"))
        sign = {ast.USub: "-", ast.Invert: "~"}.get(type(operator))
        if sign == "-" and isinstance(value, Literal):
            return Literal(-value.value)
        if sign is None:
            raise LoopError("an operator that is not in the language")
        zero = Literal(0 if sign == "-" else -1)
        if sign == "-" and self._computed(self.scalar(value)).type.startswith("float"):
            return operations.negative(self.builder, value)
        return self._binary("-" if sign == "-" else "^", zero, value)

    def _call(self, name: str, arguments: list[ast.expr]) -> Any:
        special_forms = {
            "array": self._array,
            "empty": self._empty,
            "bits": self._bits,
            "where": self._where,
        }
        if name in special_forms:
            return special_forms[name](arguments)
        values = [self.value(argument) for argument in arguments]
        if name in SCALAR_TYPES or name in self.types:
            return self._cast(values[0], self._known_type(name))
        if name in operations.FUNCTIONS:
            scalars = self._of_one_type(*values)
            ours = self.library.get(f"{name}_{scalars[0].type}")
            if isinstance(ours, Function):  # faster than the C library's: it vectorises
                return self.inline(ours, scalars)
            return operations.FUNCTIONS[name](self.builder, *scalars)
        if name in ("len", "address"):
            return self._of_array(name, values[0])
        if name in ("call_blocks", "call_c"):
            words = [self.as_type(value, "int64") for value in values]
            return operations.call_address(self.builder, words, name == "call_c")
        if name in operations.SHARED:
            words = [self.as_type(value, "int64") for value in values]
            return operations.SHARED[name](self.builder, *words)
        if name == "float_control":
            return float_control(self.builder)
        if name == "set_float_control":
            return set_float_control(self.builder, self.as_type(values[0], "int64"))
        function = self.library.get(name)
        if isinstance(function, Function):
            return self.inline(function, values)
        raise LoopError(f"there is no function {name!r}")

    def _of_array(self, name: str, array: Any) -> Scalar:
        """The number of rows of an array, or its address."""
        if not isinstance(array, Array):
            raise LoopError(f"{name} takes an array")
        if name == "len":
            return array.sizes[0]
        return Scalar("int64", self.builder.assign(f"ptrtoint ptr {array.pointer} to i64"))

    def _bits(self, arguments: list[ast.expr]) -> Scalar:
        """Translates `bits(number, type)`."""
        kind = self.type_named(arguments[1])
        return operations.bits(self.builder, self.scalar(self.value(arguments[0])), kind)

    def _where(self, arguments: list[ast.expr]) -> Scalar:
        """Translates a conditional expression, which computes both sides."""
        condition = Scalar("bool_", self.condition(arguments[0]))
        a, b = self._of_one_type(*(self.value(argument) for argument in arguments[1:]))
        return operations.where(self.builder, condition, a, b)

    def _array(self, arguments: list[ast.expr]) -> Array:
        if len(arguments) not in (3, 4):
            raise LoopError("array takes an address, a type and one or two sizes")
        address = self.as_type(self.value(arguments[0]), "int64")
        sizes = tuple(self.as_type(self.value(size), "int64") for size in arguments[2:])
        pointer = self.builder.assign(f"inttoptr i64 {address.text} to ptr")
        return Array(self.type_named(arguments[1]), pointer, sizes)

    def _empty(self, arguments: list[ast.expr]) -> Array:
        size, dtype = self.value(arguments[0]), self.type_named(arguments[1])
        if self.depth:
            raise LoopError("empty must not be called inside a loop")
        count = self.as_type(size, "int64")
        if isinstance(size, Literal) and size.value <= _STACK:
            return Array(dtype, self.builder.alloca(dtype, int(size.value)), (count,))
        width = BYTES[dtype]
        size_in_bytes = self.builder.assign(f"mul i64 {count.text}, {width}")
        pointer = self.builder.assign(f"call noalias ptr @malloc(i64 {size_in_bytes})")
        self.builder.declare("declare noalias ptr @malloc(i64)", "declare void @free(ptr)")
        self.to_free.append(pointer)
        return Array(dtype, pointer, (count,))

    def _element(self, expression: ast.Subscript) -> Any:
        array = self.value(expression.value)
        if isinstance(array, tuple):
            index = self.value(expression.slice)
            if not isinstance(index, Literal):
                raise LoopError("the index of a tuple must be a number")
            return array[int(index.value)]
        array, pointer = self.element_pointer(expression)
        if isinstance(pointer, Array):
            return pointer
        kind = MEMORY_TYPES[array.dtype]
        loaded = self.builder.assign(f"load {kind}, ptr {pointer}{self.access_group()}")
        return operations.from_memory(self.builder, Scalar(array.dtype, loaded))

    def element_pointer(self, expression: ast.Subscript) -> Any:
        """The array, and the pointer to one of its elements; for a row, the row as an `Array`."""
        array = self.value(expression.value)
        if not isinstance(array, Array):
            raise LoopError("only an array can be indexed")
        index = self.value(expression.slice)
        indices = [
            self.as_type(one, "int64") for one in (index if isinstance(index, tuple) else [index])
        ]
        if len(indices) > len(array.sizes):
            raise LoopError(f"{len(indices)} indices for an array of {len(array.sizes)}")
        offset = indices[0].text
        if len(array.sizes) == 2:
            offset = self.builder.assign(f"mul nsw i64 {offset}, {array.sizes[1].text}")
            if len(indices) == 2:
                offset = self.builder.assign(f"add nsw i64 {offset}, {indices[1].text}")
        kind = MEMORY_TYPES[array.dtype]
        pointer = self.builder.assign(
            f"getelementptr inbounds {kind}, ptr {array.pointer}, i64 {offset}"
        )
        if len(indices) < len(array.sizes):
            return array, Array(array.dtype, pointer, array.sizes[1:])
        return array, pointer

    def access_group(self) -> str:
        """The metadata of a load or store: the access group of an independent loop."""
        if not self.groups:
            return ""
        return f", !llvm.access.group {self.groups[-1]}"

    def type_named(self, expression: ast.expr | None) -> str:
        """The type named by an annotation or an argument."""
        return self._known_type(expression.id if isinstance(expression, ast.Name) else "")

    def passed_type(self, expression: ast.expr | None) -> str:
        """The type of a parameter or result, which is one that is computed with."""
        name = self.type_named(expression)
        if name in HALVES:
            raise LoopError(f"{name} is stored and cast, not passed to a function")
        return name

    def _known_type(self, name: str) -> str:
        name = self.types.get(name, name)
        if name not in SCALAR_TYPES:
            raise LoopError(f"expected a type: one of {', '.join(SCALAR_TYPES)}")
        return name

    def _cast(self, value: Any, type_: str) -> Scalar:
        if isinstance(value, Literal):
            if type_ in HALVES:
                return Scalar(type_, str(half_bits(value.value, type_)))
            return value.typed(type_)
        return operations.cast(self.builder, self.scalar(value), type_)

    def condition(self, expression: ast.expr) -> str:
        """Translates a condition; returns LLVM's name of it."""
        return self.as_type(self.value(expression), "bool_").text

    def scalar(self, value: Any) -> Scalar:
        """The value as a scalar; a literal takes the type that it usually has."""
        if isinstance(value, Literal):
            return value.typed(value.usual_type)
        if not isinstance(value, Scalar):
            raise LoopError("expected a single number")
        return value

    def as_type(self, value: Any, type_: str) -> Scalar:
        """The value as a scalar of this type. Raises `LoopError` if it has another."""
        if isinstance(value, Literal):
            return value.typed(type_)
        scalar = self.scalar(value)
        if scalar.type != type_:
            raise LoopError(f"expected {type_}, not {scalar.type}")
        return scalar

    def _computed(self, value: Scalar) -> Scalar:
        """The value, if it is of a type that is computed with."""
        if value.type in HALVES:
            raise LoopError(f"{value.type} is stored and cast, not computed with")
        return value

    def _of_one_type(self, *values: Any) -> list[Scalar]:
        """The values as scalars of one type: literals take that of the others."""
        types = dict.fromkeys(value.type for value in values if isinstance(value, Scalar))
        if len(types) > 1:
            raise LoopError(f"the operands have different types: {', '.join(types)}")
        literal_types = [value.usual_type for value in values if isinstance(value, Literal)]
        type_ = next(iter(types), "float64" if "float64" in literal_types else None)
        return [self._computed(self.as_type(v, type_) if type_ else self.scalar(v)) for v in values]


def reject(part: ast.AST) -> NoReturn:
    """Raises the error for Python that the language does not have."""
    raise LoopError(f"not in the language: {ast.unparse(part).splitlines()[0]}")
