"""Opens the run or the model that a command is given, with an error if it is the other one."""

from __future__ import annotations

import argparse
import dataclasses
import glob
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from graphgrad.backends import backend_called, need_backend
from graphgrad.errors import ConfigurationError, EnvironmentLimitError, UnknownNameError
from graphgrad.files import disk_errors, read_file
from graphgrad.models import BUILTIN, builtin_recipe, recipe_names
from graphgrad.options import BACKENDS
from graphgrad.text import suggestion
from graphgrad.tools.options import (
    BACKEND_OPTION,
    CHECKPOINT_OPTION,
    MODEL_OPTION,
    WEIGHTS_OPTION,
    add_options,
)
from graphgrad.tools.streams import tell
from graphgrad.training.configuration import read_configuration
from graphgrad.training.prompts import Prompts
from graphgrad.training.recipe import model_of_recipe, read_recipe
from graphgrad.training.run_folder import CONFIGURATION, RunFolder
from graphgrad.training.runs import OpenRun, open_run
from graphgrad.training.task import ModelFile, is_path, load_model

RUNS = Path("runs")
_LISTED = 5
_LONGEST_RECIPE = 1 << 20  # bytes


def trained_run(arguments: argparse.Namespace) -> OpenRun:
    """The run of a command that uses a trained model, as its options say."""
    given = getattr(arguments, "weights", None)
    values: dict[str, Any] = {} if given is None else {"use_average": given == "average"}
    values |= backend_values(arguments)
    return run_of(
        arguments.run,
        values,
        model_file=arguments.model_file,
        checkpoint=arguments.checkpoint,
    )


def backend_values(arguments: argparse.Namespace) -> dict[str, Any]:
    """The setting that `--backend` changes, where it is given."""
    backend = getattr(arguments, "backend", None)
    return {} if backend is None else {"backend": backend}


def used_run(arguments: argparse.Namespace) -> OpenRun:
    """The run of a command that computes with a trained model, its state where that is done."""
    opened = trained_run(arguments)
    backend = backend_called(opened.settings.backend)
    return dataclasses.replace(opened, state=backend.placed(opened.state))


def add_trained_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `trained_run` to a parser."""
    add_options(parser, [MODEL_OPTION, CHECKPOINT_OPTION, WEIGHTS_OPTION])


def add_used_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `used_run` to a parser."""
    add_trained_options(parser)
    add_options(parser, [BACKEND_OPTION])


def refuse_model_option(model_file: str | None, checkpoint: str = "") -> None:
    """Raises ConfigurationError if `--model` or `--checkpoint` is given without a run."""
    for name, given, what in (
        ("--model", model_file is not None, "names the model"),
        ("--checkpoint", bool(checkpoint), "chooses a state"),
    ):
        if given:
            raise ConfigurationError(
                f"{name} {what} of a run, and there is no run", fix=f"leave {name} out"
            )


def run_of(
    path: str,
    values: Mapping[str, Any] | None = None,
    step: int | None = None,
    told: bool = True,
    model_file: str | None = None,
    checkpoint: str = "",
    ranks: int = 1,
) -> OpenRun:
    """The run of a folder, as the first of some ranks opens it; prints warnings about its state, if
    `told`.

    Raises EnvironmentLimitError for a backend in `values` that the machine lacks. A run that was
    trained by another backend than those of this machine is used on the processor, with a note.
    """
    _refuse_a_model(path)
    values = dict(values or {})
    if "backend" in values:
        need_backend(values["backend"])
    elif told:
        values |= _backend_of_this_machine(path)
    opened = open_run(path, BUILTIN, values, step, model_file, checkpoint, 0, ranks)
    for warning in opened.warnings if told else ():
        tell(f"note: {warning}")
    return opened


def _backend_of_this_machine(path: str) -> dict[str, str]:
    """The backend in place of the run's own, if this machine lacks that."""
    recorded = read_configuration(RunFolder.open(path)).settings.get("backend", "numpy")
    try:
        if recorded in BACKENDS:
            need_backend(recorded)
    except EnvironmentLimitError as problem:
        tell(f"note: the run is used on the processor: {problem.problem}")
        return {"backend": "numpy"}
    return {}


def folder_of(path: str) -> RunFolder:
    """The folder of a run, for commands that do not need its state."""
    _refuse_a_model(path)
    return RunFolder.open(path)


def is_run(name: str) -> bool:
    """Whether a name, of a model or a run, is opened as a run."""
    return name not in BUILTIN and Path(name).is_dir()


def model_of(name: str) -> ModelFile:
    """The built-in model of a name, or that of a file, or that of a recipe with its settings."""
    if is_run(name):
        if (Path(name) / CONFIGURATION).is_file():
            raise UnknownNameError(
                f"{name} is a run, and a model is wanted here",
                name,
                f"name the model ({', '.join(BUILTIN)}, or a .py file); to go on with the run: "
                f"graphgrad train --resume {shlex.quote(name)}",
            )
        raise UnknownNameError(
            f"{name} is a folder, and a model is wanted here",
            name,
            f"models: {', '.join(BUILTIN)}, or a .py file",
        )
    if name.endswith(".toml"):
        return _model_of_file(Path(name))
    if name not in BUILTIN and not is_path(name):
        return _model_of_recipe(name)
    return load_model(name, BUILTIN)


def _model_of_recipe(name: str) -> ModelFile:
    """The model of a built-in recipe."""
    if name not in recipe_names():
        known = [*BUILTIN, *recipe_names()]
        near = suggestion(name, known, "")
        hint = f"{near}; " if near.startswith("did") else ""
        raise UnknownNameError(
            f"there is no model and no recipe called {name!r}",
            fix=f"{hint}built-in models: {', '.join(BUILTIN)}; recipes: "
            f"{', '.join(recipe_names())}; or give the path of a .py or .toml file",
        )
    return model_of_recipe(builtin_recipe(name), BUILTIN, f"{name}.toml")


def _model_of_file(path: Path) -> ModelFile:
    """The model of a recipe in a user's own file."""
    with disk_errors(path, "read"):
        if not path.is_file():
            raise UnknownNameError(f"there is no recipe file {path}", fix="check the path")
        text = read_file(path, _LONGEST_RECIPE).decode("utf-8", "replace")
    return model_of_recipe(read_recipe(path.stem, text, str(path)), BUILTIN, str(path))


def prompts_of(opened: OpenRun, in_python: str) -> Prompts:
    """What a run makes of a text that a user types; `in_python` is what takes arrays instead.

    Raises ConfigurationError where the model does not read text.
    """
    if opened.task.prompts is None:
        raise ConfigurationError(
            f"the model {opened.model.short_name} does not read a text",
            fix=f"use a run of transformer, gpt or bert; in Python {in_python} takes arrays",
        )
    return opened.task.prompts


def need_text(what: str, text: str) -> None:
    """Raises ConfigurationError for a text without a word."""
    if not text.strip():
        raise ConfigurationError(f"{what} is empty", fix='write a sentence: "…"')


def batch_of(batch: int | None, step: int) -> int:
    """The number of `--batch`, or that of the step without it."""
    if batch is not None and not 0 <= batch < 2**63:
        raise ConfigurationError(
            f"--batch {batch}: the batches of a run are counted from 0",
            fix="--batch 0 for that of the first step",
        )
    return step if batch is None else batch


def _refuse_a_model(path: str) -> None:
    """Raises UnknownNameError if a model is given instead of a run."""
    if Path(path).is_dir() or not (path in BUILTIN or path.endswith(".py")):
        return
    name = Path(path).stem
    runs = _runs_of(name)
    fix = f"runs of it: {', '.join(runs)}" if runs else f"train it: graphgrad train {path}"
    raise UnknownNameError(f"{path} is a model, and the folder of a run is wanted here", fix=fix)


def _runs_of(model: str) -> list[str]:
    """The newest runs in `RUNS` with the name of a model."""
    found: list[Path] = []
    with suppress(OSError):
        found = [file.parent for file in RUNS.glob(f"{glob.escape(model)}-*/{CONFIGURATION}")]
    return [str(entry) for entry in sorted(found)[-_LISTED:]]
