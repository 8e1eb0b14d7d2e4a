"""The history of a run on disk: figures of nodes over the steps, in one file that only grows.

::

    history.bin     one line of JSON, padded to 8 bytes: format, version, run, names, statistics,
                    deltas (of which node each name is the delta, where it is one), and a checksum
                    one record after the other: step, checksum, float64 [names, statistics]

The design decision: records have a fixed size and are appended by one write, so the file is read
as one array and a crash can tear only its end.

Laws:

- The file is bounded. When there are more than ``RECORDS`` (or ``BYTES``) for a step in every
  ``every``, only steps divisible by twice as much are kept, and recorded from then on; the first
  step stays. Which steps are kept follows from the last step alone, so a run that was interrupted
  has, as soon as it has come as far, the same history as one that was not.
- What a resumed run gave up is removed before it goes on, by cutting the end off.
- Other columns than before (another pattern, a changed model) join those that are there; figures
  that were not recorded are NaN.
- Nothing is believed unchecked: a damaged record that is not the torn last one is an error, and so
  is the history of another run.
"""

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphgrad.errors import DataError
from graphgrad.files import append_bytes, disk_errors, read_file, write_atomically
from graphgrad.graph.deltas import recorded_by_name
from graphgrad.strict_json import format_json, parse_json

HISTORY = "history.bin"
FORMAT = "graphgrad history"
VERSION = 3
RECORDS = 1000
"""How many steps are kept at most, beside the first."""
BYTES = 64 << 20
"""How many bytes they take at most, where that is less."""

_LIMIT = 1 << 30  # bytes: a larger file is damage, not to be read into memory
_FEWEST = 20  # steps that are kept however large a record is
_LAST_STEP = 0xFFFFFFFF
_FIX = "delete the file; the run goes on without the figures of its earlier steps"


@dataclass(frozen=True)
class Records:
    """What a file holds: ``values`` is float64 [steps, names, statistics]."""

    names: tuple[str, ...]
    statistics: tuple[str, ...]
    steps: np.ndarray
    values: np.ndarray
    size: int
    """Bytes of the header and all whole records."""
    deltas: Mapping[str, str]
    """Of each name that is a delta's, the name of its node."""


def read_records(path: Path, run: str = "") -> Records:
    """All whole records of the file, which is that of ``run``; none where it does not exist.

    Raises ``DataError`` that names the damaged part, ``EnvironmentLimitError``.
    """
    if not os.path.lexists(path):
        return Records((), (), np.empty(0, np.int64), np.empty((0, 0, 0)), 0, {})
    with disk_errors(path, "read"):
        data = read_file(path, _LIMIT)
    names, statistics, deltas, start = _read_header(data, path, run)
    form = _form(len(names), len(statistics))
    count = (len(data) - start) // form.itemsize
    records = np.frombuffer(data, form, count, start)
    bad = [place for place in range(count) if _checksum(records[place]) != records[place]["sum"]]
    if bad == [count - 1]:  # torn by a crash, or being written at this moment
        records = records[:-1]
    elif bad:
        raise DataError(f"record {bad[0] + 1} of {path.name} is damaged", path, _FIX)
    steps = records["step"].astype(np.int64)
    if np.any(np.diff(steps) <= 0) or np.any(
        steps[-1:] > _LAST_STEP
    ):  # of a step 32 bits are summed
        raise DataError(f"the steps of {path.name} are not in order", path, _FIX)
    size = start + len(records) * form.itemsize
    return Records(names, statistics, steps, records["values"].astype(np.float64), size, deltas)


def drop_after(path: Path, step: int, run: str = "") -> int:
    """Cuts off the records of a later step, and a torn one; returns how many those were."""
    records = read_records(path, run)
    if not records.size:
        return 0
    late = int(np.sum(records.steps > step))
    end = records.size - late * _form(len(records.names), len(records.statistics)).itemsize
    _cut(path, end)
    return late


class HistoryWriter:
    """Appends to the history of a run; held by the process that holds the run's lock."""

    def __init__(
        self,
        path: Path,
        names: Sequence[str],
        statistics: Sequence[str],
        every: int,
        run: str = "",
        deltas: Mapping[str, str] | None = None,
    ) -> None:
        """Goes on with the file of ``run``, which is created, or given more columns, as needed.

        ``deltas`` says which of the names are those of deltas, and of which nodes.
        """
        before = read_records(path, run)
        self._path, self._every, self._run = path, every, run
        self._names = tuple(dict.fromkeys((*names, *before.names)))
        self._statistics = tuple(dict.fromkeys((*statistics, *before.statistics)))
        kept = {name: node for name, node in before.deltas.items() if name not in names}
        self._deltas = {**kept, **(deltas or {})}
        self._columns = _columns(self._names, names), _columns(self._statistics, statistics)
        now = self._names, self._statistics, self._deltas
        if (before.names, before.statistics, before.deltas) != now:
            self._rewrite(before)
        else:
            _cut(path, before.size)
        self._stride = self.stride(int(before.steps[-1])) if before.steps.size else every

    def stride(self, step: int) -> int:
        """One step in this many is kept once the run has come to ``step``."""
        size = _form(len(self._names), len(self._statistics)).itemsize
        most = max(min(RECORDS, BYTES // size), _FEWEST)
        stride = self._every
        while step // stride > most:
            stride *= 2
        return stride

    def wants(self, step: int) -> bool:
        """Whether the figures of ``step`` (counted from 1) are to be recorded."""
        return step == 1 or step % self.stride(step) == 0

    def append(self, step: int, values: np.ndarray, durable: bool = False) -> None:
        """Appends the figures of ``step``, float64 [names, statistics] as this writer was given
        them; with ``durable`` they survive the death of the machine too.

        Raises ``EnvironmentLimitError``; then the file is as it was.
        """
        if self.stride(step) != self._stride:
            self._thin(self.stride(step))
        record = np.zeros((), _form(len(self._names), len(self._statistics)))
        record["step"] = step
        record["values"] = np.nan
        record["values"][np.ix_(*self._columns)] = values
        record["sum"] = _checksum(record[()])
        append_bytes(self._path, record.tobytes(), durable)

    def _thin(self, stride: int) -> None:
        """Keeps the first step and those that ``stride`` divides."""
        records = read_records(self._path, self._run)
        kept = (records.steps == 1) | (records.steps % stride == 0)
        self._write(records.steps[kept], records.values[kept])
        self._stride = stride

    def _rewrite(self, before: Records) -> None:
        """The records of before under the columns of now."""
        values = np.full((len(before.steps), len(self._names), len(self._statistics)), np.nan)
        columns = _columns(self._names, before.names), _columns(self._statistics, before.statistics)
        values[np.ix_(np.arange(len(before.steps)), *columns)] = before.values
        self._write(before.steps, values)

    def _write(self, steps: np.ndarray, values: np.ndarray) -> None:
        records = np.zeros(len(steps), _form(len(self._names), len(self._statistics)))
        records["step"], records["values"] = steps, values
        for place in range(len(records)):
            records[place]["sum"] = _checksum(records[place])
        header = _header(self._names, self._statistics, self._deltas, self._run)
        write_atomically(self._path, header + records.tobytes(), follow=False)


def _cut(path: Path, size: int) -> None:
    """Takes away what stands behind the first ``size`` bytes."""
    with disk_errors(path, "shorten"):
        if path.stat().st_size > size:
            os.truncate(path, size)


def _form(names: int, statistics: int) -> np.dtype:
    """The layout of a record; every part lies at a multiple of 8 bytes."""
    return np.dtype([("step", "<i8"), ("sum", "<u8"), ("values", "<f8", (names, statistics))])


def _checksum(record: Any) -> int:
    return zlib.crc32(record["values"].tobytes(), int(record["step"]) & 0xFFFFFFFF)


def _columns(all_names: Sequence[str], some: Sequence[str]) -> np.ndarray:
    place = {name: number for number, name in enumerate(all_names)}
    return np.array([place[name] for name in some], np.intp)


def _header(
    names: Sequence[str], statistics: Sequence[str], deltas: Mapping[str, str], run: str
) -> bytes:
    body = {
        "format": FORMAT,
        "version": VERSION,
        "run": run,
        "names": list(names),
        "statistics": list(statistics),
        "deltas": dict(deltas),
    }
    text = format_json(body | {"sum": _header_sum(body)}, HISTORY, indent=None).encode()
    return text + b" " * (-(len(text) + 1) % 8) + b"\n"


def _header_sum(body: Mapping[str, Any]) -> int:
    return zlib.crc32(format_json(dict(body), HISTORY, indent=None).encode())


Header = tuple[tuple[str, ...], tuple[str, ...], dict[str, str], int]


def _read_header(data: bytes, path: Path, run: str) -> Header:
    """Names, statistics, which names are those of deltas, and where the records begin."""
    end = data.find(b"\n") + 1
    try:
        body = parse_json(data[:end])
    except ValueError:
        body = None
    match body:
        case {
            "format": "graphgrad history",
            "version": 1,
            "names": list(names),
            "statistics": list(statistics),
            **others,
        } if not run:
            if not others and _are_names(names) and _are_names(statistics):
                return tuple(names), tuple(statistics), recorded_by_name(names), end
        case {
            "format": "graphgrad history",
            "version": 2 | 3,
            "run": str(owner),
            "sum": int(sum_),
            "names": list(names),
            "statistics": list(statistics),
        }:
            whole = _header_sum({key: body[key] for key in body if key != "sum"}) == sum_
            old = body["version"] == 2
            deltas = recorded_by_name(names) if old and _are_names(names) else body.get("deltas")
            if whole and _are_names(names) and _are_names(statistics) and _are_of(deltas, names):
                if owner != run:
                    raise DataError(f"{path.name} is that of another run", path, _FIX)
                return tuple(names), tuple(statistics), deltas, end
        case {"format": "graphgrad history", "version": int(version)} if version not in (1, 2, 3):
            problem = f"{path.name} has version {version}; this program reads {VERSION}"
            raise DataError(problem, path, _FIX)
    raise DataError(f"the first line of {path.name} is damaged", path, _FIX)


def _are_names(values: list[Any]) -> bool:
    return all(isinstance(name, str) for name in values) and len(set(values)) == len(values)


def _are_of(deltas: Any, names: list[str]) -> bool:
    """Whether these are the nodes of some of the names."""
    return (
        isinstance(deltas, dict)
        and deltas.keys() <= set(names)
        and all(isinstance(node, str) for node in deltas.values())
    )
