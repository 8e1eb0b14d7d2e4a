"""Where a node is being declared: the scope that prefixes its name and the user's line.

The scope is what declaring code does not pass along by hand, and with it go the float dtype of a
model and the parameters that its layers share. It lives in a context variable, so threads and tasks
do not see each other's. It decides what is declared, and never changes a node that is there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from graphgrad.errors import DeclarationError

FLOATS = ("float32", "float64")

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


@dataclass(frozen=True)
class Shared:
    """One use of layers that share parameters and states, which are named as of the first use."""

    first: str
    """The scope of the first use."""
    use: str
    """The scope of this use."""
    leaves: dict[str, Any]
    """What was declared so far in all uses, by full name."""
    outer: Shared | None
    """Where these layers were declared in a use of others."""

    def scope_of(self, scope: str) -> str:
        """What was called by this scope of this use in the first one."""
        return f"{self.first}{scope[len(self.use) :]}".removeprefix(".")


class Site(NamedTuple):
    """What is in force where a node is declared."""

    scope: str = ""
    origin: Origin | None = None
    """The line that derived nodes inherit."""
    dtype: str = "float32"
    """The dtype of floats that are declared without one."""
    shared: Shared | None = None
    """Where layers share parameters and states: those declared so far."""


_site = ContextVar("graphgrad_site", default=Site())  # noqa: B039 (a Site is a tuple)


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Prefixes the names of all nodes declared inside: `with scope("encoder.0"): …`."""
    with _in_force(_site.get()._replace(scope=scoped(name))):
        yield


@contextmanager
def default_dtype(dtype: Any) -> Iterator[None]:
    """Gives inputs, parameters, states and constants this dtype, where they are not given another.

        with gg.default_dtype("float64"):
            graph = my_model()

    It holds for floats that are declared inside, without `dtype=`, and for nothing else: what is
    derived or optimised later keeps the dtypes that the model has.
    """
    try:
        name = str(np.dtype("none" if dtype is None else dtype))  # NumPy takes None for float64
    except TypeError:
        name = ""
    if name not in FLOATS:
        raise DeclarationError(
            f"the dtype of a model is one of {', '.join(FLOATS)}, not {dtype!r:.60}",
            current_origin(),
        )
    with _in_force(_site.get()._replace(dtype=name)):
        yield


@contextmanager
def sharing(site: Site, leaves: dict[str, Any], number: int) -> Iterator[None]:
    """Use `number` (from 1) of layers that were declared in `site`: parameters and states that are
    among `leaves` are those, and others become part of them. Other nodes of a further use have a
    scope of their own, `use_2` and so on."""
    use = site.scope if number == 1 else f"{site.scope}.use_{number}".removeprefix(".")
    shared = Shared(site.scope, use, leaves, site.shared)
    with _in_force(_site.get()._replace(scope=use, shared=shared)):
        yield


@contextmanager
def in_scope(name: str) -> Iterator[None]:
    """Declares in the scope of this full name, whatever scope is in force."""
    with _in_force(_site.get()._replace(scope=name)):
        yield


def current_site() -> Site:
    """What is in force."""
    return _site.get()


@contextmanager
def _in_force(site: Site) -> Iterator[None]:
    token = _site.set(site)
    try:
        yield
    finally:
        _site.reset(token)


class placed:
    """Declares on behalf of another node, as passes do: absolute scope, inherited origin.

    A class and not a generator, because passes enter it once for every node.
    """

    __slots__ = ("_site", "_token")

    def __init__(self, scope_name: str, origin: Origin | None) -> None:
        self._site = Site(scope_name, origin)

    def __enter__(self) -> None:
        self._token = _site.set(self._site)

    def __exit__(self, *_: object) -> None:
        _site.reset(self._token)


def scoped(name: str) -> str:
    """`name` with the current scope before it."""
    if not isinstance(name, str):
        raise DeclarationError(
            f"a name is a text, not {name!r:.60}", current_origin(), "write name='…'"
        )
    prefix = _site.get().scope
    return f"{prefix}.{name}" if prefix else name


@lru_cache(maxsize=1024)
def _is_users(file: str) -> bool:
    return not file.startswith(_PACKAGE) or file.startswith(_MODELS)


def current_origin() -> Origin | None:
    """The inherited origin, or the nearest line up the stack that is not graphgrad's own; None
    where a command declares."""
    inherited = _site.get().origin
    if inherited is not None:
        return inherited
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if frame.f_globals.get("__name__", "").startswith(_COMMANDS):
            return None
        if _is_users(file):
            return Origin(file, frame.f_lineno)
        frame = frame.f_back
    return None
