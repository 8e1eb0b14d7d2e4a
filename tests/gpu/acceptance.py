"""One command that says how graphgrad stands on the CUDA device of this machine.

    python tests/gpu/acceptance.py [--minutes N] [--json FILE]

It runs from a plain checkout, without network and without installation; a library that is missing
is named. Every section is a few rows of one table, and one that fails is a row as well. Each runs
in a process of its own with a time limit, as an error of CUDA spoils the process that met it. The
most telling sections come first; when the minutes are over, what is left is named. The JSON file is
written after every section. Exit code: 0 where all is well, 1 otherwise.
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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    section: str
    what: str
    value: str
    good: bool = True


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


MARK = "row: "
"""Begins the lines of a section's process that are rows."""
LONGEST = 240.0
"""Seconds that one section may take."""
Section = Callable[[Any], Iterator[Row]]


def sections(small: bool = False) -> Mapping[str, Section]:
    """All sections, the most telling first; imported late, when the libraries are known."""
    import acceptance_checks as checks
    import acceptance_speed as speed

    sizes = ("tiny",) if small else ("base", "small", "tiny")
    return {
        "training step": checks.training_step,
        "one launch": checks.one_launch,
        **{f"speed {size}": speed.timed(size) for size in sizes},
        "bit-equal": checks.bit_equal,
        "resume": checks.resume,
        "guards": checks.guards,
        "memory": checks.memory,
        "operations": checks.operations,
        "dates": checks.dates,
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
        yield Row(name, "failed", f"{type(problem).__name__}: {reason}", False)


def rows_of_process(name: str, command: list[str], seconds: float) -> Iterator[Row]:
    """The rows that a process prints, each as a line of JSON; one more where it ends badly."""
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        ended = threading.Timer(seconds, process.kill)
        ended.start()
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(MARK):
                yield Row(**json.loads(line.removeprefix(MARK)))
        code = process.wait()
        ended.cancel()
    if time.monotonic() - started >= seconds:
        yield Row(name, "failed", f"it took more than {seconds:.0f} seconds", False)
    elif code:
        yield Row(name, "failed", f"its process ended with {code}", False)


def run_sections(
    names: Iterable[str],
    command: Callable[[str], list[str]],
    seconds: float,
    say: Callable[[Row], None],
) -> None:
    """Runs sections, each in a process, until the time is over."""
    end = time.monotonic() + seconds
    for name in names:
        left = end - time.monotonic()
        if left <= 0:
            say(Row(name, "not run", "the minutes are over", False))
            continue
        for row in rows_of_process(name, command(name), min(left, LONGEST)):
            say(row)


def told(row: Row) -> None:
    """Prints a row at once."""
    mark = "ok" if row.good else "NO"
    print(f"{mark:<4}{row.section:<16}{row.what:<34}{row.value}", flush=True)


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


def one_section(name: str) -> int:
    """Runs one section in this process; its rows are lines of JSON."""
    from graphgrad.backends.choice import device_memory

    for row in rows_of(name, sections()[name], device_memory().device):
        print(MARK + json.dumps(asdict(row)), flush=True)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Runs all; 0 where all rows are good."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=8.0, help="default: 8")
    parser.add_argument("--json", metavar="FILE", help="write the rows there as well")
    parser.add_argument("--section", metavar="NAME", help="run this one alone, as lines of JSON")
    asked = parser.parse_args(arguments)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    missing = prepare()
    if asked.section:
        return one_section(asked.section)
    rows: list[Row] = []

    def say(row: Row) -> None:
        rows.append(row)
        told(row)
        if asked.json:
            content = json.dumps([asdict(each) for each in rows], indent=2, ensure_ascii=False)
            Path(asked.json).write_text(content + "\n", encoding="utf-8")

    for row in machine(missing):
        say(row)
    if rows[-1].good:
        script = [sys.executable, str(Path(__file__).resolve()), "--section"]
        run_sections(sections(), lambda name: [*script, name], 60 * asked.minutes - 10, say)
    return int(not all(row.good for row in rows))


if __name__ == "__main__":
    sys.exit(main())
