"""What each of several ranks keeps of the state of a run, as its settings say.

With `shard_states` a rank keeps the parameters, the counters and its share of all else. The run's
`state` then holds that share: what it lacks is in memory of other ranks only.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphgrad.graph import Graph
from graphgrad.passes.shard_states import Shards, shard_states
from graphgrad.passes.split_batch import split_batch
from graphgrad.training.settings import TrainingSettings

DELTA_DTYPES = {"fp32": None, "bf16": "bfloat16"}
"""As what deltas are sent, by the setting `sent_deltas`."""


def graph_of_ranks(graph: Graph, settings: TrainingSettings, ranks: int) -> Shards:
    """The graph that each of some ranks runs, and what its shares hold: without `shard_states`
    there are none."""
    dtype = DELTA_DTYPES[settings.sent_deltas]
    if settings.shard_states and ranks > 1:
        return shard_states(graph, ranks, delta_dtype=dtype)
    return Shards(split_batch(graph, delta_dtype=dtype), ranks)


def wanted_by(shards: Shards, rank: int) -> dict[str, tuple[int, int]]:
    """Of each sharded state the elements that a rank keeps, from the first to before the last."""
    found = {whole.name: (0, 0) for row in shards.rows.values() for whole in row}
    for name in shards.rows:
        for whole, first, last in shards.pieces(name, rank):
            found[whole.name] = first, last
    return found


def kept_of(shards: Shards, rank: int, read: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a rank keeps, of arrays that were read as `wanted_by` says."""
    ranges = wanted_by(shards, rank)
    kept = {name: array for name, array in read.items() if name not in ranges}
    for name in shards.rows:
        parts = [read[whole.name] for whole, _, _ in shards.pieces(name, rank)]
        kept[name] = shards.filled(name, parts)
    return kept


def keep_share(state: dict[str, np.ndarray], shards: Shards, rank: int) -> None:
    """Cuts a whole state down to what a rank keeps, in place, so that nothing else is held."""
    kept = shards.cut(state, rank)
    state.clear()
    state.update(kept)


def with_zeros(graph: Graph, state: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """The state with zeros in place of what only other ranks keep: neither values nor deltas
    depend on it."""
    missing = [name for name in graph.states if name not in state]
    if not missing:
        return state
    nodes = graph.states
    return {
        **state,
        **{name: np.zeros(nodes[name].type.sizes, nodes[name].dtype) for name in missing},
    }
