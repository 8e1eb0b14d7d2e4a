"""Shards what an optimiser keeps: each rank updates its share of the parameters, and has only that
share of the moments (ZeRO-1, Rajbhandari et al. 2020).

    reduce_scatter(δ of w₁, w₂, …)     in place of all_reduce: the rank's share of the deltas
    next moments, next w               of the share, by the same operations
    all_gather(next w)                 the parameters, whole on all ranks

Parameters whose update is the same computation (`update_regions.py`) are laid side by side in one
row, of about `bucket_bytes`, and the row is cut into one share for each rank. So the graph is the
same on all ranks, a bucket's update is one kernel, and the states of a bucket are one state each,
called `shard_0.first_moment` and so on. A sum over a whole parameter (the norm of its gradient) is
one over what the share has of it, added up over the ranks.

What no region has stays as it is: parameters of one number, states that something else reads,
optimisers that mix the elements of a parameter. Their results are those of `split_batch`.

`Shards` knows which elements of which state a share has, so that a state can be cut for any number
of ranks and joined again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph
from graphgrad.ops.shares import share_size
from graphgrad.passes.order_collectives import bucket_size, in_order
from graphgrad.passes.prune import prune
from graphgrad.passes.sharded_updates import Sharder, Whole
from graphgrad.passes.split_batch import BATCH, parts_of_batch
from graphgrad.passes.update_buckets import update_buckets

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Shards:
    """A graph whose states are sharded, and what its shares hold."""

    graph: Graph
    ranks: int
    rows: Mapping[str, tuple[Whole, ...]] = field(default_factory=dict)
    """For each sharded state the states of the unsharded graph that are side by side in its row."""

    def pieces(self, name: str, rank: int) -> list[tuple[Whole, int, int]]:
        """Of each state that a rank's share has elements of: from which to before which element."""
        row, found, start = self.rows[name], [], 0
        length = share_size(sum(whole.size for whole in row), self.ranks)
        for whole in row:
            first, last = rank * length - start, (rank + 1) * length - start
            if first < whole.size and last > 0:
                found.append((whole, max(first, 0), min(last, whole.size)))
            start += whole.size
        return found

    def cut(self, whole: Arrays, rank: int) -> dict[str, np.ndarray]:
        """What a rank keeps of a state of the unsharded graph."""
        sharded = {each.name for row in self.rows.values() for each in row}
        kept = {name: array for name, array in whole.items() if name not in sharded}
        for name in self.rows:
            parts = [
                whole[each.name].reshape(-1)[first:last]
                for each, first, last in self.pieces(name, rank)
            ]
            kept[name] = self.filled(name, parts)
        return kept

    def filled(self, name: str, parts: Sequence[np.ndarray]) -> np.ndarray:
        """The share that consists of these parts, with zeros behind them."""
        share = np.zeros(self.graph.states[name].type.sizes, self.graph.states[name].dtype)
        if parts:
            joined = np.concatenate(parts)
            share[: joined.size] = joined
        return share

    def joined(self, kept: Sequence[Arrays]) -> dict[str, np.ndarray]:
        """The state of the unsharded graph, of what all ranks have."""
        found = {name: array for name, array in kept[0].items() if name not in self.rows}
        for name, row in self.rows.items():
            flat, start = np.concatenate([each[name] for each in kept]), 0
            for whole in row:
                found[whole.name] = flat[start : start + whole.size].reshape(whole.shape)
                start += whole.size
        return found


def shard_states(
    graph: Graph,
    ranks: int,
    dimension: str = BATCH,
    bucket_bytes: int | None = None,
    delta_dtype: str | None = None,
) -> Shards:
    """What `split_batch` gives, with the states of the optimiser cut into a share for each rank.

    `ranks` is the number of ranks, the other arguments are those of `split_batch`. Returns the
    `graph`, for `compile(…, communicator=…)` on that many ranks; `cut(state, rank)` and
    `joined(states)` make a rank's state of a whole one, and a whole one of those of all ranks.

    Raises ConfigurationError for a number below 1, and what `split_batch` raises.

    >>> x, w = gg.input("x", ("batch", 2)), gg.parameter("w", (2, 3), 0.5)
    >>> step = gg.adam(gg.Graph({"loss": gg.sum((x @ w) ** 2.0)}), 0.1)
    >>> shards = gg.shard_states(step, 4)
    >>> {name: str(node.type) for name, node in shards.graph.states.items() if "moment" in name}
    {'shard_0.first_moment': 'float32[2]', 'shard_0.second_moment': 'float32[2]'}
    >>> [whole.name for whole in shards.rows["shard_0.first_moment"]]
    ['optimiser.w.first_moment']
    """
    if ranks < 1:
        raise ConfigurationError(f"there is at least one rank, not {ranks}", fix="ranks=2, say")
    split = parts_of_batch(prune(graph), dimension, delta_dtype)
    return sharded(split, ranks, bucket_bytes)


def sharded(split: Graph, ranks: int, bucket_bytes: int | None = None) -> Shards:
    """The graph of parts of a batch (`parts_of_batch`) with sharded states, its sums in order."""
    size = bucket_size(split) if bucket_bytes is None else bucket_bytes
    made = Sharder(split, ranks, update_buckets(split, size))
    return Shards(in_order(made.result(), size), ranks, made.rows)
