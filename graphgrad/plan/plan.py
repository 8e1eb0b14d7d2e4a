"""The plan: every step in order, and a place in memory for every value.

- A leaf lies where its owner keeps it: inputs with the caller, states in the state, constants with
  the program. A view lies in the memory of its root. Everything else lies in one arena.
- A value's place is free again after its last reader. An elementwise result takes the place of a
  head that dies with it.
- The next value of a state is written straight into the state where all readers of the old value
  have run by then; otherwise it is copied there at the end.

The peak is known before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphgrad.graph import CONSTANT, INPUT, LEAVES, STATEFUL, Graph, Node, TensorType
from graphgrad.graph.text import plain
from graphgrad.ops.movement import COPY
from graphgrad.plan.arena import Arena, aligned
from graphgrad.plan.layout import ghost, viewed
from graphgrad.plan.schedule import schedule


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value lies. `kind` is input, state, constant, arena or view; `root` is the node whose
    memory it is (the leaf that is updated, for a next value that is written in place)."""

    kind: str
    root: Node
    offset: int = -1


@dataclass(frozen=True, slots=True)
class Scratch:
    """A working array of one step."""

    offset: int
    type: TensorType


@dataclass(frozen=True, slots=True)
class Step:
    """One computation; a view costs nothing and is no step."""

    node: Node
    scratch: tuple[Scratch, ...] = ()
    live_bytes: int = 0


@dataclass(frozen=True)
class Plan:
    """What a backend lowers: `str(plan)` prints it."""

    graph: Graph
    steps: tuple[Step, ...]
    places: Mapping[Node, Place]
    arena_bytes: int
    guards: tuple[Node, ...]
    guard_position: int
    """The guards are checked before the step of this number; no state is written before it."""
    copies: tuple[tuple[Node, Node], ...]
    """(leaf, next value) of the updates that are copied into the state at the end."""

    @property
    def peak_bytes(self) -> int:
        """Bytes of the arena, the constants and the state: what a run holds beside its inputs."""
        kept = [n for n in self.graph.nodes if n.operation is CONSTANT or n.operation in STATEFUL]
        return self.arena_bytes + sum(node.type.nbytes for node in kept)

    def __str__(self) -> str:
        lines = [f"{len(self.steps)} steps, arena {self.arena_bytes:,} bytes, "
                 f"peak {self.peak_bytes:,} bytes"]  # fmt: skip
        for number, step in enumerate(self.steps):
            place = self.places[step.node]
            where = f"@{place.offset}" if place.kind == "arena" else place.kind
            name = plain(self.graph.name_of(step.node))
            lines.append(
                f"{number:>5}  {step.node.operation.name:<16} {step.node.type!s:<28} {where:<12} "
                f"live {step.live_bytes:>12,}  {name}"
            )
        return "\n".join(lines)


def make_plan(graph: Graph, guards: Sequence[Node] = ()) -> Plan:
    """The plan of a graph of known shapes. `guards` must be finite for the updates to happen."""
    graph = _with_snapshots(graph)
    order, before_guards = schedule(graph, guards)
    places, computed, guard_position = _roots(graph, order, before_guards)
    roots = {node: place.root for node, place in places.items()}
    last_use = _last_uses([*graph.outputs.values(), *graph.updates.values(), *guards],
                          computed, roots)  # fmt: skip
    copies = _place_updates(graph, computed, places, last_use, guard_position)
    steps, arena_bytes = _allocate(computed, places, roots, last_use)
    return Plan(graph, steps, places, arena_bytes, tuple(guards), guard_position, copies)


def _with_snapshots(graph: Graph) -> Graph:
    """A state (or a view of one) that is returned or becomes another state is copied first, so that
    no update can change it under the reader."""

    def safe(node: Node) -> Node:
        root = node
        while root.operation.view is not None:
            root = root.heads[0]
        return COPY(node) if root.operation in STATEFUL and graph.updates else node

    outputs = {name: safe(node) for name, node in graph.outputs.items()}
    updates = {leaf: safe(node) for leaf, node in graph.updates.items()}
    return Graph(outputs, updates, graph.names, graph.nodes)


def _roots(
    graph: Graph, order: Sequence[Node], before_guards: int
) -> tuple[dict[Node, Place], list[Node], int]:
    """Leaves and views get their places; what is left has to be computed."""
    places: dict[Node, Place] = {}
    ghosts: dict[Node, np.ndarray] = {}
    for node in graph.nodes:
        if node.operation in LEAVES:
            kind = {INPUT: "input", CONSTANT: "constant"}.get(node.operation, "state")
            places[node] = Place(kind, node)
            ghosts[node] = ghost(node.type.sizes, node.dtype)
    computed: list[Node] = []
    guard_position = 0
    for number, node in enumerate(order):
        if number == before_guards:
            guard_position = len(computed)
        result = viewed(node, ghosts[node.heads[0]]) if node.operation.view else None
        if result is not None:
            places[node], ghosts[node] = Place("view", places[node.heads[0]].root), result
            continue
        places[node] = Place("arena", node)
        ghosts[node] = ghost(node.type.sizes, node.dtype)
        computed.append(node)
    return places, computed, guard_position if before_guards < len(order) else len(computed)


def _last_uses(
    kept: Sequence[Node], computed: Sequence[Node], roots: Mapping[Node, Node]
) -> dict[Node, int]:
    """The number of the last step that reads the memory of each root; what is kept outlives all."""
    last: dict[Node, int] = {}
    for number, node in enumerate(computed):
        for head in node.heads:
            last[roots[head]] = number
        last.setdefault(node, number)
    for node in kept:
        last[roots[node]] = len(computed)
    return last


def _place_updates(
    graph: Graph,
    computed: Sequence[Node],
    places: dict[Node, Place],
    last_use: Mapping[Node, int],
    guard_position: int,
) -> tuple[tuple[Node, Node], ...]:
    """Next values that can be computed straight into their state are; the others are listed."""
    number_of = {node: number for number, node in enumerate(computed)}
    copies = []
    for leaf, node in graph.updates.items():
        number = number_of.get(node, -1)
        last_read = last_use.get(leaf, -1)
        reads_itself = last_read == number and node.operation.in_place and all(
            head is leaf or places[head].root is not leaf for head in node.heads)  # fmt: skip
        free = last_read < number or reads_itself
        if number >= guard_position and free and places[node].kind == "arena" and number >= 0:
            places[node] = Place("state", leaf)
        else:
            copies.append((leaf, node))
    return tuple(copies)


def _allocate(
    computed: Sequence[Node],
    places: dict[Node, Place],
    roots: Mapping[Node, Node],
    last_use: Mapping[Node, int],
) -> tuple[tuple[Step, ...], int]:
    """Offsets for everything that is computed into the arena, and for scratch."""
    arena, live = Arena(), 0
    dying: dict[int, list[Node]] = {}
    for node in computed:
        dying.setdefault(last_use[node], []).append(node)
    steps = []
    for number, node in enumerate(computed):
        inherited: Node | None = None
        if places[node].kind == "arena":
            inherited = _heir(node, places, roots, last_use, number)
            if inherited is not None:
                offset = places[inherited].offset
            else:
                offset = arena.allocate(node.type.nbytes)
                live += aligned(node.type.nbytes)
            places[node] = Place("arena", node, offset)
        scratch = []
        if node.operation.scratch is not None:
            for needed in node.operation.scratch(*(h.type for h in node.heads), **node.attributes):
                scratch.append(Scratch(arena.allocate(needed.nbytes), needed))
        peak = live + sum(aligned(item.type.nbytes) for item in scratch)
        steps.append(Step(node, tuple(scratch), peak))
        for item in scratch:
            arena.release(item.offset, item.type.nbytes)
        for dead in dying.get(number, ()):
            if dead is not inherited and places[dead].kind == "arena":
                arena.release(places[dead].offset, dead.type.nbytes)
                live -= aligned(dead.type.nbytes)
    return tuple(steps), arena.peak


def _heir(
    node: Node,
    places: Mapping[Node, Place],
    roots: Mapping[Node, Node],
    last_use: Mapping[Node, int],
    number: int,
) -> Node | None:
    """The head whose place `node` may take: same type, contiguous, dead after this step."""
    if not node.operation.in_place:
        return None
    for head in node.heads:
        root = roots[head]
        if head is not root or places[root].kind != "arena" or head.type != node.type:
            continue
        shared = sum(roots[other] is root for other in dict.fromkeys(node.heads))
        if last_use[root] == number and shared == 1:
            return root
    return None
