"""Decorators of functions that declare nodes: `@declares`, `@with_example`, `@operation`.

A public function that declares several nodes, as `stack(values, axis)`, is marked by `@declares`.
One that declares a node of its own operation, as `softmax(x, axis)`, becomes that operation by
`@operation(…)`.

An argument of a parameter annotated `Node` is converted as an operand of an operator is: a number
or an array becomes a constant of its own dtype, a size becomes a number. (An `Operand` has the
dtype of the nodes beside it and is converted by the operation.) A ValueError of the function, as of
a shape rule, is turned into a DeclarationError that names the function, its nodes and the user's
line, and so is a call that does not fit the signature.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from graphgrad.graph.arguments import node_parameters
from graphgrad.graph.block import Block
from graphgrad.graph.help_text import example_text, formulas
from graphgrad.graph.node import Delta, Node, TypedOperation, call_error, with_nodes
from graphgrad.graph.samples import Sample
from graphgrad.graph.types import TensorType

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def declares(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Converts the arguments of `function` to nodes, and turns a ValueError raised in it into a
    DeclarationError with the user's line."""
    signature = inspect.signature(function)
    name, operands = function.__name__, node_parameters(signature)
    call: Callable[..., Result] = function

    @functools.wraps(function)
    def declare(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
        given, named = with_nodes(name, operands, arguments, keywords)
        try:
            return call(*given, **named)
        except (TypeError, ValueError) as problem:
            error = call_error(name, signature, given, named, problem)
            if error is None:
                raise
            raise error from None

    return declare


def with_example(
    call: str, result: str, block: Block | None = None
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """`@declares`, and adds an example to the docstring: a call on x, of shape [3, 4], and the type
    of its result. The formulas of a `block`, if given, precede the example."""

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        described = [formulas(block)] if block is not None else []
        parts = [inspect.getdoc(function) or "", *described, example_text(call, result)]
        function.__doc__ = "\n\n".join(parts)
        return declares(function)

    return decorate


def operation(
    *,
    infer: Callable[..., TensorType],
    formula: str,
    kernel: str = "",
    compute: Callable[..., object] | None = None,
    arity: int | None = None,
    delta: Delta | None = None,
    delta_formula: str = "",
    view: Callable[..., Any] | None = None,
    scratch: Callable[..., tuple[TensorType, ...]] | None = None,
    in_place: bool = False,
    collective: bool = False,
    reads: int | None = None,
    takes_halves: bool = False,
    one_dtype: bool = True,
    samples: tuple[Sample, ...] = (),
    example: tuple[str, str] | None = None,
) -> Callable[[Callable[Parameters, Node]], TypedOperation[Parameters]]:
    """Makes the function that declares a node its operation; the fields are those of `Operation`.

    The function checks its arguments and declares the node by `name.node(…)`, with its own name.
    """

    def decorate(function: Callable[Parameters, Node]) -> TypedOperation[Parameters]:
        return TypedOperation(
            function.__name__,
            infer,
            formula,
            compute,
            delta,
            delta_formula,
            samples,
            arity,
            kernel=kernel,
            view=view,
            scratch=scratch,
            in_place=in_place,
            collective=collective,
            reads=reads,
            takes_halves=takes_halves,
            one_dtype=one_dtype,
            declare=function,
            example=example,
        )

    return decorate
