"""Declares the updates of a split graph once more, for a rank's share of the parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from graphgrad.graph import Graph, Node, declared_at, leaf_name
from graphgrad.graph.initial import ZEROS
from graphgrad.graph.leaves import state
from graphgrad.graph.node import with_heads
from graphgrad.ops import all_gather, all_reduce, broadcast_to, concatenate, reduce_scatter, reshape
from graphgrad.ops.collectives import SUM
from graphgrad.ops.shares import own_share, own_sums, share_size
from graphgrad.passes.update_buckets import Bucket

SHARD = "shard"
"""What the scopes of sharded values are called: shard_0 and so on."""


@dataclass(frozen=True)
class Whole:
    """A state as it is without shards."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


class Unit(NamedTuple):
    """A value of the new graph: `kind` is node, flat (the share of a bucket), sums (of the values
    of a bucket) or row (of all shares of a bucket). A node is one of the old graph, the others are
    at a place of the bucket of a number."""

    kind: str
    node: Node | None = None
    bucket: int = -1
    place: int = -1


class Sharder:
    """Walks through the units, heads before tails, and declares each."""

    def __init__(self, graph: Graph, ranks: int, buckets: Sequence[Bucket]) -> None:
        self.graph, self.ranks, self.buckets = graph, ranks, buckets
        self.rows: dict[str, tuple[Whole, ...]] = {}
        """For each sharded state those whose elements are in its row, in order."""
        self.made: dict[Unit, Node] = {}
        self.sums: dict[Node, tuple[Unit, int]] = {}
        """Of each whole sum of a region: the sums of its bucket, and which of them it is."""
        self.gone: set[Node] = set()
        """What only regions read: it is not declared again."""
        for number, bucket in enumerate(buckets):
            self._note(number, bucket)

    def _note(self, number: int, bucket: Bucket) -> None:
        for region, nodes in zip(bucket.regions, bucket.nodes, strict=True):
            place_of = {node: place for place, node in enumerate(nodes)}
            which = bucket.regions.index(region)
            for node in region.sums:
                unit = Unit("sums", bucket=number, place=place_of[node.heads[0]])
                self.sums[node] = unit, which
            self.gone.update(region.inside, region.gradients, region.states)

    def result(self) -> Graph:
        """The graph with sharded updates."""
        graph = self.graph
        ready: dict[int, list[Unit]] = {}
        for number, bucket in enumerate(self.buckets):
            for place, entry in enumerate(bucket.entries):
                if entry[0] == "gradient":
                    last = max(graph.position(nodes[place].heads[0]) for nodes in bucket.nodes)
                    ready.setdefault(last, []).append(Unit("flat", bucket=number, place=place))
        for position, node in enumerate(graph.nodes):
            if node not in self.gone:
                self.value(Unit("node", node))
            for unit in ready.get(position, ()):  # as soon as the deltas are there
                self.value(unit)
        return self._joined(self._updates())

    def _joined(self, updates: Mapping[Node, Node]) -> Graph:
        graph = self.graph
        new = {unit.node: made for unit, made in self.made.items() if unit.node is not None}
        for leaf, node in graph.updates.items():
            if node in self.gone and leaf in updates:
                new[node] = updates[leaf]  # a next value that all ranks have whole
        names = {name: new[node] for name, node in graph.names.items() if node in new}
        return Graph(
            {name: new[node] for name, node in graph.outputs.items()},
            updates,
            names,
            self.made.values(),
            graph.retired.union(graph.names.keys() - names.keys()),
            [derivation.replace_nodes(new) for derivation in graph.derivations],
        )

    def _updates(self) -> dict[Node, Node]:
        found: dict[Node, Node] = {}
        for leaf, node in self.graph.updates.items():
            if leaf not in self.gone and node not in self.gone:
                found[leaf] = self.value(Unit("node", node))
        for number, bucket in enumerate(self.buckets):
            for entry in bucket.entries:
                if entry[0] == "update":
                    self._update(found, number, entry)
        return found

    def _update(self, found: dict[Node, Node], number: int, entry: tuple[object, ...]) -> None:
        """Adds the updates of a bucket: that of a sharded state, or of each whole leaf."""
        bucket = self.buckets[number]
        _, place, _, is_sharded, leaf_place = entry
        assert isinstance(place, int)
        if is_sharded:
            assert isinstance(leaf_place, int)
            leaf = self.value(Unit("flat", bucket=number, place=leaf_place))
            found[leaf] = self.value(Unit("flat", bucket=number, place=place))
            return
        row, start = self.value(Unit("row", bucket=number, place=place)), 0
        for region, nodes, size in zip(bucket.regions, bucket.nodes, bucket.sizes, strict=True):
            (leaf,) = (
                leaf
                for leaf, node in region.updates.items()
                if node is nodes[place] and leaf not in region.states
            )
            with declared_at("", leaf.origin):
                found[leaf] = reshape(row[start : start + size], leaf.shape)
            start += size

    # ------------------------------------------------------------ units

    def value(self, wanted: Unit) -> Node:
        """The node of a unit, declared with all that it needs."""
        stack = [wanted]
        while stack:
            unit = stack[-1]
            if unit in self.made:
                stack.pop()
                continue
            missing = [each for each in self.needs(unit) if each not in self.made]
            if missing:
                stack += missing
                continue
            self.made[unit] = self.declared(unit)
        return self.made[wanted]

    def needs(self, unit: Unit) -> list[Unit]:
        """The units from which a unit is computed."""
        if unit.kind == "node":
            assert unit.node is not None
            if unit.node in self.sums:
                return [self.sums[unit.node][0]]
            return [Unit("node", head) for head in unit.node.heads]
        if unit.kind in ("sums", "row"):
            return [unit._replace(kind="flat")]
        bucket = self.buckets[unit.bucket]
        nodes = [nodes[unit.place] for nodes in bucket.nodes]
        match bucket.entries[unit.place]:
            case ("gradient", *_):
                return [Unit("node", node.heads[0]) for node in nodes]
            case ("whole", *_):
                return [Unit("node", node) for node in nodes]
            case ("operation", _, _, heads):
                assert isinstance(heads, tuple)
                return [self._head(unit, head) for head in heads]
            case _:
                return []

    def _head(self, unit: Unit, head: int | Node) -> Unit:
        return unit._replace(place=head) if isinstance(head, int) else Unit("node", head)

    def declared(self, unit: Unit) -> Node:
        """The node of a unit whose heads are declared."""
        if unit.kind == "node":
            assert unit.node is not None
            return self._outside(unit.node)
        bucket = self.buckets[unit.bucket]
        first = bucket.nodes[0][unit.place]
        with declared_at(f"{SHARD}_{unit.bucket}", first.origin):
            if unit.kind == "flat":
                return self._flat(unit, bucket, first)
            flat = self.made[unit._replace(kind="flat")]
            if unit.kind == "row":
                return all_gather(flat, sum(bucket.sizes), ranks=self.ranks, name="row")
            sums = own_sums(flat, bucket.sizes, self.ranks, name="sums")
            return all_reduce.node(sums, kind=SUM, number=-1)

    def _outside(self, old: Node) -> Node:
        with declared_at(self.graph.name_of(old), old.origin):
            if old in self.sums:
                unit, place = self.sums[old]
                return self.made[unit][place]
            heads = tuple(self.made[Unit("node", head)] for head in old.heads)
            return old if heads == old.heads else with_heads(old, heads)

    def _flat(self, unit: Unit, bucket: Bucket, first: Node) -> Node:
        """The rank's share of the values at a place of a bucket, side by side."""
        heads = [self.made[each] for each in self.needs(unit)]
        match bucket.entries[unit.place][0]:
            case "gradient":
                flat = [reshape(head, (-1,)) for head in heads]
                joined = concatenate(flat, axis=0, name="deltas") if len(flat) > 1 else flat[0]
                return reduce_scatter(joined, ranks=self.ranks, name="delta")
            case "state":
                return self._state(unit, bucket)
            case "whole":
                return own_share(*heads, ranks=self.ranks)
        if first.operation is broadcast_to:
            return broadcast_to(heads[0], (share_size(sum(bucket.sizes), self.ranks),))
        return first.operation.node(*heads, **first.attributes)

    def _state(self, unit: Unit, bucket: Bucket) -> Node:
        leaves = [nodes[unit.place] for nodes in bucket.nodes]
        own = leaf_name(leaves[0]).replace(leaf_name(bucket.regions[0].leaf), "").strip(".")
        taken = f"{SHARD}_{unit.bucket}.{own.rpartition('.')[2] or 'state'}"
        while taken in self.rows:
            taken = f"{taken}_"
        length = share_size(sum(bucket.sizes), self.ranks)
        with declared_at("", leaves[0].origin):
            leaf = state(taken, (length,), ZEROS, leaves[0].dtype)
        self.rows[taken] = tuple(Whole(leaf_name(each), each.type.sizes) for each in leaves)
        return leaf
