"""What tells the attributes of one node from those of another in hash-consing."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

_FLOATS = (float, np.floating)


def attribute_key(attributes: Mapping[str, Any]) -> Hashable:
    """Equal for the same attributes with the same values, whatever their order."""
    if not attributes:
        return ()
    return tuple([(name, _value_key(attributes[name])) for name in sorted(attributes)])


def _value_key(value: Any) -> Hashable:
    """A key under which 1, 1.0 and True differ, and 0.0 and -0.0, unlike Python's equality."""
    kind = type(value)
    if kind is int or kind is bool:
        return kind, value
    if isinstance(value, tuple):
        return tuple, tuple(map(_value_key, value))
    if isinstance(value, _FLOATS):
        return kind, float(value).hex()
    return kind, value
