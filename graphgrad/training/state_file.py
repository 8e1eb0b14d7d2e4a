"""`save` and `load`: the state of a model as one file of the safetensors format.

    gg.save("model.safetensors", state)
    state = gg.load("model.safetensors", graph)

The order of arguments is NumPy's. The file is written like a checkpoint: at once or not at all, raw
numbers without pickle, and with the sha256 of the arrays in its metadata, so that damage is noticed
when it is read. Any program that reads safetensors reads it; files of other programs, which lack
the sum, are loaded by the same function. (A run has more to keep, and keeps it as checkpoints.)
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from graphgrad.errors import CheckpointError
from graphgrad.files import disk_errors, write_atomically
from graphgrad.graph import Graph
from graphgrad.graph.types import shape_text
from graphgrad.graph.verify import need_graph
from graphgrad.text import show_controls, suggestion
from graphgrad.training.checkpoint_format import (
    DTYPES,
    checked_array,
    ordered_names,
    safetensors_pieces,
)

_SUM = "graphgrad.sha256"
"""The key of the metadata under which the sha256 of all arrays is kept."""
_NAMES = {kind: name for name, kind in DTYPES.items()}


def save(path: Path | str, state: Mapping[str, np.ndarray]) -> None:
    """Writes the arrays of a state to a file, in place of one that is there.

    Raises CheckpointError for what such a file cannot hold, and EnvironmentLimitError where the
    disk refuses: then the file of before is untouched.
    """
    if not isinstance(state, Mapping):
        raise CheckpointError(
            f"a state is a dictionary of arrays, not {type(state).__name__}",
            fix="save(path, state): the path comes first",
        )
    arrays = {name: checked_array(name, array) for name, array in state.items()}
    total = hashlib.sha256()
    for name in ordered_names(arrays):
        total.update(arrays[name].reshape(-1).view(np.uint8).data)
    write_atomically(path, [*safetensors_pieces(arrays, {_SUM: total.hexdigest()})])


def load(path: Path | str, graph: Graph | None = None) -> dict[str, np.ndarray]:
    """The arrays of a file that `save` or another program wrote.

    With `graph`, what its parameters and states need, each as it is declared; what the file holds
    beside that (an optimiser's moments, say) is left out. Raises CheckpointError where the file is
    missing, damaged or of another model.
    """
    path = Path(path)
    if graph is not None:
        need_graph(graph, "load")
    with disk_errors(path, "read"):
        if not os.path.lexists(path):
            raise CheckpointError("there is no such file", path, "gg.save(path, state) first")
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise CheckpointError("this is not a regular file", path)
        try:
            arrays = _read(path)
        except SafetensorError as error:
            raise CheckpointError(
                f"this is not a whole safetensors file: {show_controls(str(error))}",
                path,
                "copy it again from where it came from",
            ) from None
    return arrays if graph is None else _fitting(arrays, graph, str(path))


def _read(path: Path) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    with safe_open(path, framework="np") as file:
        expected = (file.metadata() or {}).get(_SUM)
        names = list(file.keys())
        for name in names:
            kind = file.get_slice(name).get_dtype()
            if kind not in _NAMES:
                raise CheckpointError(
                    f"{show_controls(name)} is {kind}, which graphgrad does not compute with",
                    path,
                    f"convert it to one of {', '.join(DTYPES)} where it was made",
                )
            arrays[name] = file.get_tensor(name)
    if expected is not None and expected != _sum_of(path):
        raise CheckpointError(
            "the file was altered: the sha256 of its arrays does not fit",
            path,
            "copy it again from where it came from",
        )
    return arrays


def _sum_of(path: Path) -> str:
    """The sha256 of what follows the header of a safetensors file."""
    with open(path, "rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fitting(arrays: Mapping[str, np.ndarray], graph: Graph, where: str) -> dict[str, Any]:
    """What the states of the graph need. Raises CheckpointError where that is not there."""
    found = {}
    for name, node in graph.states.items():
        if name not in arrays:
            known = [show_controls(each) for each in arrays]
            raise CheckpointError(
                f"the file has no array {name!r}", where, suggestion(name, known, "it holds")
            )
        array = arrays[name]
        if array.shape != node.shape or array.dtype != node.dtype:
            raise CheckpointError(
                f"{name!r} is {array.dtype}{shape_text(array.shape)} in the file, and {node.type} "
                "in the graph",
                where,
                "it is the state of another model, or of other settings",
            )
        found[name] = array
    return found
