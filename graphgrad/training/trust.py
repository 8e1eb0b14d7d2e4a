"""Decides whether the Python file that a run names may be run.

A run folder can come from anybody, and its configuration names the model, which may be a file.
Running a file that a stranger named would give the stranger control of this machine. So the file of
a run is run only

- if the user names it explicitly (`--model FILE`), or
- if this user has already trained with this file: the same path and the same bytes. A record of
  such files is kept outside of any run (see `user_folder.py`).

If its bytes are not those that the run was trained with, the user must name it, and gets a note.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from graphgrad.errors import ConfigurationError
from graphgrad.training.task import ModelFile, is_path, load_model, read_model_file
from graphgrad.user_folder import read_own, user_folder, write_own

_RECORD = "trained_models"


def trust(model: ModelFile) -> None:
    """Records that this user trains with the file of a model, where such a record can be kept."""
    folder = user_folder(_RECORD)
    if folder is not None and model.digest:
        write_own(folder / _entry(model.name, model.digest), model.name.encode("utf-8", "replace"))


def is_trusted(path: str, digest: str) -> bool:
    """Whether this user has trained with this file, with exactly these bytes."""
    folder = user_folder(_RECORD)
    return folder is not None and read_own(folder / _entry(path, digest)) is not None


def model_of_run(
    name: str, digest: str, builtin: Mapping[str, ModuleType], named: str | None = None
) -> tuple[ModelFile, tuple[str, ...]]:
    """The model of a run whose configuration has this name and the sha256 of the file, and notes.

    `named` is the file that the user names for it. A note says if it differs from the run's.
    """
    if named is not None:
        return _named(name, digest, builtin, named)
    if name in builtin or not is_path(name):
        return load_model(name, builtin), ()
    way_out = "name it: --model FILE"
    if not Path(name).is_absolute():
        raise ConfigurationError(
            f"the run's configuration names the Python file {name} without its full path, so it is "
            "not run",
            fix=f"read the file, and if you trust it {way_out}",
        )
    source = read_model_file(Path(name), f"if it was moved, {way_out}")
    found = hashlib.sha256(source).hexdigest()
    if digest and found != digest:
        raise ConfigurationError(
            "the model file was changed since the run was trained with it",
            name,
            f"restore it; or, to use it as it is now, --model {shlex.quote(name)}",
        )
    if not is_trusted(name, found):
        raise ConfigurationError(
            "the run's configuration names a Python file that you have not trained with: it is "
            "not run, as a run that others made could name anything",
            name,
            f"read the file, and if you trust it --model {shlex.quote(name)}",
        )
    model = load_model(name, builtin)
    if model.digest != found:
        raise ConfigurationError("the model file changes at this moment", name, "try again")
    return model, ()


def _named(
    name: str, digest: str, builtin: Mapping[str, ModuleType], named: str
) -> tuple[ModelFile, tuple[str, ...]]:
    if name in builtin:
        raise ConfigurationError(
            f"the run is of the built-in model {name}, not of a file", fix="leave --model out"
        )
    model = load_model(named, {} if is_path(named) else builtin)
    if not digest or model.digest == digest:
        return model, ()
    note = (
        f"{named} is not the file that the run was trained with ({Path(name).name}, sha256 "
        f"{digest[:12]}…): the results are those of the run's parameters in the model as it is now"
    )
    return model, (note,)


def _entry(path: str, digest: str) -> str:
    return hashlib.sha256(f"{path}\0{digest}".encode("utf-8", "surrogateescape")).hexdigest()
