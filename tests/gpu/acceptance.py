"""One command that says how graphgrad stands on the CUDA device of this machine.

    python tests/gpu/acceptance.py [--minutes N] [--json FILE]

It runs from a plain checkout, without network and without installation; a library that is missing
is named. Every section is a few rows of one table, and one that fails is a row as well. The most
telling sections come first; when the minutes are over, what is left is named. Exit code: 0 where
all is well, 1 otherwise.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
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


Section = Callable[[Any], Iterator[Row]]


def sections(small: bool = False) -> Mapping[str, Section]:
    """All sections, the most telling first; imported late, when the libraries are known."""
    import acceptance_checks as checks
    import acceptance_speed as speed

    sizes = ("tiny",) if small else ("tiny", "small", "base")
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


def run_sections(
    device: Any, wanted: Mapping[str, Section], seconds: float, say: Callable[[Row], None]
) -> list[Row]:
    """Runs sections until the time is over. What one raises is a row."""
    rows: list[Row] = []
    end = time.monotonic() + seconds
    for name, section in wanted.items():
        started = time.monotonic()
        found = []
        try:
            if started > end:
                found = [Row(name, "not run", "the minutes are over", False)]
            else:
                for row in section(device):
                    say(row)
                    rows.append(row)
                found = [Row(name, "seconds", f"{time.monotonic() - started:.1f}")]
        except Exception as problem:  # the next sections say what they find
            reason = " ".join(str(problem).split())[:300]
            found = [Row(name, "failed", f"{type(problem).__name__}: {reason}", False)]
        for row in found:
            say(row)
            rows.append(row)
    return rows


def told(row: Row) -> None:
    """Prints a row at once."""
    mark = "ok" if row.good else "NO"
    print(f"{mark:<4}{row.section:<16}{row.what:<34}{row.value}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Runs all; 0 where all rows are good."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=8.0, help="default: 8")
    parser.add_argument("--json", metavar="FILE", help="write the rows there as well")
    asked = parser.parse_args(arguments)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    missing = prepare()
    rows = [Row("machine", "missing", ", ".join(missing) or "nothing")]
    told(rows[0])
    try:
        from graphgrad.backends.cupy.cupy_device import open_device

        device = open_device()
    except Exception as problem:
        rows.append(Row("machine", "no device", " ".join(str(problem).split()), False))
        told(rows[-1])
    else:
        products = device.libraries.summary
        for what, value in (("device", device.name), ("products", products)):
            rows.append(Row("machine", what, value))
            told(rows[-1])
        rows += run_sections(device, sections(), 60 * asked.minutes - 10, told)
    if asked.json:
        content = json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False)
        Path(asked.json).write_text(content + "\n", encoding="utf-8")
    return int(not all(row.good for row in rows))


if __name__ == "__main__":
    sys.exit(main())
