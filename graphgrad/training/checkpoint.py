"""Checkpoints: the whole state of a training run at one step, as one folder on disk.

::

    checkpoints/
        step-000001100/
        step-000001200/
            state.safetensors    every array: parameters, optimiser slots, counters
            manifest.json        format, step, sha256 and bytes of each file, arrays, details, seal

The design decision: a checkpoint is written into a temporary folder beside its place, each file
and the folder are flushed, and one rename makes it count. A folder named ``step-…`` is therefore
complete, and the newest is found by listing: there is no ``LATEST`` file that could disagree with
the disk. What a disk damages later is found out by the hashes; then the checkpoint before is used.

Laws:

- After a crash at any moment the checkpoints of before are complete, and the new one is complete
  or absent. Saving a step again writes ``step-000001200-2`` beside the first, never over it.
- After ``save_checkpoint`` returns, ``load_checkpoint`` gives what was saved: checkpoints of the
  same or a later step (of a future that a resumed run gave up) are removed once the new one stands.
- Nothing is believed unchecked: sizes, hashes, names, dtypes and shapes must agree, keys must be
  the known ones, and the ``seal`` (sha256 of the rest as canonical JSON) guards the manifest.
- Nothing is executed: arrays are raw numbers of the dtypes in ``DTYPES``, without pickle.
- One process saves into a folder at a time (``RunFolder.lock`` sees to it); any number may read.
"""

import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphgrad.errors import CheckpointError
from graphgrad.files import (
    TEMPORARY_PREFIX,
    disk_errors,
    explain_os_error,
    make_folder,
    sync_folder,
    temporary_name,
)
from graphgrad.strict_json import format_json
from graphgrad.training.checkpoint_format import (
    FORMAT,
    VERSION,
    Damage,
    checked_array,
    read_checkpoint_files,
    write_checkpoint_files,
)

_FOLDER = re.compile(r"step-(\d{9,15})(?:-([1-9]\d{0,8}))?")
_TOLD = 10  # how many damaged checkpoints are named
_REMOVING_PREFIX = ".removing-"


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint.

    ``step`` counts finished steps, ``arrays`` is in the order of saving, ``details`` is what the
    caller saved beside them, ``path`` the folder read, and ``warnings`` names each newer
    checkpoint that was damaged, with the reason.
    """

    step: int
    arrays: dict[str, np.ndarray]
    details: dict[str, Any]
    path: Path
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, order=True)
class _CheckpointFolder:
    """A folder that has the name of a checkpoint; the larger, the newer."""

    step: int
    generation: int
    path: Path


def save_checkpoint(
    folder: Path | str,
    step: int,
    arrays: Mapping[str, np.ndarray],
    details: Mapping[str, Any],
    keep: int = 3,
) -> Path:
    """Saves ``arrays`` and ``details`` as the state after ``step`` steps; returns its folder.

    ``folder`` holds the checkpoints and is created when missing. ``details`` is JSON-able and
    finite. The newest ``keep`` checkpoints stay, this one among them.

    Raises ``CheckpointError`` for an argument that cannot be saved, ``DataError`` for details
    that are no JSON, ``EnvironmentLimitError`` when the disk refuses; the checkpoints of before
    are then untouched and nothing half-written is left.
    """
    folder = Path(folder)
    _check_number("the step of a checkpoint", step, least=0)
    _check_number("keep, the number of checkpoints to keep,", keep, least=1)
    state = {name: checked_array(name, array) for name, array in arrays.items()}
    body = {"format": FORMAT, "version": VERSION, "step": step, "details": dict(details)}
    format_json(body["details"], "details")  # refused before the disk is touched
    make_folder(folder)
    _sweep(folder)
    target = _fresh_place(folder, step)
    temporary = folder / temporary_name()
    with disk_errors(target, "save", sum(array.nbytes for array in state.values())):
        try:
            os.mkdir(temporary)
            write_checkpoint_files(temporary, state, body)
            sync_folder(temporary)
            os.rename(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(folder)
    _remove_superseded(folder, target, step, keep)
    return target


def load_checkpoint(folder: Path | str, step: int | None = None) -> Checkpoint:
    """The newest checkpoint in ``folder`` that is whole, or exactly the one of ``step``.

    A damaged checkpoint is passed over and named in ``warnings``; with ``step`` it is an error,
    for then no other one was meant. Reading changes nothing on disk and may go on while another
    process saves.

    Raises ``CheckpointError`` when no usable checkpoint is left, naming each with its reason,
    and ``EnvironmentLimitError`` when the system refuses to read.
    """
    folder = Path(folder)
    warnings: list[str] = []
    tried: set[Path] = set()
    # Listed again at the end: a saving process may have replaced what could not be read.
    while wanted := [p for p in _listed(folder) if p.path not in tried and step in (None, p.step)]:
        for place in sorted(wanted, reverse=True):
            tried.add(place.path)
            try:
                arrays, details = read_checkpoint_files(place.path, place.step)
            except Damage as damage:
                if not place.path.is_dir():  # it was removed while being read
                    break
                warnings.append(f"{place.path.name} is damaged: {damage}")
            else:
                told = tuple(_few(warnings))
                return Checkpoint(place.step, arrays, details, place.path, told)
    raise _nothing_usable(folder, step, _few(warnings))


def tidy_checkpoints(folder: Path | str, loaded: Path, step: int, keep: int) -> None:
    """Ends what a killed process began: half-written and half-removed ones, and those too many.

    ``loaded`` is the checkpoint of ``step`` that the run goes on from; newer ones stay.
    """
    _sweep(Path(folder))
    _remove_surplus(Path(folder), loaded, step, keep)


def checkpoint_steps(folder: Path | str) -> tuple[int, ...]:
    """The steps that ``folder`` has checkpoints of, ascending; their content is not checked."""
    return tuple(sorted({place.step for place in _listed(Path(folder))}))


def remove_after(folder: Path | str, step: int) -> None:
    """Removes the checkpoints of later steps, the newest first."""
    for place in sorted((p for p in _listed(Path(folder)) if p.step > step), reverse=True):
        with disk_errors(place.path, "remove"):
            _remove(place)


def _check_number(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 10**15:
        raise CheckpointError(f"{name} is a whole number from {least}, not {value!r}")


def _fresh_place(folder: Path, step: int) -> Path:
    """A path for a checkpoint of ``step`` where nothing is."""
    generation = max((p.generation for p in _listed(folder) if p.step == step), default=0) + 1
    while True:
        suffix = f"-{generation}" if generation > 1 else ""
        path = folder / f"step-{step:09d}{suffix}"
        if not os.path.lexists(path):
            return path
        generation += 1


def _remove_superseded(folder: Path, newest: Path, step: int, keep: int) -> None:
    """Removes checkpoints that ``newest`` replaces or pushes out; what resists stays.

    The state is safe by now, so a disk that refuses a removal must not end the run.
    """
    others = [place for place in _listed(folder) if place.path != newest]
    given_up = sorted((place for place in others if place.step >= step), reverse=True)
    for place in given_up:
        with suppress(OSError):
            _remove(place)
    _remove_surplus(folder, newest, step, keep)


def _remove_surplus(folder: Path, newest: Path, step: int, keep: int) -> None:
    """Removes the checkpoints before ``newest`` that are not among the last ``keep``."""
    others = [place for place in _listed(folder) if place.path != newest]
    older = sorted((place for place in others if place.step < step), reverse=True)
    for place in older[keep - 1 :]:
        with suppress(OSError):
            _remove(place)


def _remove(place: _CheckpointFolder) -> None:
    """Renamed first: half a removed checkpoint must not look like a damaged one."""
    doomed = place.path.parent / temporary_name().replace(TEMPORARY_PREFIX, _REMOVING_PREFIX)
    os.rename(place.path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Removes what an interrupted save or removal left behind."""
    with disk_errors(folder, "list"):
        names = os.listdir(folder)
    for name in names:
        if name.startswith((TEMPORARY_PREFIX, _REMOVING_PREFIX)):
            shutil.rmtree(folder / name, ignore_errors=True)


def _listed(folder: Path) -> list[_CheckpointFolder]:
    """Every folder with the name of a checkpoint, in no order."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise explain_os_error(error, folder, "list") from error
    matches = map(_FOLDER.fullmatch, names)
    places = [_CheckpointFolder(int(m[1]), int(m[2] or 1), folder / m[0]) for m in matches if m]
    return [place for place in places if place.path.is_dir()]


def _few(warnings: list[str]) -> list[str]:
    """The first of the warnings, and how many more there are."""
    rest = len(warnings) - _TOLD
    return [*warnings[:_TOLD], f"{rest:,} older ones are damaged too"] if rest > 0 else warnings


def _nothing_usable(folder: Path, step: int | None, warnings: list[str]) -> CheckpointError:
    kind = "checkpoint" if step is None else f"checkpoint of step {step}"
    problem = f"there is no {kind}"
    if warnings:
        problem = f"no usable {kind} is left:\n" + "\n".join(f"    {line}" for line in warnings)
    others = ", ".join(str(other) for other in checkpoint_steps(folder) if other != step)
    if step is not None and others:
        fix = f"leave the step out to take the newest whole one; there are those of step {others}"
    else:
        fix = "copy one back from a backup, or start a new run"
    return CheckpointError(problem, folder, fix)
