"""Calls with arguments that a function does not have: one error, with the nearest name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from graphgrad.errors import DeclarationError
from graphgrad.graph.scope import current_origin
from graphgrad.text import suggestion

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def named_arguments(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Makes a DeclarationError of a call that does not fit the signature."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
        try:
            return function(*arguments, **keywords)
        except TypeError:
            wrong = misuse(signature, arguments, keywords)
            if wrong is None:  # a fault of the function itself
                raise
            reason, _, fix = str(wrong).partition("; fix: ")
            raise DeclarationError(
                f"{function.__name__}: {reason}", current_origin(), fix
            ) from None

    return call


def misuse(
    signature: inspect.Signature, arguments: Sequence[Any], keywords: Mapping[str, Any]
) -> ValueError | None:
    """What is wrong with a call, as a shape rule says it (with the fix behind "; fix: "); None
    where the call fits the signature."""
    parameters = signature.parameters
    known = [
        name
        for name, each in parameters.items()
        if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    unknown = [name for name in keywords if name not in known]
    if unknown and not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return ValueError(
            f"there is no argument {unknown[0]!r}; fix: "
            f"{suggestion(unknown[0], known, 'its arguments by name')}"
        )
    try:
        signature.bind(*arguments, **keywords)
    except TypeError as problem:
        return ValueError(f"{problem}; fix: its arguments are {', '.join(parameters)}")
    return None


def node_parameters(signature: inspect.Signature) -> tuple[tuple[str, int], ...]:
    """The parameters that are annotated `Node`, by name and place."""
    parameters = enumerate(signature.parameters.values())
    return tuple((each.name, place) for place, each in parameters if each.annotation == "Node")
