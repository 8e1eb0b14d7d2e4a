"""The metrics of a run on disk: one JSON object a line, appended.

Laws:

- The file is strict JSON: NaN and the infinities stand as the texts ``"nan"``, ``"inf"`` and
  ``"-inf"``, which reading turns back into floats.
- A line ends with ``"sum"``, a checksum of the run's identity and of the record before it, which
  reading leaves out: a damaged line, or one of another run, is an error that names file and line.
  Runs from before there was an identity may have lines without it.
- A crash can tear only the last line. Readers pass over a torn line and ``mend`` removes it.
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
    """Appends the record, which has a whole number ``step``; see ``RunFolder.append_metrics``."""
    plain = _plain(dict(record))
    if type(plain.get("step")) is not int:
        raise DataError("a record of metrics needs a whole number `step`", path.parent)
    if "sum" in plain:
        raise DataError("a record of metrics has no figure called `sum`", path.parent)
    text = format_json(plain, "metrics", indent=None)
    append_line(path, f'{text[:-1]}, "sum": "{_sum(identity, text.encode())}"}}', durable)


def read_lines(path: Path, identity: str) -> list[Line]:
    """Every whole line, in the order of writing; none where there is no file.

    Raises ``DataError`` that names the file and line of any unreadable one but a torn last.
    """
    if not os.path.lexists(path):
        return []
    with disk_errors(path, "read"):
        *whole, last = read_file(path, _LIMIT).split(b"\n")
    result = [(line, _record(line, path, place, identity)) for place, line in enumerate(whole, 1)]
    with suppress(GraphgradError):  # torn by a crash, or being written at this moment
        result.append((last, _record(last, path, len(whole) + 1, identity)))
    return result


def drop_records(path: Path, identity: str, after_step: int) -> int:
    """Drops the records of a later step, at once; the lines that stay keep every byte."""
    lines = read_lines(path, identity)
    kept = [line for line, record in lines if record["step"] <= after_step]
    if len(kept) < len(lines):
        _write(path, kept)
    return len(lines) - len(kept)


def mend(path: Path, identity: str) -> None:
    """Removes a torn last line, and gives a whole one the line break that it lacks."""
    if not os.path.lexists(path):
        return
    with disk_errors(path, "read"):
        torn = not read_file(path, _LIMIT).endswith(b"\n")
    if torn:
        _write(path, [line for line, _ in read_lines(path, identity)])


def gap_before(lines: list[Line], step: int) -> str:
    """Which of the steps 1 to ``step`` have no record, in words; empty where none is missing."""
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
        raise DataError(f"a line of {METRICS} is no JSON: {reason}", where, fix) from error
    if not isinstance(record, dict) or type(record.get("step")) is not int:
        raise DataError(f"a line of {METRICS} is no record with a `step`", where, fix)
    if (found is None and identity) or (found and found[1].decode() != _sum(identity, text)):
        problem = f"a line of {METRICS} was altered or is of another run: its sum does not fit"
        raise DataError(problem, where, fix)
    return {key: _restored(value) for key, value in record.items()}


def _plain(value: Any) -> Any:
    """``value`` with NumPy numbers as Python's and non-finite floats as their names."""
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
