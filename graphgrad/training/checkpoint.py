"""Saves and loads checkpoints: the whole state of a run at one step, as one folder on disk.

    checkpoints/
        step-000001100/
        step-000001200/
            state.safetensors    every array: parameters, optimiser slots, counters
            manifest.json        format, step, sha256 and bytes of each file, arrays, details, seal

Several ranks that keep a share of the state each write `state-0.safetensors` and so on in place of
the one file; the manifest, which comes last, says which elements are where. It is read by any
number of ranks, and by a process that runs alone.

The design decision: a checkpoint is written into a temporary folder, each file and the folder are
flushed, and one rename to its final name completes it. A folder named `step-…` is therefore
complete, and the newest is found by listing: there is no `LATEST` file that could disagree with the
disk. Later damage is detected by the hashes; then the previous checkpoint is used.

Laws:

- After a crash at any moment the earlier checkpoints are complete, and the new one is complete or
  absent. Saving a step again writes `step-000001200-2` beside the first and does not overwrite it.
- After `save_checkpoint` returns, `load_checkpoint` returns what was saved: checkpoints of the same
  or a later step, which a resumed run discarded, are removed once the new one is complete.
- Everything read is checked: sizes, hashes, names, dtypes and shapes must agree, keys must be the
  known ones, and the `seal` (sha256 of the rest as canonical JSON) protects the manifest.
- Nothing is executed: arrays are raw numbers of the dtypes in `DTYPES`, without pickle.
- One process saves into a folder at a time (`RunFolder.lock` ensures it); any number may read.
"""

import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping
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
    PIECES,
    VERSION,
    checked_array,
    read_checkpoint_files,
    write_checkpoint_files,
    write_manifest,
)
from graphgrad.training.checkpoint_pieces import Damage, Ranges

_FOLDER = re.compile(r"step-(\d{9,15})(?:-([1-9]\d{0,8}))?")
_NAMED = 10  # how many damaged checkpoints are named
_REMOVING_PREFIX = ".removing-"


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint, as `load_checkpoint` returns it.

    `step` counts finished steps, `arrays` is in the order of saving, `details` is what the
    caller saved beside them, `path` the folder read, and `warnings` names each newer
    checkpoint that was damaged, with the reason.

    >>> import tempfile
    >>> import numpy as np
    >>> import graphgrad as gg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = gg.training.save_checkpoint(folder, 100, {"w": np.zeros(2)}, {"loss": 0.5})
    ...     found = gg.training.load_checkpoint(folder)
    >>> path.name, found.step, found.details, found.warnings
    ('step-000000100', 100, {'loss': 0.5}, ())
    """

    step: int
    arrays: dict[str, np.ndarray]
    details: dict[str, Any]
    path: Path
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, order=True)
class _CheckpointFolder:
    """A folder with the name of a checkpoint; newer ones compare as larger."""

    step: int
    generation: int
    path: Path


def save_checkpoint(
    folder: Path | str,
    step: int,
    arrays: Mapping[str, np.ndarray],
    details: Mapping[str, Any],
    keep: int = 3,
    spared: Collection[int] = (),
) -> Path:
    """Saves `arrays` and `details` as the state after `step` steps; returns its folder.

    `folder` holds the checkpoints and is created when missing. `details` is a dictionary that
    JSON can hold, with finite numbers. The newest `keep` checkpoints stay, this one among them, and
    those of the steps `spared`.

    Raises `CheckpointError` for an argument that cannot be saved, `DataError` for details
    that JSON cannot hold, `EnvironmentLimitError` when the disk refuses; the earlier checkpoints
    are then unchanged and nothing half-written is left.

    >>> import tempfile
    >>> import numpy as np
    >>> import graphgrad as gg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for step in (100, 200, 300):
    ...         path = gg.training.save_checkpoint(folder, step, {"w": np.ones(2)}, {}, keep=2)
    ...     print(sorted(each.name for each in path.parent.iterdir()))
    ['step-000000200', 'step-000000300']
    """
    state = {name: checked_array(name, array) for name, array in arrays.items()}
    body: dict[str, Any] = {"format": FORMAT, "version": VERSION, "step": step}
    body["details"] = dict(details)
    size = sum(array.nbytes for array in state.values())

    def write(temporary: Path) -> None:
        write_checkpoint_files(temporary, state, body)

    return _saved(Path(folder), step, body, write, size, keep, spared)


def save_pieces(
    folder: Path,
    step: int,
    write: Callable[[Path], dict[str, Any]],
    size: int,
    details: Mapping[str, Any],
    keep: int,
    spared: Collection[int] = (),
) -> Path:
    """Saves a checkpoint of about `size` bytes whose files are written by `write` into the folder
    that it is given; it returns the `files` and `arrays` of the manifest, which then completes it.

    The rest is as `save_checkpoint` has it.
    """
    body: dict[str, Any] = {"format": FORMAT, "version": PIECES, "step": step}
    body["details"] = dict(details)

    def write_all(temporary: Path) -> None:
        body.update(write(temporary))
        write_manifest(temporary, body)

    return _saved(folder, step, body, write_all, size, keep, spared)


def _saved(
    folder: Path,
    step: int,
    body: dict[str, Any],
    write: Callable[[Path], None],
    size: int,
    keep: int,
    spared: Collection[int],
) -> Path:
    """The folder of a checkpoint that is written in one that is renamed when it is complete."""
    _check_number("the step of a checkpoint", step, least=0)
    _check_number("keep, the number of checkpoints to keep,", keep, least=1)
    format_json(body["details"], "details")  # raises before anything is written
    make_folder(folder)
    _sweep(folder)
    target = _fresh_path(folder, step)
    temporary = folder / temporary_name()
    with disk_errors(target, "save", size):
        try:
            os.mkdir(temporary)
            write(temporary)
            sync_folder(temporary)
            os.rename(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(folder)
    _remove_superseded(folder, target, step, keep, spared)
    return target


def load_checkpoint(
    folder: Path | str, step: int | None = None, wanted: Ranges | None = None
) -> Checkpoint:
    """The newest checkpoint in `folder` that is whole, or exactly the one of `step`.

    With `wanted`, which gives for some arrays the elements from the first to before the last, these
    are read and returned in one row, and the others whole; blocks of files that nothing is read
    from are then not checked either.

    A damaged checkpoint is passed over and named in `warnings`; with `step` it is an error,
    since no other one was asked for. Reading changes nothing on disk and may be done while another
    process saves.

    Raises `CheckpointError` when no usable checkpoint is left, naming each with its reason,
    and `EnvironmentLimitError` when the system refuses to read.

    >>> import tempfile
    >>> import numpy as np
    >>> import graphgrad as gg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = gg.training.save_checkpoint(folder, 7, {"w": np.array([1.5, 2.5])}, {})
    ...     gg.training.load_checkpoint(folder).arrays
    {'w': array([1.5, 2.5])}
    """
    folder = Path(folder)
    warnings: list[str] = []
    tried: set[Path] = set()
    # Listed again at the end: a saving process may have replaced what could not be read.
    while left := [p for p in _listed(folder) if p.path not in tried and step in (None, p.step)]:
        for entry in sorted(left, reverse=True):
            tried.add(entry.path)
            try:
                arrays, details = read_checkpoint_files(entry.path, entry.step, wanted or {})
            except Damage as damage:
                if not entry.path.is_dir():  # it was removed while being read
                    break
                warnings.append(f"{entry.path.name} is damaged: {damage}")
            else:
                return Checkpoint(entry.step, arrays, details, entry.path, tuple(_few(warnings)))
    raise _nothing_usable(folder, step, _few(warnings))


def tidy_checkpoints(
    folder: Path | str, loaded: Path, step: int, keep: int, spared: Collection[int] = ()
) -> None:
    """Finishes what a killed process began: removes half-written and half-removed checkpoints, and
    those beyond `keep` that are not `spared`.

    `loaded` is the checkpoint of `step` from which the run is resumed; newer ones stay.
    """
    _sweep(Path(folder))
    _remove_surplus(Path(folder), loaded, step, keep, spared)


def checkpoint_steps(folder: Path | str) -> tuple[int, ...]:
    """The steps that `folder` has checkpoints of, ascending; their content is not checked."""
    return tuple(sorted({entry.step for entry in _listed(Path(folder))}))


def remove_after(folder: Path | str, step: int) -> None:
    """Removes the checkpoints of later steps, the newest first."""
    for entry in sorted((p for p in _listed(Path(folder)) if p.step > step), reverse=True):
        with disk_errors(entry.path, "remove"):
            _remove(entry)


def _check_number(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 10**15:
        raise CheckpointError(f"{name} is a whole number from {least}, not {value!r}")


def _fresh_path(folder: Path, step: int) -> Path:
    """An unused path for a checkpoint of `step`."""
    generation = max((p.generation for p in _listed(folder) if p.step == step), default=0) + 1
    while True:
        suffix = f"-{generation}" if generation > 1 else ""
        path = folder / f"step-{step:09d}{suffix}"
        if not os.path.lexists(path):
            return path
        generation += 1


def _remove_superseded(
    folder: Path, newest: Path, step: int, keep: int, spared: Collection[int]
) -> None:
    """Removes checkpoints that `newest` replaces or that exceed `keep` and are not `spared`.

    The state is safe by now, so a disk that refuses a removal must not end the run.
    """
    others = [entry for entry in _listed(folder) if entry.path != newest]
    discarded = sorted((entry for entry in others if entry.step >= step), reverse=True)
    for entry in discarded:
        with suppress(OSError):
            _remove(entry)
    _remove_surplus(folder, newest, step, keep, spared)


def _remove_surplus(
    folder: Path, newest: Path, step: int, keep: int, spared: Collection[int]
) -> None:
    """Removes the checkpoints before `newest` that are not among the last `keep` nor `spared`.

    Of a step that was saved several times only the newest one is spared.
    """
    others = [entry for entry in _listed(folder) if entry.path != newest]
    older = sorted((entry for entry in others if entry.step < step), reverse=True)
    left = set(spared) - {entry.step for entry in older[: keep - 1]}
    for entry in older[keep - 1 :]:
        if entry.step in left:
            left.remove(entry.step)
            continue
        with suppress(OSError):
            _remove(entry)


def _remove(entry: _CheckpointFolder) -> None:
    """Renames the folder first: half a removed checkpoint must not look like a damaged one."""
    doomed = entry.path.parent / temporary_name().replace(TEMPORARY_PREFIX, _REMOVING_PREFIX)
    os.rename(entry.path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Removes what an interrupted save or removal left behind."""
    with disk_errors(folder, "list"):
        names = os.listdir(folder)
    for name in names:
        if name.startswith((TEMPORARY_PREFIX, _REMOVING_PREFIX)):
            shutil.rmtree(folder / name, ignore_errors=True)


def _listed(folder: Path) -> list[_CheckpointFolder]:
    """Every folder with the name of a checkpoint, in any order."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise explain_os_error(error, folder, "list") from error
    matches = map(_FOLDER.fullmatch, names)
    folders = [_CheckpointFolder(int(m[1]), int(m[2] or 1), folder / m[0]) for m in matches if m]
    return [entry for entry in folders if entry.path.is_dir()]


def _few(warnings: list[str]) -> list[str]:
    """The first of the warnings, and the number of the others."""
    rest = len(warnings) - _NAMED
    return [*warnings[:_NAMED], f"{rest:,} older ones are damaged too"] if rest > 0 else warnings


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
