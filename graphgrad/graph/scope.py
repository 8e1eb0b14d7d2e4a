"""The context in which nodes are declared: the scope of their names and the user's line.

The context also holds the float dtype of a model and the parameters that its layers share. It is a
context variable, so it need not be passed along, and threads and tasks do not see each other's. It
has an effect on new declarations only and never changes an existing node.
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
"""The modules of the commands; nodes that they declare have no line in a user's code."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The line of the user's code that declared a node."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Shared:
    """One use of layers that share parameters and states, which have the names of the first use."""

    first: str
    """The scope of the first use."""
    use: str
    """The scope of this use."""
    leaves: dict[str, Any]
    """The leaves declared so far in all uses, by full name."""
    outer: Shared | None
    """The enclosing use, if these layers are declared within other shared layers."""

    def scope_of(self, scope: str) -> str:
        """The scope of the first use that corresponds to a scope of this use."""
        return f"{self.first}{scope[len(self.use) :]}".removeprefix(".")


class Site(NamedTuple):
    """The context of a declaration."""

    scope: str = ""
    origin: Origin | None = None
    """The line that derived nodes inherit."""
    dtype: str = "float32"
    """The dtype of floats that are declared without a dtype."""
    shared: Shared | None = None
    """The shared parameters and states of the current use of layers, if they are shared."""


_OUTSIDE = Site()
_site = ContextVar("graphgrad_site", default=_OUTSIDE)


@contextmanager
def scope(name: str) -> Iterator[None]:
    """A context in which the names of declared nodes get the prefix `name`. Scopes nest.

    >>> with gg.scope("encoder"), gg.scope("layer.0"):
    ...     x = gg.input("x", 3)
    >>> x.name
    'encoder.layer.0.x'
    """
    with _in_force(_site.get()._replace(scope=scoped(name))):
        yield


@contextmanager
def default_dtype(dtype: Any) -> Iterator[None]:
    """A context in which inputs, parameters, states and constants have this float dtype by default.

    `dtype` is float32 or float64; another one raises DeclarationError. It applies to floats that
    are declared inside without `dtype=`, and to nothing else: nodes that are derived or optimised
    later keep the dtypes of the model.

    >>> with gg.default_dtype("float64"):
    ...     w = gg.parameter("w", (3, 2))
    >>> w
    <w = parameter : float64[3, 2]>
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
    """The context of use `number` (from 1) of layers that were declared in `site`.

    Parameters and states that are in `leaves` are reused, new ones are added to it. The other nodes
    of a further use have a scope of their own, `use_2` and so on.
    """
    use = site.scope if number == 1 else f"{site.scope}.use_{number}".removeprefix(".")
    shared = Shared(site.scope, use, leaves, site.shared)
    with _in_force(_site.get()._replace(scope=use, shared=shared)):
        yield


@contextmanager
def in_scope(name: str) -> Iterator[None]:
    """The context of the scope with this full name, independent of the current scope."""
    with _in_force(_site.get()._replace(scope=name)):
        yield


def current_site() -> Site:
    """The current context."""
    return _site.get()


@contextmanager
def _in_force(site: Site) -> Iterator[None]:
    token = _site.set(site)
    try:
        yield
    finally:
        _site.reset(token)


class declared_at:
    """The context in which passes declare nodes for another node: absolute scope, inherited origin.

    A class instead of a generator, because it is faster and passes enter it once for every node.
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
            f"a name is text, not {name!r:.60}", current_origin(), "write name='…'"
        )
    prefix = _site.get().scope
    return f"{prefix}.{name}" if prefix else name


@lru_cache(maxsize=1024)
def _is_users(file: str) -> bool:
    return not file.startswith(_PACKAGE) or file.startswith(_MODELS)


def current_origin() -> Origin | None:
    """The inherited origin, or the nearest line up the stack that is not graphgrad's own.

    None for declarations of a command.
    """
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
