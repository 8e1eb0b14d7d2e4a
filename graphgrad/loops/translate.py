"""The loop language: a small typed part of Python, translated into the text of LLVM.

Kernels are printed in it (backends/loop_text.py), and what is not printed is written in it as plain
functions (library/), whose source is read here. So a kernel stays text that anybody can read and
that Python itself can run (language.py), and between the text and LLVM stand only this file,
expressions.py and llvm_text.py; machine_code.py makes code of it.

Numba does the same for all of Python, and took ten times as long: a second for a kernel that LLVM
compiles in a few hundredths, for the inference of types, copies of the program and counted
references. Here a type is known from the first assignment, and a function is written out where it
is called.

- A scalar has one of the types of `LLVM_TYPES`; an operation takes equal types and nothing is
  converted in silence. A number without a type takes that of the other operand.
- An array is an address with sizes: `array(address, float32, rows, columns)`. One index of two
  gives a row. `empty(columns, float32)` is memory of the function's own, freed at its end.
- `for i in range(…)` goes in order. `for i in independent(n)` promises that no turn of the loop
  reads what another one writes: LLVM may take many at once and need not ask whether arrays overlap.
- A function of the library is written out where it is called, or, if it is large and declared
  separate, called.
- `a if c else b`, `and` and `or` compute both sides; `return` is the last statement of a function.
- A divisor is not 0, a shift is smaller than its type, an index is inside its array: nobody asks.
- Names stand for what the function was given, what it has assigned, for typed constants, and for
  functions of the library it is translated with. There is nothing else.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from graphgrad.loops import llvm_text
from graphgrad.loops.expressions import (
    Array,
    Expressions,
    Name,
    Slot,
    definition_of,
    names_of,
    refused,
)
from graphgrad.loops.language import Function
from graphgrad.loops.llvm_text import LLVM_TYPES, LoopError, Number, Scalar

_DEEPEST = 20
"""Calls within calls; more means that a function calls itself."""


def translate(
    definition: ast.FunctionDef,
    name: str,
    library: Mapping[str, Name],
    types: Mapping[str, str] | None = None,
    flags: tuple[str, ...] = (),
) -> str:
    """The text of LLVM for a function that is called from outside by `name`.

    Its parameters are scalars with annotations, and so is what it returns, if anything. It may name
    what is in `library`, and `types` says what names of types stand for. Raises `LoopError` for
    what is not in the language, with the line.
    """
    return _Translator(library, types or {}).exported(definition, name, flags)


def translate_function(function: Function, name: str, types: Mapping[str, str]) -> str:
    """The same for a function of the library, which may name what its file names."""
    definition = definition_of(function)
    return translate(definition, name, names_of(function), types, function.flags)


class _Translator:
    def __init__(self, library: Mapping[str, Name], types: Mapping[str, str]) -> None:
        self.here = Expressions(library, types, self._inlined)
        self.emit = self.here.emit
        self.metadata: list[str] = []
        self.calls = 0

    def exported(self, definition: ast.FunctionDef, name: str, flags: tuple[str, ...]) -> str:
        self.emit.flags = flags
        parameters = []
        for argument in definition.args.args:
            type_ = self.here.type_named(argument.annotation)
            parameters.append(f"{LLVM_TYPES[type_]} %{argument.arg}")
            self._assign(argument.arg, Scalar(type_, f"%{argument.arg}"))
        result = self._body(definition.body)
        for pointer in self.here.freed:
            self.emit.line(f"call void @free(ptr {pointer})")
        kind, value = "void", ""
        if definition.returns is not None:
            scalar = self.here.as_type(result, self.here.type_named(definition.returns))
            kind, value = LLVM_TYPES[scalar.type], f" {scalar.text}"
        elif result is not None:
            raise LoopError(f"{definition.name} returns something, but its type is not given")
        self.emit.line(f"ret {kind}{value}")
        whole = "zeroext " if kind == "i1" else ""  # C reads all bits of the byte
        head = f"define {whole}{kind} @{name}({', '.join(parameters)})"
        return self.emit.module(head, self.metadata)

    def _inlined(self, function: Function, arguments: list[Any]) -> Any:
        """The call of a function of the library, written out."""
        definition = definition_of(function)
        parameters = definition.args.args
        if len(parameters) != len(arguments):
            raise LoopError(f"{function.name} takes {len(parameters)} values, not {len(arguments)}")
        if function.separate:
            return self._called(function, arguments)
        self.calls += 1
        if self.calls > _DEEPEST:
            raise LoopError(f"{function.name} calls itself")
        before = self.here.names, self.here.library, self.emit.flags
        self.here.names, self.here.library = {}, names_of(function)
        self.emit.flags = function.flags
        for parameter, value in zip(parameters, arguments, strict=True):
            if parameter.annotation is not None:
                value = self.here.as_type(value, self.here.type_named(parameter.annotation))
            self._assign(parameter.arg, value)
        result = self._body(definition.body)
        self.here.names, self.here.library, self.emit.flags = before
        self.calls -= 1
        return result

    def _called(self, function: Function, arguments: list[Any]) -> None:
        """The call of a function that is machine code of its own."""
        kinds, given = [], []
        for parameter, value in zip(definition_of(function).args.args, arguments, strict=True):
            type_ = self.here.type_named(parameter.annotation)
            kinds.append(LLVM_TYPES[type_])
            given.append(f"{LLVM_TYPES[type_]} {self.here.as_type(value, type_).text}")
        self.emit.declare(f"declare void @{function.symbol}({', '.join(kinds)})")
        self.emit.line(f"call void @{function.symbol}({', '.join(given)})")

    def _body(self, statements: Sequence[ast.stmt]) -> Any:
        """The statements of a function; what it returns."""
        *others, last = statements
        self._statements(others)
        if isinstance(last, ast.Return):
            return None if last.value is None else self.here.value(last.value)
        self._statements([last])
        return None

    def _statements(self, statements: Sequence[ast.stmt]) -> None:
        for statement in statements:
            try:
                self._statement(statement)
            except LoopError as error:
                raise error.at(statement) from None
            except (ArithmeticError, IndexError, TypeError, ValueError) as error:
                raise LoopError(f"it cannot be translated: {error}").at(statement) from error

    def _statement(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Pass() | ast.Expr(value=ast.Constant()):  # or a docstring
                return
            case ast.Expr(value=expression):
                self.here.value(expression)
            case ast.Assign(targets=[target], value=expression):
                self._store(target, self.here.value(expression))
            case ast.AugAssign(target=target, op=operator, value=expression):
                old, value = self.here.value(target), self.here.value(expression)
                self._store(target, self.here.arithmetic(operator, old, value))
            case ast.If():
                self._if(statement)
            case ast.While(orelse=[]):
                self._while(statement)
            case ast.For(
                iter=ast.Call(func=ast.Name()) as turns, target=ast.Name(id=name), orelse=[]
            ):
                self._for(turns, name, statement.body)
            case _:
                refused(statement)

    def _if(self, statement: ast.If) -> None:
        condition = self.here.condition(statement.test)
        then, otherwise, end = (self.emit.label(part) for part in ("then", "else", "end"))
        self.emit.line(f"br i1 {condition}, label %{then}, label %{otherwise}")
        for label, body in ((then, statement.body), (otherwise, statement.orelse)):
            self.emit.place(label)
            self._statements(body)
            self.emit.line(f"br label %{end}")
        self.emit.place(end)

    def _while(self, statement: ast.While) -> None:
        test, body, end = (self.emit.label(part) for part in ("test", "body", "end"))
        self.emit.line(f"br label %{test}")
        self.emit.place(test)
        condition = self.here.condition(statement.test)
        self.emit.line(f"br i1 {condition}, label %{body}, label %{end}")
        self.emit.place(body)
        self._inside(statement.body)
        self.emit.line(f"br label %{test}")
        self.emit.place(end)

    def _for(self, turns: ast.Call, name: str, body: Sequence[ast.stmt]) -> None:
        assert isinstance(turns.func, ast.Name)
        independent = turns.func.id == "independent"
        if not independent and turns.func.id != "range":
            raise LoopError("a loop goes over range(…) or independent(…)")
        start, stop, step = self._bounds(turns)
        counter = self.emit.slot("int64")
        self.emit.line(f"store i64 {start}, ptr {counter}")
        test, inside, end = (self.emit.label(part) for part in ("test", "body", "end"))
        self.emit.line(f"br label %{test}")
        self.emit.place(test)
        now = self.emit.new(f"load i64, ptr {counter}")
        going = self.emit.new(f"icmp slt i64 {now}, {stop}")
        self.emit.line(f"br i1 {going}, label %{inside}, label %{end}")
        self.emit.place(inside)
        mark = self._loop_mark(independent, isinstance(turns.args[-1], ast.Constant))
        self._assign(name, Scalar("int64", now))
        self._inside(body)
        following = self.emit.new(f"add nsw i64 {now}, {step}")
        self.emit.line(f"store i64 {following}, ptr {counter}")
        self.emit.line(f"br label %{test}{mark}")
        if independent:
            self.here.groups.pop()
        self.emit.place(end)

    def _bounds(self, turns: ast.Call) -> tuple[str, str, str]:
        bounds = [self.here.as_type(self.here.value(one), "int64").text for one in turns.args]
        match bounds:
            case [stop]:
                return "0", stop, "1"
            case [start, stop]:
                return start, stop, "1"
            case [start, stop, step] if not step.startswith(("-", "0")):
                return start, stop, step
        raise LoopError("a range has one to three bounds and goes upwards")

    def _inside(self, body: Sequence[ast.stmt]) -> None:
        """The body of a loop."""
        self.here.depth += 1
        self._statements(body)
        self.here.depth -= 1

    def _loop_mark(self, independent: bool, counted: bool) -> str:
        """What the end of a loop tells LLVM about it.

        What an independent loop reads and writes is marked as one group, whose accesses may be
        mixed. Only a loop of a written number of turns is unrolled: LLVM would unroll a short row
        before it thinks of vectors.
        """
        facts: list[str] = []
        if independent:
            group = self._metadata("distinct !{}")
            facts.append(self._metadata(f'!{{!"llvm.loop.parallel_accesses", {group}}}'))
            self.here.groups.append(group)
        if not counted:
            facts.append(self._metadata('!{!"llvm.loop.unroll.disable"}'))
        if not facts:
            return ""
        itself = f"!{len(self.metadata)}"
        loop = self._metadata(f"distinct !{{{', '.join([itself, *facts])}}}")
        return f", !llvm.loop {loop}"

    def _metadata(self, text: str) -> str:
        """Adds a node of metadata; its name."""
        name = f"!{len(self.metadata)}"
        self.metadata.append(f"{name} = {text}")
        return name

    def _store(self, target: ast.expr, value: Any) -> None:
        match target:
            case ast.Name(id=name):
                self._assign(name, value)
            case ast.Tuple(elts=parts):
                if not isinstance(value, tuple) or len(value) != len(parts):
                    raise LoopError(f"not {len(parts)} values")
                for part, its in zip(parts, value, strict=True):
                    self._store(part, its)
            case ast.Subscript():
                array, place = self.here.place(target)
                if isinstance(place, Array):
                    raise LoopError("a whole row is not assigned to")
                stored = llvm_text.to_memory(self.emit, self.here.as_type(value, array.dtype))
                self.emit.line(f"store {stored}, ptr {place}{self.here.group()}")
            case _:
                refused(target)

    def _assign(self, name: str, value: Any) -> None:
        """Gives a name its value; the first scalar that it is given fixes its type."""
        names, single = self.here.names, isinstance(value, Scalar | Number)
        if name not in names:
            if not single:
                names[name] = value
                return
            scalar = self.here.scalar(value)
            names[name] = Slot(scalar.type, self.emit.slot(scalar.type))
        slot = names[name]
        if not single or not isinstance(slot, Slot):  # an address is known before the text runs
            raise LoopError(f"{name!r} is given an array or several values more than once")
        scalar = self.here.as_type(value, slot.type)
        self.emit.line(f"store {LLVM_TYPES[slot.type]} {scalar.text}, ptr {slot.place}")
