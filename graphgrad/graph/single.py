"""Objects that exist once: a copy of one is itself, and none is sent to another process.

A node is what it is by identity (equal declarations are the same node, leaves are distinct), and so
is an operation; graphs, plans and programs are immutable and hold nodes. A second object that looks
the same would be another value, so `copy` and `deepcopy` give the object itself: a model that holds
nodes and arrays can be deep-copied, and only its arrays are.
"""

from __future__ import annotations

from typing import Any, NoReturn, Self, SupportsIndex

from graphgrad.errors import DeclarationError


class Single:
    """Copied as itself, and not to be pickled."""

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise DeclarationError(
            f"{type(self).__name__} objects cannot be pickled or sent to another process",
            fix="declare and compile the model in each process; what a run learns is its state, "
            "a dictionary of arrays, which can be saved and sent",
        )
