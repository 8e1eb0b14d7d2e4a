"""What a run was made with: its model, settings and files, under a seal.

`configuration.json` says it, and each checkpoint says it again where it matters, so that no file
of another run, and none that a disk has damaged, gives a result that nobody meant:

- the configuration has a seal, the sha256 of the rest as canonical JSON, and the sha256 of each
  file of text that the model keeps (vocabularies), and of the model file, where there is one;
- a checkpoint's details hold the run's identity, these digests, the settings that may not change,
  and the sha256 of the graph's text.

A run that was made before there were seals is read without them, which is said.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphgrad.errors import CheckpointError, ConfigurationError, DataError
from graphgrad.graph import Graph
from graphgrad.graph.digest import graph_digest
from graphgrad.training.run_folder import CONFIGURATION, RunFolder
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.text_settings import FILES

FIXED = (
    "seed",
    "batch_size",
    "accumulate",
    "local_steps",
    "overfit_batches",
    "average_decay",
    "optimiser",
    "dtype",
    "frozen",
)
"""Settings of every run that the order of its data or its state depends on. What a model declares
itself is fixed too."""
PLACES = (*FILES, "text", "tokenizer")
"""Settings of a model that say where its data lie: they may move, if they stay the same."""
LOOKS = ("validation_size", "bleu")
"""Settings of a model that say how it is looked at, which changes nothing in it."""

_MENDING = (
    "restore it from a copy; settings are changed with "
    "`graphgrad train --resume RUN --set KEY=VALUE`"
)
_OLD = "the run was made by an older graphgrad: nothing tells whether its files belong together"


@dataclass(frozen=True)
class Configuration:
    """What the file of that name holds."""

    model: str
    digest: str
    """The sha256 of the model file; empty of a built-in model."""
    settings: Mapping[str, Any]
    files: Mapping[str, str]
    """The names of the texts that the model keeps, with the sha256 of each."""
    run: str
    """What tells the run from all others; empty of one made before there were identities."""
    sealed: bool = True


def read_configuration(folder: RunFolder) -> Configuration:
    """Raises ConfigurationError, or DataError, where it is damaged."""
    where = str(folder.path / CONFIGURATION)
    read = folder.read_json(CONFIGURATION)
    match read:
        case {"model": str(model), "settings": dict(settings), "files": list(names), **others}:
            if not others and all(isinstance(name, str) for name in names):
                return Configuration(model, "", settings, dict.fromkeys(names, ""), "", False)
        case {
            "model": str(model),
            "model_sha256": str(digest),
            "settings": dict(settings),
            "files": dict(files),
            "run": str(run),
            "seal": str(seal),
        }:
            if seal != _seal({key: value for key, value in read.items() if key != "seal"}):
                raise ConfigurationError(
                    "the configuration of the run was altered: its seal does not match",
                    where,
                    _MENDING,
                )
            return Configuration(model, digest, settings, files, run)
    raise ConfigurationError("the configuration of the run is damaged", where, _MENDING)


def write_configuration(folder: RunFolder, configuration: Configuration) -> None:
    """Writes the file with its seal, at once."""
    body = {
        "model": configuration.model,
        "model_sha256": configuration.digest,
        "settings": dict(configuration.settings),
        "files": dict(configuration.files),
        "run": configuration.run,
    }
    folder.write_json(CONFIGURATION, body | {"seal": _seal(body)})


def _seal(body: Mapping[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return _digest(canonical)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def digests(texts: Mapping[str, str]) -> dict[str, str]:
    """The sha256 of each text, by name."""
    return {name: _digest(texts[name]) for name in sorted(texts)}


def read_texts(folder: RunFolder, configuration: Configuration) -> dict[str, str]:
    """The texts that the model keeps. Raises DataError where one is missing or another."""
    texts = {name: folder.read_text(name) for name in configuration.files}
    for name, text in texts.items():
        if configuration.sealed and _digest(text) != configuration.files[name]:
            raise DataError(
                f"{name} was altered or is of another run: its sha256 does not match",
                folder.path / name,
                "restore it from a copy, or start a new run",
            )
    return texts


def refuse_fixed(before: TrainingSettings, after: TrainingSettings, where: str) -> None:
    """ConfigurationError where a setting differs that a run keeps for good."""
    changed = [name for name in _fixed(before) if getattr(before, name) != getattr(after, name)]
    if not changed:
        return
    free = [field.name for field in dataclasses.fields(before) if field.name not in _fixed(before)]
    values = ", ".join(f"{name} ({getattr(before, name)})" for name in changed)
    raise ConfigurationError(
        f"a run keeps its {values}: its model, its data and their order depend on it",
        where,
        f"start a new run; what may change: {', '.join(free)}",
    )


def _fixed(settings: TrainingSettings) -> tuple[str, ...]:
    every = {field.name for field in dataclasses.fields(TrainingSettings)}
    own = [field.name for field in dataclasses.fields(settings) if field.name not in every]
    return (*FIXED, *(name for name in own if name not in (*PLACES, *LOOKS)))


def bindings(configuration: Configuration, settings: TrainingSettings, graph: Graph) -> Any:
    """What a checkpoint says of the run that it is of."""
    return {
        "run": configuration.run,
        "files": dict(configuration.files),
        "settings": {name: getattr(settings, name) for name in _fixed(settings)},
        "computes": graph_digest(graph),
    }


def check_bindings(
    found: Mapping[str, Any], wanted: Mapping[str, Any], where: str
) -> tuple[str, ...]:
    """CheckpointError where a checkpoint is not of this run; notes of what differs harmlessly.

    `found` are the details of the checkpoint, `wanted` the bindings of the run as it was opened.
    """
    if not found and not wanted["run"]:
        return (_OLD,)
    fix = "put the files of each run back into its own folder"
    if found.get("run") != wanted["run"]:
        raise CheckpointError("the checkpoint is of another run", where, fix)
    for kind in ("files", "settings"):
        theirs, ours = found.get(kind), wanted[kind]
        if not isinstance(theirs, dict):
            raise CheckpointError(f"the checkpoint does not say its {kind}", where, fix)
        odd = [name for name in ours if name in theirs and theirs[name] != ours[name]]
        odd += sorted(theirs.keys() - ours.keys())
        if odd:
            raise CheckpointError(
                f"the checkpoint was saved with other {kind} than the run's: {', '.join(odd)}",
                where,
                fix,
            )
    if found.get("computes", wanted["computes"]) == wanted["computes"]:
        return ()  # a checkpoint of an older version does not say it
    return (
        "the graph of the model is not the one that the checkpoint was saved with: graphgrad, "
        "or what the model file imports, has changed since",
    )
