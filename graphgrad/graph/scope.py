"""Where a node is being declared: the scope that prefixes its name and the user's line.

The scope is the one thing that declaring code does not pass along by hand. It lives in a context
variable, so threads and tasks do not see each other's, and it is nothing but a label: it never
changes what a node computes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from graphgrad.errors import DeclarationError

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_MODELS = _PACKAGE + "models" + os.sep
_COMMANDS = "graphgrad.tools."
"""The modules of the commands: what they declare themselves has no line of a user's."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The line of the user's code that declared a node."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Place(NamedTuple):
    """The scope in force, and the origin that derived nodes inherit."""

    scope: str = ""
    origin: Origin | None = None


_place = ContextVar("graphgrad_place", default=Place())  # noqa: B039 (a Place is a tuple)


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Prefixes the names of all nodes declared inside: `with scope("encoder.0"): …`."""
    token = _place.set(Place(scoped(name), _place.get().origin))
    try:
        yield
    finally:
        _place.reset(token)


class placed:
    """Declares on behalf of another node, as passes do: absolute scope, inherited origin.

    A class and not a generator, because passes enter it once for every node.
    """

    __slots__ = ("_place", "_token")

    def __init__(self, scope_name: str, origin: Origin | None) -> None:
        self._place = Place(scope_name, origin)

    def __enter__(self) -> None:
        self._token = _place.set(self._place)

    def __exit__(self, *_: object) -> None:
        _place.reset(self._token)


def scoped(name: str) -> str:
    """`name` with the current scope before it."""
    if not isinstance(name, str):
        raise DeclarationError(
            f"a name is a text, not {name!r:.60}", str(current_origin() or ""), "write name='…'"
        )
    prefix = _place.get().scope
    return f"{prefix}.{name}" if prefix else name


@lru_cache(maxsize=1024)
def _is_users(file: str) -> bool:
    return not file.startswith(_PACKAGE) or file.startswith(_MODELS)


def current_origin() -> Origin | None:
    """The inherited origin, or the nearest line up the stack that is not graphgrad's own; None
    where a command declares."""
    inherited = _place.get().origin
    if inherited is not None:
        return inherited
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if frame.f_globals.get("__name__", "").startswith(_COMMANDS):
            return None
        if _is_users(file):
            return Origin(file, frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]
    return None
