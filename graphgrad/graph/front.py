"""Functions that check their arguments before they declare nodes, and operations made of them.

A front is a public function on nodes. One that declares several, as `stack(values, axis)`, stays a
function; one that declares a node of its own operation, as `softmax(x, axis)`, becomes that
operation by `@operation(…)`.

A parameter that is annotated `Node` takes what an operator takes: a number or an array becomes a
constant of its own dtype, a size becomes a number. (A parameter that stands beside nodes and takes
their dtype is an `Operand`, and left to the operation.) What the function refuses with a
ValueError, as a shape rule does, reaches the user as a DeclarationError that names the function,
the nodes given to it and the user's line, and so does a call with arguments that it does not have.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from graphgrad.graph.arguments import node_parameters
from graphgrad.graph.block import Block
from graphgrad.graph.manual import example_text, formulas
from graphgrad.graph.node import Delta, Node, TypedOperation, refusal, with_nodes
from graphgrad.graph.samples import Sample
from graphgrad.graph.types import TensorType

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def front(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Marks such a function."""
    signature = inspect.signature(function)
    name, operands = function.__name__, node_parameters(signature)
    call: Callable[..., Result] = function

    @functools.wraps(function)
    def declare(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
        given, named = with_nodes(name, operands, arguments, keywords)
        try:
            return call(*given, **named)
        except (TypeError, ValueError) as problem:
            error = refusal(name, signature, given, named, problem)
            if error is None:
                raise
            raise error from None

    return declare


def with_example(
    call: str, result: str, block: Block | None = None
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Marks a front, and adds to its documentation an example: a call on x, of shape [3, 4], with
    the type that it gives. Before it stands what the block of the operation behind it says."""

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        described = [formulas(block)] if block is not None else []
        parts = [inspect.getdoc(function) or "", *described, example_text(call, result)]
        function.__doc__ = "\n\n".join(parts)
        return front(function)

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
    one_dtype: bool = True,
    samples: tuple[Sample, ...] = (),
    example: tuple[str, str] | None = None,
) -> Callable[[Callable[Parameters, Node]], TypedOperation[Parameters]]:
    """Makes an operation of the function that declares it; its fields are those of `Operation`.

    The function checks its arguments and declares the node by `name.node(…)`, where `name` is its
    own.
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
            one_dtype=one_dtype,
            declare=function,
            example=example,
        )

    return decorate
