"""One command that says how graphgrad stands on the CUDA device of this machine.

    python tests/gpu/acceptance.py [--minutes N] [--json FILE]

It runs from a plain checkout, without network and without installation; a library that is missing
is named. Every section is a few rows of one table, and one that fails is a row as well. What checks
graphgrad itself runs in one process, which is replaced where a section fails, as an error of CUDA
spoils the process that met it; each library that is slow to compile has a process of its own. Each
section has a time limit. The most telling ones come first, the slowest last; when the minutes are
over, what is left is named. The JSON file is written after every row. Exit code: 0 where all is
well, 1 otherwise.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = (
    *("numpy", "scipy", "networkx", "llvmlite", "safetensors", "tokenizers", "babel", "rich"),
    *(
        "graphviz",
        "markdown_it",
        "pygments",
        "threadpoolctl",
        "pytest",
        "hypothesis",
        "cupy",
        "torch",
        "jax",
        "nvmath",
    ),
)
NEEDED = ("numpy", "scipy", "networkx")
"""Without these graphgrad computes nothing; others are for text, files and terminals."""
OPTIONAL = ("cupy", "torch", "jax", "nvmath", "llvmlite")


FAILED = "failed"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    section: str
    what: str
    value: str
    good: bool = True
    milliseconds: float | None = None
    """The time of a step, in a row that says one."""


class _Anything(type):
    """Of a class that stands for whatever a library has: its parts and its results are itself."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        return cls


class Absent(ModuleType):
    """In place of a library that nothing here uses."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})


class AbsentFinder:
    """Finds libraries that are not installed, and their parts."""

    def __init__(self, names: Iterator[str]) -> None:
        self.names = set(names)

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name.partition(".")[0] not in self.names:
            return None
        return importlib.util.spec_from_loader(name, self, is_package=True)

    def create_module(self, spec: Any) -> ModuleType:
        return Absent(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to execute."""


def prepare() -> list[str]:
    """Makes the checkout importable; the names of the libraries that are missing."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    replaced = [name for name in missing if name not in (*NEEDED, *OPTIONAL)]
    sys.meta_path.append(AbsentFinder(iter(replaced)))
    if importlib.util.find_spec("graphgrad") is None:
        sys.path.insert(0, str(ROOT))
        import graphgrad

        graphgrad.__path__.append(str(ROOT))  # the folders models and tools stand beside it
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "gpu")]
    return missing


MARK, DONE = "row: ", "done: "
"""Begin the lines of a process that are rows, and those that name a section that has ended."""
LONGEST = 150.0
"""Seconds that one section may take."""
Section = Callable[[Any], Iterator[Row]]


@dataclass(frozen=True)
class Part:
    """A section of the table. Neighbours of one group run in one process, until one fails."""

    group: str
    section: Section


def parts(small: bool = False) -> Mapping[str, Part]:
    """All sections, the most telling first, the slowest peers last; imported late, when the
    libraries are known."""
    import acceptance_attention as attention
    import acceptance_checks as checks
    import acceptance_ranks as ranks
    import acceptance_speed as speed
    import acceptance_uses as uses

    few: dict[str, Any] = {"steps": 2} if small else {}
    one: dict[str, Any] = {"dtypes": ["float32"]} if small else {}
    own: dict[str, Section] = {
        "training step": partial(checks.training_step, **few, **one),
        "attention": partial(attention.attention, small=small),
        "one launch": checks.one_launch,
        "bit-equal": partial(checks.bit_equal, **few),
        "resume": partial(checks.resume, **few),
        "guards": checks.guards,
        "memory": partial(checks.memory, workload=speed.SMALL if small else checks.MEASURED),
        "operations": checks.operations,
        "ranks": partial(ranks.ranks, **few),
        **{speed.name_of(*its): speed.own(*its, small=small) for its in speed.OWN},
        "dates": partial(uses.dates, small=small),
        "decoding": partial(uses.decoding, small=small),
        "accumulation": partial(uses.accumulation, small=small),
    }
    peers = {
        f"{speed.name_of(size, precision)} {peer}": Part(
            "eager" if peer == "eager" else f"{size} {precision} {peer}",
            speed.peer(size, precision, peer, small=small),
        )
        for size, precision, peer in speed.PEERS
    }
    losses = {
        f"same loss {peer}": Part(
            "eager" if peer == "eager" else f"loss {peer}", speed.same_loss(peer, small=small)
        )
        for peer in ("eager", "jax")
    }
    quick = {name: part for name, part in peers.items() if part.group == "eager"}
    slow = {name: part for name, part in peers.items() if part.group != "eager"}
    last, its = slow.popitem()
    return {
        **{name: Part("own", section) for name, section in own.items()},
        **quick,
        "same loss eager": losses["same loss eager"],
        **slow,
        "same loss jax": losses["same loss jax"],
        last: its,
    }


def rows_of(name: str, section: Section, device: Any) -> Iterator[Row]:
    """The rows of a section; what it raises is one as well, its traceback goes to stderr."""
    started = time.monotonic()
    try:
        yield from section(device)
        yield Row(name, "seconds", f"{time.monotonic() - started:.1f}")
    except Exception as problem:
        traceback.print_exc()
        reason = " ".join(str(problem).split())[:300]
        yield Row(name, FAILED, f"{type(problem).__name__}: {reason}", False)


def rows_of_process(names: list[str], command: list[str], end: float) -> Iterator[Row | str]:
    """The rows that a process prints for these sections, and the name of each section that is over.
    One row more where the process ends badly, or is ended: a section takes too long, or `end` is
    reached."""
    left, limit, started = list(names), 0.0, time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:

        def watched() -> threading.Timer:
            nonlocal limit, started
            started = time.monotonic()
            limit = max(min(end - started, LONGEST), 0.0)
            timer = threading.Timer(limit, process.kill)
            timer.start()
            return timer

        timer = watched()
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(MARK):
                yield Row(**json.loads(line.removeprefix(MARK)))
            elif line.startswith(DONE):
                timer.cancel()
                yield left.pop(0)
                timer = watched()
        code = process.wait()
        timer.cancel()
    if left and (code or len(left) == len(names)):
        late = time.monotonic() - started >= limit
        what = (
            f"it took more than {limit:.0f} seconds" if late else f"its process ended with {code}"
        )
        yield Row(left[0], FAILED, what, False)
        yield left[0]


def run_parts(
    groups: Mapping[str, str],
    command: Callable[[list[str]], list[str]],
    seconds: float,
    say: Callable[[Row], None],
) -> None:
    """Runs sections, those of one group that follow each other in one process, until the time is
    over. A section that fails ends its process, and those behind it have another one."""
    end, names = time.monotonic() + seconds, list(groups)
    while names and time.monotonic() < end:
        together = [*next(groupby(names, groups.__getitem__))[1]]
        over = 0
        for row in rows_of_process(together, command(together), end):
            if isinstance(row, Row):
                say(row)
            else:
                over += 1
        names = names[over:]
    for name in names:
        say(Row(name, "not run", "the minutes are over", False))


def told(row: Row) -> None:
    """Prints a row at once."""
    mark = "ok" if row.good else "NO"
    print(f"{mark:<4}{row.section:<20}{row.what:<42}{row.value}", flush=True)


def machine(missing: list[str]) -> Iterator[Row]:
    """What the machine has; the last row is not good where it has no device."""
    yield Row("machine", "missing", ", ".join(missing) or "nothing")
    try:
        from graphgrad.backends.cupy.cupy_device import open_device

        device = open_device()
    except Exception as problem:
        yield Row("machine", "no device", " ".join(str(problem).split()), False)
        return
    runtime = device.array_module.cuda.runtime
    driver, libraries = runtime.driverGetVersion(), device.libraries.summary
    yield Row("machine", "driver for CUDA", f"{driver // 1000}.{driver % 1000 // 10}")
    yield Row("machine", "products", libraries)
    for name in ("cupy", "torch", "jax"):
        with suppress(importlib.metadata.PackageNotFoundError):
            found = name if name != "cupy" else "cupy-cuda13x"
            yield Row("machine", name, importlib.metadata.version(found))
    yield Row("machine", "device", device.name)


def run_here(names: list[str], small: bool) -> int:
    """Runs sections in this process until one fails; their rows are lines of JSON."""
    from graphgrad.backends.choice import device_memory

    sections = parts(small)
    for name in names:
        part, failed = sections[name], False
        device = device_memory().device if part.group == "own" else None
        for row in rows_of(name, part.section, device):
            print(MARK + json.dumps(asdict(row)), flush=True)
            failed |= row.what == FAILED
        print(DONE + name, flush=True)
        if failed:
            break
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Runs all; 0 where all rows are good."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=8.0, help="default: 8")
    parser.add_argument("--json", metavar="FILE", help="write the rows there as well")
    parser.add_argument("--small", action="store_true", help="sizes for a test of this command")
    parser.add_argument(
        "--section",
        metavar="NAME",
        action="append",
        help="run this one alone, as lines of JSON; may be repeated",
    )
    asked = parser.parse_args(arguments)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    missing = prepare()
    if asked.section:
        return run_here(asked.section, asked.small)
    from acceptance_speed import compared

    rows: list[Row] = []

    def say(row: Row) -> None:
        for each in (row, *compared(rows, row)):
            rows.append(each)
            told(each)
        if asked.json:
            content = json.dumps([asdict(each) for each in rows], indent=2, ensure_ascii=False)
            Path(asked.json).write_text(content + "\n", encoding="utf-8")

    for row in machine(missing):
        say(row)
    if rows[-1].good:
        script = [sys.executable, str(Path(__file__).resolve())]
        script += ["--small"] if asked.small else []

        def command(names: list[str]) -> list[str]:
            return [*script, *(word for name in names for word in ("--section", name))]

        groups = {name: part.group for name, part in parts(asked.small).items()}
        run_parts(groups, command, 60 * asked.minutes - 10, say)
    return int(not all(row.good for row in rows))


if __name__ == "__main__":
    sys.exit(main())
