"""Computes the key by which hash-consing compares the attributes of nodes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

_FLOATS = (float, np.floating)


def attribute_key(attributes: Mapping[str, Any]) -> Hashable:
    """The key of some attributes: equal for equal names and values in any order."""
    if not attributes:
        return ()
    return tuple([(name, _value_key(attributes[name])) for name in sorted(attributes)])


def _value_key(value: Any) -> Hashable:
    """The key of a value. 1, 1.0 and True differ, and so do 0.0 and -0.0, unlike in Python."""
    kind = type(value)
    if kind is int or kind is bool:
        return kind, value
    if isinstance(value, tuple):
        return tuple, tuple(map(_value_key, value))
    if isinstance(value, _FLOATS):
        return kind, float(value).hex()
    return kind, value
