"""Objects that are never duplicated: a copy is the object itself, and pickling is an error.

Nodes and operations are compared by identity (equal declarations are the same node, leaves are
distinct); graphs, plans and programs are immutable and hold nodes. A duplicate would be a different
value, so `copy` and `deepcopy` return the object itself: in a deep copy of a model that holds nodes
and arrays, only the arrays are new.
"""

from __future__ import annotations

from typing import Any, NoReturn, Self, SupportsIndex

from graphgrad.errors import DeclarationError


class Single:
    """A base class of objects that are copied as themselves and cannot be pickled."""

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise DeclarationError(
            f"{type(self).__name__} objects cannot be pickled or sent to another process",
            fix="declare and compile the model in each process; its state, a dictionary of arrays, "
            "can be saved and sent",
        )
