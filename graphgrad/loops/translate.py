"""Translates functions of the loop language to LLVM IR.

The NumPy backend generates kernels in this language (backends/numpy/loop_text.py), and the library
holds functions that are written in it by hand, whose source is read here. So a kernel stays text
that people can read and that Python itself can run (language.py). This file translates statements,
expressions.py expressions, and operations.py operations on numbers; machine_code.py then compiles
the IR. The guide's page `loop_language` has the grammar.

Numba does this for all of Python, and took ten times as long: a second for a kernel that LLVM
compiles in a few hundredths, for type inference, copies of the program and reference counting. Here
a variable's type is known from its first assignment, and a called function is inlined.

- A scalar has one of the types of `LLVM_TYPES`. The operands of an operation have equal types;
  there are no implicit conversions. A literal takes the type of the other operand.
- An array is an address with sizes: `array(address, float32, rows, columns)`. One index of two
  selects a row. `empty(columns, float32)` allocates memory, which is freed when the function ends.
- `for i in range(…)` runs in order. `for i in independent(n)` promises that no iteration reads what
  another one writes: LLVM may vectorise it without a test for overlapping arrays.
- A function of the library is inlined where it is called; a large one may be declared separate, and
  is then called.
- `a if c else b`, `and` and `or` compute both sides; `return` is the last statement of a function.
- Not checked: division by zero, shift width, array bounds.
- A name refers to a parameter, a variable, a numeric constant of the function's module, or a
  function of the library that the text is translated with.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from graphgrad.loops import operations
from graphgrad.loops.expressions import (
    Array,
    Expressions,
    Symbol,
    Variable,
    definition_of,
    reject,
    symbols_of,
)
from graphgrad.loops.language import Function
from graphgrad.loops.llvm_text import LLVM_TYPES, SCALAR_TYPES, Literal, LoopError, Scalar

_DEEPEST = 20
"""The deepest nesting of inlined calls; more means recursion, which the language does not have."""


def translate(
    definition: ast.FunctionDef,
    name: str,
    library: Mapping[str, Symbol],
    types: Mapping[str, str] | None = None,
    flags: tuple[str, ...] = (),
) -> str:
    """The LLVM text of a function with external linkage, called `name`.

    Its parameters and its result, if it has one, are annotated scalars. It may use the functions
    and constants of `library`; `types` gives the type for each type variable. Raises `LoopError`,
    with the line, for Python that the language does not have.
    """
    return _Translator(library, types or {}).function(definition, name, flags)


def translate_function(function: Function, name: str, types: Mapping[str, str]) -> str:
    """The LLVM text of a function of the library, which may use the names of its module."""
    if function.generated is not None:
        return function.generated(name)
    definition = definition_of(function)
    return translate(definition, name, symbols_of(function), types, function.flags)


class _Translator:
    def __init__(self, library: Mapping[str, Symbol], types: Mapping[str, str]) -> None:
        self.expressions = Expressions(library, types, self._inlined)
        self.builder = self.expressions.builder
        self.metadata: list[str] = []
        self.calls = 0

    def function(self, definition: ast.FunctionDef, name: str, flags: tuple[str, ...]) -> str:
        """The LLVM text of the function."""
        self.builder.flags = flags
        parameters = []
        for argument in definition.args.args:
            type_ = self.expressions.passed_type(argument.annotation)
            parameters.append(f"{LLVM_TYPES[type_]} %{argument.arg}")
            self._assign(argument.arg, Scalar(type_, f"%{argument.arg}"))
        result = self._body(definition.body)
        for pointer in self.expressions.to_free:
            self.builder.add(f"call void @free(ptr {pointer})")
        kind, value = "void", ""
        if definition.returns is not None:
            scalar = self.expressions.as_type(
                result, self.expressions.passed_type(definition.returns)
            )
            kind, value = LLVM_TYPES[scalar.type], f" {scalar.text}"
        elif result is not None:
            raise LoopError(f"{definition.name} returns a value, but its type is not annotated")
        self.builder.add(f"ret {kind}{value}")
        whole = "zeroext " if kind == "i1" else ""  # in C a bool is a whole byte
        head = f"define {whole}{kind} @{name}({', '.join(parameters)})"
        return self.builder.module(head, self.metadata)

    def _inlined(self, function: Function, arguments: list[Any]) -> Any:
        """Inlines the call of a function of the library; returns its result."""
        definition = definition_of(function)
        parameters = definition.args.args
        if len(parameters) != len(arguments):
            raise LoopError(
                f"{function.name} takes {len(parameters)} arguments, not {len(arguments)}"
            )
        if function.separate:
            return self._called(function, arguments)
        self.calls += 1
        if self.calls > _DEEPEST:
            raise LoopError(f"{function.name} calls itself")
        before = self.expressions.names, self.expressions.library, self.builder.flags
        self.expressions.names, self.expressions.library = {}, symbols_of(function)
        self.builder.flags = function.flags
        for parameter, value in zip(parameters, arguments, strict=True):
            if parameter.annotation is not None:
                value = self.expressions.as_type(
                    value, self.expressions.type_named(parameter.annotation)
                )
            self._assign(parameter.arg, value)
        result = self._body(definition.body)
        self.expressions.names, self.expressions.library, self.builder.flags = before
        self.calls -= 1
        return result

    def _called(self, function: Function, arguments: list[Any]) -> None:
        """Calls a separate function."""
        kinds, given = [], []
        for parameter, value in zip(definition_of(function).args.args, arguments, strict=True):
            type_ = self.expressions.passed_type(parameter.annotation)
            kinds.append(LLVM_TYPES[type_])
            given.append(f"{LLVM_TYPES[type_]} {self.expressions.as_type(value, type_).text}")
        self.builder.declare(f"declare void @{function.symbol}({', '.join(kinds)})")
        self.builder.add(f"call void @{function.symbol}({', '.join(given)})")

    def _body(self, statements: Sequence[ast.stmt]) -> Any:
        """Translates the statements of a function; returns its result."""
        *others, last = statements
        self._statements(others)
        if isinstance(last, ast.Return):
            return None if last.value is None else self.expressions.value(last.value)
        self._statements([last])
        return None

    def _statements(self, statements: Sequence[ast.stmt]) -> None:
        for statement in statements:
            try:
                self._statement(statement)
            except LoopError as error:
                raise error.at(statement) from None
            except (ArithmeticError, IndexError, TypeError, ValueError) as error:
                raise LoopError(f"the statement cannot be translated: {error}").at(
                    statement
                ) from error

    def _statement(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Pass() | ast.Expr(value=ast.Constant()):  # a docstring is an expression, too
                return
            case ast.Expr(value=expression):
                self.expressions.value(expression)
            case ast.Assign(targets=[target], value=expression):
                self._store(target, self.expressions.value(expression))
            case ast.AugAssign(target=target, op=operator, value=expression):
                old, value = self.expressions.value(target), self.expressions.value(expression)
                self._store(target, self.expressions.arithmetic(operator, old, value))
            case ast.If():
                self._if(statement)
            case ast.While(orelse=[]):
                self._while(statement)
            case ast.For(
                iter=ast.Call(func=ast.Name()) as iterations, target=ast.Name(id=name), orelse=[]
            ):
                self._for(iterations, name, statement.body)
            case _:
                reject(statement)

    def _if(self, statement: ast.If) -> None:
        condition = self.expressions.condition(statement.test)
        then, otherwise, end = (self.builder.new_label(part) for part in ("then", "else", "end"))
        self.builder.add(f"br i1 {condition}, label %{then}, label %{otherwise}")
        for label, body in ((then, statement.body), (otherwise, statement.orelse)):
            self.builder.start_block(label)
            self._statements(body)
            self.builder.add(f"br label %{end}")
        self.builder.start_block(end)

    def _while(self, statement: ast.While) -> None:
        test, body, end = (self.builder.new_label(part) for part in ("test", "body", "end"))
        self.builder.add(f"br label %{test}")
        self.builder.start_block(test)
        condition = self.expressions.condition(statement.test)
        self.builder.add(f"br i1 {condition}, label %{body}, label %{end}")
        self.builder.start_block(body)
        self._loop_body(statement.body)
        self.builder.add(f"br label %{test}")
        self.builder.start_block(end)

    def _for(self, iterations: ast.Call, name: str, body: Sequence[ast.stmt]) -> None:
        assert isinstance(iterations.func, ast.Name)
        independent = iterations.func.id == "independent"
        if not independent and iterations.func.id != "range":
            raise LoopError("a loop must be over range(…) or independent(…)")
        start, stop, step = self._bounds(iterations)
        counter = self.builder.alloca("int64")
        self.builder.add(f"store i64 {start}, ptr {counter}")
        test, inside, end = (self.builder.new_label(part) for part in ("test", "body", "end"))
        self.builder.add(f"br label %{test}")
        self.builder.start_block(test)
        now = self.builder.assign(f"load i64, ptr {counter}")
        going = self.builder.assign(f"icmp slt i64 {now}, {stop}")
        self.builder.add(f"br i1 {going}, label %{inside}, label %{end}")
        self.builder.start_block(inside)
        metadata = self._loop_metadata(independent, isinstance(iterations.args[-1], ast.Constant))
        self._assign(name, Scalar("int64", now))
        self._loop_body(body)
        following = self.builder.assign(f"add nsw i64 {now}, {step}")
        self.builder.add(f"store i64 {following}, ptr {counter}")
        self.builder.add(f"br label %{test}{metadata}")
        if independent:
            self.expressions.groups.pop()
        self.builder.start_block(end)

    def _bounds(self, iterations: ast.Call) -> tuple[str, str, str]:
        bounds = [
            self.expressions.as_type(self.expressions.value(one), "int64").text
            for one in iterations.args
        ]
        match bounds:
            case [stop]:
                return "0", stop, "1"
            case [start, stop]:
                return start, stop, "1"
            case [start, stop, step] if not step.startswith(("-", "0")):
                return start, stop, step
        raise LoopError("a range has one to three arguments, and a positive step")

    def _loop_body(self, body: Sequence[ast.stmt]) -> None:
        """Translates the body of a loop."""
        self.expressions.depth += 1
        self._statements(body)
        self.expressions.depth -= 1

    def _loop_metadata(self, independent: bool, counted: bool) -> str:
        """The metadata of a loop, attached to the branch at its end.

        The loads and stores of an independent loop form an access group, whose members may be
        reordered. Only a loop with a constant number of iterations is unrolled: LLVM would unroll a
        short row before it considers to vectorise it.
        """
        properties: list[str] = []
        if independent:
            group = self._metadata("distinct !{}")
            properties.append(self._metadata(f'!{{!"llvm.loop.parallel_accesses", {group}}}'))
            self.expressions.groups.append(group)
        if not counted:
            properties.append(self._metadata('!{!"llvm.loop.unroll.disable"}'))
        if not properties:
            return ""
        itself = f"!{len(self.metadata)}"
        loop = self._metadata(f"distinct !{{{', '.join([itself, *properties])}}}")
        return f", !llvm.loop {loop}"

    def _metadata(self, text: str) -> str:
        """Adds a metadata node; returns its name."""
        name = f"!{len(self.metadata)}"
        self.metadata.append(f"{name} = {text}")
        return name

    def _store(self, target: ast.expr, value: Any) -> None:
        match target:
            case ast.Name(id=name):
                self._assign(name, value)
            case ast.Tuple(elts=parts):
                if not isinstance(value, tuple) or len(value) != len(parts):
                    raise LoopError(f"{len(parts)} names are assigned, but not {len(parts)} values")
                for part, its in zip(parts, value, strict=True):
                    self._store(part, its)
            case ast.Subscript():
                array, pointer = self.expressions.element_pointer(target)
                if isinstance(pointer, Array):
                    raise LoopError("a whole row cannot be assigned to")
                stored = operations.to_memory(
                    self.builder, self.expressions.as_type(value, array.dtype)
                )
                self.builder.add(f"store {stored}, ptr {pointer}{self.expressions.access_group()}")
            case _:
                reject(target)

    def _assign(self, name: str, value: Any) -> None:
        """Assigns a value to a name; the first scalar assigned determines the variable's type."""
        names, single = self.expressions.names, isinstance(value, Scalar | Literal)
        if name not in names:
            if not single:
                names[name] = value
                return
            scalar = self.expressions.scalar(value)
            names[name] = Variable(scalar.type, self.builder.alloca(scalar.type))
        variable = names[name]
        if not single or not isinstance(
            variable, Variable
        ):  # the address of an array is a constant of the text
            raise LoopError(f"{name!r} is assigned an array or a tuple more than once")
        scalar = self.expressions.as_type(value, variable.type)
        self.builder.add(
            f"store {SCALAR_TYPES[variable.type]} {scalar.text}, ptr {variable.pointer}"
        )
