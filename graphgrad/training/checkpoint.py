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

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from graphgrad.errors import CheckpointError
from graphgrad.training.files import (
    TEMPORARY_PREFIX,
    disk_errors,
    explain_os_error,
    format_json,
    make_folder,
    parse_json,
    sync_folder,
    temporary_name,
    write_new,
)

FORMAT = "graphgrad checkpoint"
VERSION = 1
STATE, MANIFEST = "state.safetensors", "manifest.json"

# The dtypes a checkpoint may hold, with their names in the safetensors format.
DTYPES = {
    "bool": "BOOL",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
}

# The keys and types of a manifest; [form] is a list of any length.
_FORM = {
    "format": str,
    "version": int,
    "step": int,
    "files": {STATE: {"bytes": int, "sha256": str}},
    "arrays": [{"name": str, "dtype": str, "shape": [int]}],
    "details": dict,
    "seal": str,
}
_FOLDER = re.compile(r"step-(\d{9,15})(?:-([1-9]\d{0,8}))?")
_REMOVING_PREFIX = ".removing-"
_MANIFEST_LIMIT = 1 << 26  # bytes: a larger manifest is damage, not to be read into memory


class _Damage(Exception):
    """Why a checkpoint cannot be used; becomes a warning or part of a CheckpointError."""


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
class _Place:
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
    state = {name: _checked_array(name, array) for name, array in arrays.items()}
    body = {"format": FORMAT, "version": VERSION, "step": step, "details": dict(details)}
    format_json(body["details"], "details")  # refused before the disk is touched
    make_folder(folder)
    _sweep(folder)
    target = _fresh_place(folder, step)
    temporary = folder / temporary_name()
    with disk_errors(target, "save", sum(array.nbytes for array in state.values())):
        try:
            os.mkdir(temporary)
            _write_files(temporary, state, body)
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
    # The folder is listed again after each failure: a saving process may have replaced what
    # could not be read by something newer.
    while True:
        wanted = [p for p in _listed(folder) if p.path not in tried and step in (None, p.step)]
        if not wanted:
            raise _nothing_usable(folder, step, warnings)
        place = max(wanted)
        tried.add(place.path)
        try:
            arrays, details = _read(place)
        except _Damage as damage:
            if place.path.is_dir():  # else it was removed while being read
                warnings.append(f"{place.path.name} is damaged: {damage}")
        else:
            return Checkpoint(place.step, arrays, details, place.path, tuple(warnings))


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


def _checked_array(name: str, array: np.ndarray) -> np.ndarray:
    """``array`` as a contiguous little-endian array, or the error that names it."""
    usable = isinstance(name, str) and name not in ("", "__metadata__")  # the latter is reserved
    if not usable or name.encode("utf-8", "replace").decode("utf-8") != name:
        raise CheckpointError(f"an array of a checkpoint cannot be called {name!r}", fix="rename")
    if not isinstance(array, np.ndarray):
        kind = type(array).__name__
        raise CheckpointError(f"{name} is a {kind}, not a NumPy array", fix="numpy.asarray")
    if array.dtype.name not in DTYPES:
        problem = f"{name} has the dtype {array.dtype.name}, which a checkpoint cannot hold"
        raise CheckpointError(problem, fix=f"convert it to one of {', '.join(DTYPES)}")
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _write_files(folder: Path, state: dict[str, np.ndarray], body: dict[str, Any]) -> None:
    size, digest = write_new(folder / STATE, _safetensors(state))
    body["files"] = {STATE: {"bytes": size, "sha256": digest}}
    body["arrays"] = [
        {"name": name, "dtype": array.dtype.name, "shape": list(array.shape)}
        for name, array in state.items()
    ]
    manifest = format_json(body | {"seal": _seal(body)}, "manifest") + "\n"
    write_new(folder / MANIFEST, (manifest.encode("utf-8"),))


def _safetensors(state: dict[str, np.ndarray]) -> Iterator[bytes | memoryview]:
    """The bytes of a safetensors file, piece by piece: the state is never held twice."""
    # Wide elements first, as the format's own writer does, so every array is aligned.
    ordered = sorted(state, key=lambda name: (-state[name].itemsize, name))
    header, offset = {}, 0
    for name in ordered:
        array = state[name]
        span = [offset, offset + array.nbytes]
        kind = DTYPES[array.dtype.name]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": span}
        offset = span[1]
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in ordered:
        yield state[name].reshape(-1).view(np.uint8).data


def _seal(body: Mapping[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


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
    older = sorted((place for place in others if place.step < step), reverse=True)
    given_up = sorted((place for place in others if place.step >= step), reverse=True)
    for place in given_up + older[keep - 1 :]:
        with suppress(OSError):
            _remove(place)


def _remove(place: _Place) -> None:
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


def _listed(folder: Path) -> list[_Place]:
    """Every folder with the name of a checkpoint, in no order."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise explain_os_error(error, folder, "list") from error
    matches = map(_FOLDER.fullmatch, names)
    places = [_Place(int(m[1]), int(m[2] or 1), folder / m[0]) for m in matches if m]
    return [place for place in places if place.path.is_dir()]


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
    return CheckpointError(problem, str(folder), fix)


def _read(place: _Place) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    try:
        body = _read_manifest(place)
        _check_state_file(place.path / STATE, body["files"][STATE])
        return _read_arrays(place.path / STATE, body["arrays"]), body["details"]
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise _Damage(f"{Path(error.filename or STATE).name} is missing") from error
    except OSError as error:
        if error.errno == errno.EIO:
            raise _Damage(f"the disk cannot read it ({error.strerror})") from error
        path = Path(error.filename or place.path)
        raise explain_os_error(error, path, "read") from error


def _require(truth: bool, reason: str) -> None:
    if not truth:
        raise _Damage(reason)


def _read_manifest(place: _Place) -> dict[str, Any]:
    path = place.path / MANIFEST
    _require(path.stat().st_size <= _MANIFEST_LIMIT, f"{MANIFEST} is far too large")
    try:
        body = parse_json(path.read_bytes())
        _require(isinstance(body, dict) and body.get("format") == FORMAT, f"{MANIFEST} is foreign")
        version = body.get("version")
        other = f"{MANIFEST} has format version {version!r}; this program reads version {VERSION}"
        _require(type(version) is int and version == VERSION, other)
        misfit = _misfit(body, _FORM, "it")
        _require(not misfit, f"{MANIFEST}: {misfit}")
        seal = body.pop("seal")
        _require(seal == _seal(body), f"{MANIFEST} was altered: its seal does not fit")
    except (ValueError, RecursionError) as error:
        raise _Damage(f"{MANIFEST}, {error}") from error
    _require(body["step"] == place.step, f"{MANIFEST} is of step {body['step']}")
    names = [entry["name"] for entry in body["arrays"]]
    _require(len(set(names)) == len(names), f"{MANIFEST} lists an array twice")
    for entry in body["arrays"]:
        allowed = entry["dtype"] in DTYPES
        _require(allowed, f"{entry['name']} has the dtype {entry['dtype']}, which is not allowed")
    return body


def _misfit(value: object, form: Any, name: str) -> str:
    """What is wrong with ``value`` by ``form`` (nested like ``_FORM``); empty when it fits."""
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return f"{name} is no object"
        if odd := sorted(form.keys() ^ value.keys()):
            return f"{name} has missing or unknown keys: {', '.join(map(repr, odd))}"
        parts = [(value[key], form[key], key) for key in form]
    elif isinstance(form, list):
        if not isinstance(value, list):
            return f"{name} is no list"
        parts = [(item, form[0], f"{name}[{number}]") for number, item in enumerate(value)]
    else:
        return "" if type(value) is form else f"{name} is not of type {form.__name__}"
    return next((found for part in parts if (found := _misfit(*part))), "")


def _check_state_file(path: Path, entry: dict[str, Any]) -> None:
    size = path.stat().st_size
    _require(size == entry["bytes"], f"{STATE} has {size:,} bytes instead of {entry['bytes']:,}")
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    _require(digest == entry["sha256"], f"{STATE} was altered: its sha256 does not fit")


def _read_arrays(path: Path, listed: Iterable[dict[str, Any]]) -> dict[str, np.ndarray]:
    result: dict[str, np.ndarray] = {}
    expected = {entry["name"]: entry for entry in listed}
    try:
        with safe_open(path, framework="np") as file:
            odd = ", ".join(sorted(expected.keys() ^ set(file.keys()))[:3])
            _require(not odd, f"{STATE} and {MANIFEST} disagree about the arrays {odd}")
            for name, entry in expected.items():
                view = file.get_slice(name)
                _require(
                    view.get_dtype() == DTYPES[entry["dtype"]]
                    and list(view.get_shape()) == entry["shape"],
                    f"{STATE} and {MANIFEST} disagree about the dtype or shape of {name}",
                )
                result[name] = file.get_tensor(name)
    except SafetensorError as error:
        raise _Damage(f"{STATE} is no safetensors file ({error})") from error
    return result
