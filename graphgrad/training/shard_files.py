"""Writes the part of a checkpoint that one rank has, and describes it for the manifest.

A rank writes `state-RANK.safetensors`: of each sharded state the elements that it has, in one row;
the first rank also all that is equal on all ranks. Any program that reads safetensors reads it.
What is described is what `checkpoint_pieces.py` needs to find the elements again, whoever reads
them: names, types and places, the sizes of the whole arrays, and the sha256 of each block.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphgrad.errors import CheckpointError
from graphgrad.files import write_new
from graphgrad.passes.shard_states import Shards
from graphgrad.training.checkpoint_format import (
    checked_array,
    ordered_names,
    safetensors_pieces,
)
from graphgrad.training.checkpoint_pieces import Hashed, file_name

Description = dict[str, Any]


def write_share(
    folder: Path, shards: Shards, rank: int, kept: Mapping[str, np.ndarray]
) -> Description:
    """Writes what is to be saved of the state that a rank keeps; returns its description.

    Raises OSError; a partly written file stays, so the folder should be temporary.
    """
    arrays: dict[str, np.ndarray] = {}
    places: dict[str, tuple[list[int], int, int]] = {}
    if rank == 0:
        for name in kept.keys() - shards.rows.keys():
            arrays[name] = checked_array(name, kept[name])
            places[name] = list(kept[name].shape), 0, kept[name].size
    for name in shards.rows:
        start = 0
        for whole, first, last in shards.pieces(name, rank):
            row = kept[name][start : start + last - first]
            arrays[whole.name] = checked_array(whole.name, row)
            places[whole.name] = list(whole.shape), first, last
            start += last - first
    pieces = iter(safetensors_pieces(arrays))
    header = next(pieces)
    hashed = Hashed([header, *pieces])
    size, _ = write_new(folder / file_name(rank), iter(hashed))
    offset, listed = len(header), []
    for name in ordered_names(arrays):
        array, (shape, first, last) = arrays[name], places[name]
        listed.append(
            {"name": name, "dtype": array.dtype.name, "shape": shape}
            | {"offset": offset, "first": first, "last": last}
        )
        offset += array.nbytes
    return {"name": file_name(rank), "bytes": size, "blocks": hashed.blocks, "arrays": listed}


def manifest_of(names: Iterable[str], written: Sequence[Description]) -> dict[str, Any]:
    """The files and arrays of a manifest, of what all ranks have written: in the order of `names`,
    which are those of the whole state. Raises CheckpointError where one of them has no piece."""
    arrays: dict[str, dict[str, Any]] = {}
    for number, each in enumerate(written):
        for entry in each["arrays"]:
            piece = {"file": number} | {key: entry[key] for key in ("offset", "first", "last")}
            known = {key: entry[key] for key in ("name", "dtype", "shape")}
            found = arrays.setdefault(entry["name"], {**known, "pieces": []})
            if piece["first"] < piece["last"]:
                found["pieces"].append(piece)
    missing = [name for name in names if name not in arrays]
    if missing:
        raise CheckpointError(f"no rank has the state {missing[0]!r}")
    files = [{key: each[key] for key in ("name", "bytes", "blocks")} for each in written]
    return {"files": files, "arrays": [arrays[name] for name in names]}
