"""Counts bytes that are read and lines that are cut into tokens, for a person who waits for them.

The readers of `graphgrad.data` are told nothing of a display: they call `watch(more)` with how much
more is done. Here that becomes a stage with a total, which `Waiting` shows with the time left.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from graphgrad.data.lines import Watch, unwatched
from graphgrad.data.parallel import Place
from graphgrad.training.task import Stages

READ, CUT, LEARNT = "megabytes read", "lines cut into tokens", "vocabularies learnt"
"""The stages, as `Waiting` names them."""
_MEGABYTE = 10**6


def reading(stages: Stages, places: Iterable[Place | None]) -> Watch:
    """A watch on the bytes of files. The size of a pipe is not known: without one, nothing is said.

    A file that cannot be looked at counts nothing; its reader says what is wrong with it.
    """
    paths: list[str | Path] = []
    for place in places:
        paths += place if isinstance(place, tuple) else [place] if place else []
    total = sum(path.stat().st_size for path in map(Path, paths) if path.is_file())
    return _counted(stages, READ, total, _MEGABYTE) if total else unwatched


def cutting(stages: Stages, lines: int) -> Watch:
    """A watch on lines that are cut into tokens."""
    return _counted(stages, CUT, lines, 1)


def _counted(stages: Stages, stage: str, total: int, unit: int) -> Watch:
    done = 0

    def watch(more: int) -> None:
        nonlocal done
        done += more
        stages(stage, done // unit, total // unit)

    return watch
