"""Writes the two files of a checkpoint, and checks and reads them.

`state.safetensors` holds the arrays; `manifest.json` lists their sizes, hashes, names, dtypes and
shapes, under a seal. See `checkpoint.py` for the folders that contain them. A manifest of version 2
is that of a checkpoint which several ranks have written: see `checkpoint_pieces.py`.
"""

import errno
import hashlib
import json
import math
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from graphgrad.errors import CheckpointError, DataError
from graphgrad.files import explain_os_error, read_file, write_new
from graphgrad.strict_json import format_json, parse_json
from graphgrad.training import checkpoint_pieces
from graphgrad.training.checkpoint_pieces import (
    Damage,
    Ranges,
    check_pieces,
    read_pieces,
    require,
)

FORMAT = "graphgrad checkpoint"
VERSION, PIECES = 1, 2
"""The versions of a checkpoint in one file, and of one whose arrays are in several."""
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
_FORMS = {VERSION: _FORM, PIECES: checkpoint_pieces.FORM}
_MANIFEST_LIMIT = 1 << 25  # bytes, for some 200,000 arrays: a larger one is not read into memory


def checked_array(name: str, array: np.ndarray) -> np.ndarray:
    """`array` as a contiguous little-endian array. Raises CheckpointError that names it."""
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


def write_checkpoint_files(
    folder: Path, state: dict[str, np.ndarray], body: dict[str, Any]
) -> None:
    """Writes both files into the folder; `body` gets the manifest's entries of files and arrays.

    Raises `OSError`; a partly written file stays, so the folder should be temporary.
    """
    size, digest = write_new(folder / STATE, safetensors_pieces(state))
    body["files"] = {STATE: {"bytes": size, "sha256": digest}}
    body["arrays"] = [
        {"name": name, "dtype": array.dtype.name, "shape": list(array.shape)}
        for name, array in state.items()
    ]
    write_manifest(folder, body)


def write_manifest(folder: Path, body: dict[str, Any]) -> None:
    """Writes the manifest, which makes the files of the folder a checkpoint. Raises CheckpointError
    where it would be too large."""
    manifest = format_json(body | {"seal": sealed(body)}, "manifest") + "\n"
    content = manifest.encode("utf-8")
    if len(content) > _MANIFEST_LIMIT:
        raise CheckpointError(
            f"the manifest of {len(body['arrays']):,} arrays would be too large",
            folder,
            "keep fewer arrays, or less beside them",
        )
    write_new(folder / MANIFEST, (content,))


def ordered_names(state: Mapping[str, np.ndarray]) -> list[str]:
    """Wide elements first, as the format's own writer has them, so every array is aligned."""
    return sorted(state, key=lambda name: (-state[name].itemsize, name))


def safetensors_pieces(
    state: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> Iterator[bytes | memoryview]:
    """The bytes of a safetensors file, in pieces: the state is never copied as a whole."""
    ordered = ordered_names(state)
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
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


def sealed(body: Mapping[str, Any]) -> str:
    """The sha256 of a manifest without its seal, as canonical JSON."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def read_checkpoint_files(
    folder: Path, step: int, wanted: Ranges
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and details of the checkpoint of `step` in this folder; of the arrays in `wanted` only
    the elements there, in one row.

    Raises `Damage`, and `EnvironmentLimitError` where the system refuses to read.
    """
    try:
        body = _read_manifest(folder / MANIFEST, step)
        if body["version"] == PIECES:
            return read_pieces(folder, body, wanted), body["details"]
        _check_state_file(folder / STATE, body["files"][STATE])
        return _read_arrays(folder / STATE, body["arrays"], wanted), body["details"]
    except DataError as error:
        raise Damage(error.problem) from error
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise Damage(f"{Path(error.filename or STATE).name} is missing") from error
    except OSError as error:
        if error.errno == errno.EIO:
            raise Damage(f"the disk cannot read it ({error.strerror})") from error
        path = Path(error.filename or folder)
        raise explain_os_error(error, path, "read") from error


def _read_manifest(path: Path, step: int) -> dict[str, Any]:
    content = read_file(path, _MANIFEST_LIMIT)
    try:
        body: dict[str, Any] = parse_json(content)
        known = isinstance(body, dict) and body.get("format") == FORMAT
        require(known, f"{MANIFEST} is not that of a checkpoint")
        version = body.get("version")
        other = f"{MANIFEST} has format version {version!r}; this program reads 1 and 2"
        require(type(version) is int and version in _FORMS, other)
        misfit = _misfit(body, _FORMS[body["version"]], "it")
        require(not misfit, f"{MANIFEST}: {misfit}")
        seal = body.pop("seal")
        require(seal == sealed(body), f"{MANIFEST} was altered: its seal does not match")
    except (ValueError, RecursionError) as error:
        raise Damage(f"{MANIFEST}, {error}") from error
    require(body["step"] == step, f"{MANIFEST} is of step {body['step']}")
    names = [entry["name"] for entry in body["arrays"]]
    require(len(set(names)) == len(names), f"{MANIFEST} lists an array twice")
    for entry in body["arrays"]:
        allowed = entry["dtype"] in DTYPES
        require(allowed, f"{entry['name']} has the dtype {entry['dtype']}, which is not allowed")
    if body["version"] == PIECES:
        check_pieces(body)
    return body


def _misfit(value: object, form: Any, name: str) -> str:
    """How `value` differs from `form` (nested like `_FORM`), as text; empty if it does not."""
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return f"{name} is not an object"
        if odd := sorted(form.keys() ^ value.keys()):
            return f"{name} has missing or unknown keys: {', '.join(map(repr, odd))}"
        parts = [(value[key], form[key], key) for key in form]
    elif isinstance(form, list):
        if not isinstance(value, list):
            return f"{name} is not a list"
        parts = [(item, form[0], f"{name}[{number}]") for number, item in enumerate(value)]
    else:
        return "" if type(value) is form else f"{name} is not of type {form.__name__}"
    return next((found for part in parts if (found := _misfit(*part))), "")


def _check_state_file(path: Path, entry: dict[str, Any]) -> None:
    state = path.stat()
    require(stat.S_ISREG(state.st_mode), f"{STATE} is not a regular file")
    size = state.st_size
    require(size == entry["bytes"], f"{STATE} has {size:,} bytes instead of {entry['bytes']:,}")
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    require(digest == entry["sha256"], f"{STATE} was altered: its sha256 does not match")


def _read_arrays(
    path: Path, listed: Iterable[dict[str, Any]], wanted: Ranges
) -> dict[str, np.ndarray]:
    result: dict[str, np.ndarray] = {}
    expected = {entry["name"]: entry for entry in listed}
    try:
        with safe_open(path, framework="np") as file:
            odd = ", ".join(sorted(expected.keys() ^ set(file.keys()))[:3])
            require(not odd, f"{STATE} and {MANIFEST} disagree about the arrays {odd}")
            for name, entry in expected.items():
                view = file.get_slice(name)
                require(
                    view.get_dtype() == DTYPES[entry["dtype"]]
                    and list(view.get_shape()) == entry["shape"],
                    f"{STATE} and {MANIFEST} disagree about the dtype or shape of {name}",
                )
                if name not in wanted:
                    result[name] = file.get_tensor(name)
                    continue
                result[name] = _row(path, entry, wanted[name])
    except SafetensorError as error:
        raise Damage(f"{STATE} is not a safetensors file ({error})") from error
    return result


def _row(path: Path, entry: dict[str, Any], wanted: tuple[int, int]) -> np.ndarray:
    """Some elements of an array of a safetensors file, which has been checked."""
    first, last = wanted
    dtype = np.dtype(entry["dtype"])
    require(last <= math.prod(entry["shape"]), f"{entry['name']} has fewer elements than wanted")
    with open(path, "rb") as file:
        header = file.read(int.from_bytes(file.read(8), "little"))
        begin, _ = parse_json(header)[entry["name"]]["data_offsets"]
        file.seek(8 + len(header) + begin + first * dtype.itemsize)
        return np.frombuffer(file.read((last - first) * dtype.itemsize), dtype).copy()
