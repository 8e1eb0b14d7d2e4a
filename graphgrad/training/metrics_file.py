"""Stores the metrics of a run: a file of one JSON object per line, to which lines are appended.

Laws:

- The file is strict JSON: NaN and the infinities are written as the texts `"nan"`, `"inf"` and
  `"-inf"`; reading turns them back into floats.
- A line ends with `"sum"`, a checksum of the run's identity and of the record before it, which
  readers do not return: a damaged line, or one of another run, is an error that names file and
  line. Lines of runs without an identity, which older versions made, may lack it.
- A crash can truncate only the last line. Readers skip a truncated line and `mend` removes it.
"""

import math
import os
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from graphgrad.errors import DataError, GraphgradError
from graphgrad.files import append_line, disk_errors, read_file, write_atomically
from graphgrad.strict_json import format_json, parse_json

METRICS = "metrics.jsonl"
_LIMIT = 1 << 31  # bytes: a larger file is damage, not to be read into memory
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_SUM = re.compile(rb', "sum": "([0-9a-f]{8})"}$')

Line = tuple[bytes, dict[str, Any]]
"""The bytes of a line without its break, and its record."""


def append_record(
    path: Path, identity: str, record: Mapping[str, Any], durable: bool = False
) -> None:
    """Appends the record, which has a whole number `step`; see `RunFolder.append_metrics`."""
    plain = _plain(dict(record))
    if type(plain.get("step")) is not int:
        raise DataError("a record of metrics needs a whole number `step`", path.parent)
    if "sum" in plain:
        raise DataError("a record of metrics has no figure called `sum`", path.parent)
    text = format_json(plain, "metrics", indent=None)
    append_line(path, f'{text[:-1]}, "sum": "{_sum(identity, text.encode())}"}}', durable)


def read_lines(path: Path, identity: str) -> list[Line]:
    """Every complete line, in the order of writing; none if there is no file.

    Raises `DataError` with file and line of an unreadable one, except for a truncated last one.
    """
    if not os.path.lexists(path):
        return []
    with disk_errors(path, "read"):
        *whole, last = read_file(path, _LIMIT).split(b"\n")
    result = [(line, _record(line, path, number, identity)) for number, line in enumerate(whole, 1)]
    with suppress(GraphgradError):  # truncated by a crash, or being written at this moment
        result.append((last, _record(last, path, len(whole) + 1, identity)))
    return result


def drop_records(path: Path, identity: str, after_step: int) -> int:
    """Removes the records of later steps, atomically; the other lines keep every byte."""
    lines = read_lines(path, identity)
    kept = [line for line, record in lines if record["step"] <= after_step]
    if len(kept) < len(lines):
        _write(path, kept)
    return len(lines) - len(kept)


def mend(path: Path, identity: str) -> None:
    """Removes a truncated last line, or adds the line break that a complete one lacks."""
    if not os.path.lexists(path):
        return
    with disk_errors(path, "read"):
        torn = not read_file(path, _LIMIT).endswith(b"\n")
    if torn:
        _write(path, [line for line, _ in read_lines(path, identity)])


def gap_before(lines: list[Line], step: int) -> str:
    """Which of the steps 1 to `step` have no record, as text; empty if none is missing."""
    missing = sorted(set(range(1, step + 1)) - {record["step"] for _, record in lines})
    if not missing:
        return ""
    some = f"{missing[0]} to {missing[-1]}" if len(missing) > 1 else f"{missing[0]}"
    whole = missing[-1] - missing[0] + 1 == len(missing)
    return f"steps {some}" if whole else f"{len(missing):,} of the steps {some}"


def _write(path: Path, lines: list[bytes]) -> None:
    write_atomically(path, b"".join(line + b"\n" for line in lines), follow=False)


def _sum(identity: str, text: bytes) -> str:
    return f"{zlib.crc32(identity.encode() + text):08x}"


def _record(line: bytes, path: Path, number: int, identity: str) -> dict[str, Any]:
    where, fix = f"{path}, line {number}", "delete that line"
    found = _SUM.search(line)
    text = line[: found.start()] + b"}" if found else line
    try:
        record = parse_json(text)
    except ValueError as error:
        reason = re.sub(r"^line 1, ", "", str(error))
        raise DataError(f"a line of {METRICS} is not JSON: {reason}", where, fix) from error
    if not isinstance(record, dict) or type(record.get("step")) is not int:
        raise DataError(f"a line of {METRICS} is not a record with a `step`", where, fix)
    if (found is None and identity) or (found and found[1].decode() != _sum(identity, text)):
        problem = f"a line of {METRICS} was altered or is of another run: its sum does not match"
        raise DataError(problem, where, fix)
    return {key: _restored(value) for key, value in record.items()}


def _plain(value: Any) -> Any:
    """`value` with NumPy numbers as Python's and non-finite floats as their names."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _restored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_restored(item) for item in value]
    return _NON_FINITE.get(value, value) if isinstance(value, str) else value
