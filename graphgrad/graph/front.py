"""Functions that check their arguments before they declare nodes.

A front is a public function such as `sum(x, axis)`. A parameter that is annotated `Node` takes what
an operator takes: a number or an array becomes a constant of its own dtype, a size becomes a
number. (A parameter that stands beside nodes and takes their dtype is an `Operand`, and left to the
operation.) What the function refuses with a ValueError, as a shape rule does, reaches the user as a
DeclarationError that names the function, the nodes given to it and the user's line.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

from graphgrad.graph.node import Node, as_node, refused

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def front(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Marks such a function."""
    parameters = inspect.signature(function).parameters
    nodes = {name: place for place, name in enumerate(parameters)
             if parameters[name].annotation == "Node"}  # fmt: skip
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
            heads = [item for each in (*given, *named.values()) for item in _listed(each)]
            shown = [item for item in heads if isinstance(item, Node)]
            raise refused(function.__name__, shown, problem) from None

    return declare


def _listed(argument: Any) -> Iterable[Any]:
    return argument if isinstance(argument, list | tuple) else [argument]
