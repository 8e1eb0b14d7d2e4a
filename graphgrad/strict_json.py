"""JSON as the package writes and reads it: strictly, so that what is written comes back equal.

It is UTF-8 without a key twice in one object; NaN, infinity and numbers that overflow are refused.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from graphgrad.errors import DataError

_DEPTH = 100  # nesting allowed in JSON that is written


def parse_json(data: bytes) -> Any:
    """The value of the strict JSON text `data`.

    Raises `ValueError` whose text begins with the line, where one can be named.
    """

    def no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            keys = [key for key, _ in pairs]
            raise ValueError(_twice(text, next(key for key in keys if keys.count(key) > 1)))
        return result

    def finite(number: str) -> float:
        value = float(number)
        if not math.isfinite(value):
            raise ValueError(f"{number} is no finite number")
        return value

    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: byte 0x{data[error.start]:02x} is not UTF-8") from None
    try:
        return json.loads(
            text, object_pairs_hook=no_key_twice, parse_float=finite, parse_constant=finite
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _twice(text: str, key: str) -> str:
    places = re.finditer(re.escape(json.dumps(key, ensure_ascii=False)) + r"\s*:", text)
    lines = [text.count("\n", 0, place.start()) + 1 for place in places]
    where = f"lines {', '.join(map(str, lines))}: " if lines else ""
    return f"{where}the key {key!r} stands twice in one object"


def format_json(value: object, name: str, indent: int | None = 2) -> str:
    """Strict JSON text of `value` that `parse_json` reads back as an equal value.

    `name` is how errors call the value. Tuples become lists. Characters beyond ASCII stay
    readable; only text with lone surrogates (a file name that is not UTF-8) is escaped.

    Raises `DataError` that names the part that is no JSON (`details.best is nan`).
    """
    _check_json(value, name, 0)
    text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, ensure_ascii=True, indent=indent, allow_nan=False)
    return text


def _check_json(value: object, name: str, depth: int) -> None:
    if depth > _DEPTH:
        raise DataError(f"{name[:80]}… is nested more than {_DEPTH} deep or holds itself")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise DataError(f"{name} has the key {key!r}: keys in JSON are text", fix="str()")
            _check_json(item, f"{name}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _check_json(item, f"{name}[{number}]", depth + 1)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise DataError(f"{name} is {value}: JSON has no such number", fix="use null or text")
    elif value is not None and not isinstance(value, str | int):
        kind = type(value).__name__
        raise DataError(
            f"{name} is a {kind}, which JSON cannot hold", fix="use plain Python values"
        )
