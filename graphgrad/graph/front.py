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
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

from graphgrad.graph.arguments import misuse
from graphgrad.graph.manual import example_text
from graphgrad.graph.node import Delta, Node, TypedOperation, as_node, refused
from graphgrad.graph.samples import Sample
from graphgrad.graph.types import TensorType

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def front(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Marks such a function."""
    signature = inspect.signature(function)
    nodes = {
        name: place
        for place, name in enumerate(signature.parameters)
        if signature.parameters[name].annotation == "Node"
    }
    call: Callable[..., Result] = function

    @functools.wraps(function)
    def declare(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
        given: list[Any] = list(arguments)
        named: dict[str, Any] = dict(keywords)
        for name, place in nodes.items():
            if place < len(given):
                if not isinstance(given[place], Node):
                    given[place] = as_node(given[place], function.__name__)
            elif name in named:
                named[name] = as_node(named[name], function.__name__)
        try:
            return call(*given, **named)
        except ValueError as problem:
            raise refused(function.__name__, _nodes(given, named), problem) from None
        except TypeError:
            wrong = misuse(signature, given, named)
            if wrong is None:  # a fault of the function itself
                raise
            raise refused(function.__name__, _nodes(given, named), wrong) from None

    return declare


def with_example(
    call: str, result: str
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Marks a front, and adds an example to its documentation: a call on x, of shape [3, 4], with
    the type that it gives."""

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        function.__doc__ = f"{inspect.getdoc(function)}\n\n{example_text(call, result)}"
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

    The function is a front: it checks its arguments and declares the node by `name.node(…)`, where
    `name` is its own.
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
            declare=front(function),
            example=example,
        )

    return decorate


def _nodes(given: Iterable[Any], named: dict[str, Any]) -> list[Node]:
    """The nodes among the arguments, which a message shows."""
    heads = [item for each in (*given, *named.values()) for item in _listed(each)]
    return [item for item in heads if isinstance(item, Node)]


def _listed(argument: Any) -> Iterable[Any]:
    return argument if isinstance(argument, list | tuple) else [argument]
