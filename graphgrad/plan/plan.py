"""Makes the plan: one step for each group of the schedule, and a place in memory for every value.

- The caller owns the memory of inputs and states, the program that of constants. A view is stored
  in the memory of its root. All other values are stored in one arena.
- The place of a value is freed after its last reader. An elementwise result reuses the place of a
  head whose last reader it is.
- The next value of a state is written directly to the state if all readers of the old value run
  before; otherwise it is copied there at the end.
- A step that only writes values where(c, next, state), each to its own state, with one scalar c,
  changes nothing where c is false. c is its condition, and a backend may leave the step out then:
  with accumulated gradients, the update in all batches of a step but the last.

The peak memory is known before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graphgrad.fusion import Group
from graphgrad.graph import LEAVES, STATEFUL, Graph, Node, TensorType, constant, input, parameter
from graphgrad.graph.single import Single
from graphgrad.ops import where
from graphgrad.plan.arena import Arena, aligned
from graphgrad.schedule import Layouts, Schedule
from graphgrad.text import printable


@dataclass(frozen=True, slots=True)
class Place:
    """The memory of a value. `kind` is input, state, constant, arena or view; `root` is the node
    that owns the memory (the updated leaf, for a next value that is written in place), and `offset`
    its position in the arena, in bytes."""

    kind: str
    root: Node
    offset: int = -1


@dataclass(frozen=True, slots=True)
class Scratch:
    """A temporary array of one step, in the arena."""

    offset: int
    type: TensorType


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """The computation of a group; a view is not computed."""

    group: Group
    scratch: tuple[Scratch, ...] = ()
    live_bytes: int = 0
    """Bytes of the arena that are in use during the step."""
    in_place: Mapping[Node, Node] = field(default_factory=dict)
    """The outputs that overwrite an input, and that input."""
    condition: Node | None = None
    """A scalar that is computed before; where it is false, the step changes nothing."""

    @property
    def node(self) -> Node:
        """The last node of the group, which the step is named after."""
        return self.group.nodes[-1]


@dataclass(frozen=True, repr=False)
class Plan(Single):
    """The input of a backend: `print(plan)` lists the steps and places, `repr` is one line."""

    graph: Graph
    layouts: Layouts
    steps: tuple[Step, ...]
    places: Mapping[Node, Place]
    arena_bytes: int
    guards: tuple[Node, ...]
    guard_position: int
    """The guards are checked before this step; no earlier step writes a state."""
    copies: tuple[tuple[Node, Node], ...]
    """(leaf, next value) for each update that is copied to the state at the end."""

    @property
    def peak_bytes(self) -> int:
        """Bytes of the arena, the constants and the state: the memory of a run beside its
        inputs."""
        kept = [n for n in self.graph.nodes if n.operation is constant or n.operation in STATEFUL]
        return self.arena_bytes + sum(node.type.nbytes for node in kept)

    def __repr__(self) -> str:
        return f"<plan of {self._summary()}>"

    def _summary(self) -> str:
        return (
            f"{len(self.steps)} steps, arena {self.arena_bytes:,} bytes, "
            f"peak {self.peak_bytes:,} bytes"
        )

    def __str__(self) -> str:
        lines = [self._summary()]
        for number, step in enumerate(self.steps):
            for node in step.group.outputs:
                place = self.places[node]
                where = f"@{place.offset}" if place.kind == "arena" else place.kind
                fused = f"+{len(step.group.nodes) - 1}" if step.group.nest is not None else ""
                held = "" if step.condition is None else self.graph.name_of(step.condition)
                lines.append(
                    f"{number:>5}  {node.operation.name + fused:<16} {node.type!s:<28} {where:<12} "
                    f"live {step.live_bytes:>12,}  {printable(self.graph.name_of(node))}"
                    f"{f' if {printable(held)}' if held else ''}"
                )
        return "\n".join(lines)


def make_plan(schedule: Schedule, groups: Sequence[Group]) -> Plan:
    """The plan of a schedule. Each of its nodes that is not a view belongs to one of the groups,
    which are ordered as they run."""
    graph, layouts, guards = schedule.graph, schedule.layouts, schedule.guards
    places = _initial_places(graph, groups, layouts)
    roots = {node: place.root for node, place in places.items()}
    last_use = _last_uses(
        [*graph.outputs.values(), *graph.updates.values(), *guards], groups, roots
    )
    # parameters wait for guards and outputs, where a run may yet fail (an index outside its table);
    # other states without guards, such as the keys and values of decoding, wait for nothing
    waits = guards or any(leaf.operation is parameter for leaf in graph.updates)
    before = schedule.before_guards if waits else frozenset()
    guard_position = sum(group.nodes[-1] in before for group in groups)
    copies = _place_updates(graph, groups, places, last_use, guard_position)
    steps, arena_bytes = _allocate(groups, places, roots, last_use)
    return Plan(graph, layouts, steps, places, arena_bytes, guards, guard_position, copies)


def _initial_places(graph: Graph, groups: Sequence[Group], layouts: Layouts) -> dict[Node, Place]:
    """The places of leaves, views and outputs of groups; offsets are assigned later."""
    computed = {node for group in groups for node in group.nodes}
    outputs = {node for group in groups for node in group.outputs}
    places: dict[Node, Place] = {}
    for node in graph.nodes:
        if node.operation in LEAVES:
            kind = {input: "input", constant: "constant"}.get(node.operation, "state")
            places[node] = Place(kind, node)
        elif node in outputs:
            places[node] = Place("arena", node)
        elif node not in computed and node in layouts.views and node.heads[0] in places:
            places[node] = Place("view", places[node.heads[0]].root)
    return places


def _last_uses(
    kept: Sequence[Node], groups: Sequence[Group], roots: Mapping[Node, Node]
) -> dict[Node, int]:
    """The last step that reads the memory of each root; for kept values, one after all steps."""
    last: dict[Node, int] = {}
    for number, group in enumerate(groups):
        for head in group.inputs:
            last[roots[head]] = number
        for node in group.outputs:
            last.setdefault(node, number)
    for node in kept:
        last[roots[node]] = len(groups)
    return last


def _place_updates(
    graph: Graph,
    groups: Sequence[Group],
    places: dict[Node, Place],
    last_use: Mapping[Node, int],
    guard_position: int,
) -> tuple[tuple[Node, Node], ...]:
    """Places next values in their state where possible; returns the others, to be copied."""
    number_of = {node: number for number, group in enumerate(groups) for node in group.outputs}
    copies = []
    for leaf, node in graph.updates.items():
        number, last_read = number_of.get(node, -1), last_use.get(leaf, -1)
        free = last_read < number
        if last_read == number >= 0:
            group = groups[number]
            views = any(h is not leaf and places[h].root is leaf for h in group.inputs)
            free = leaf in group.may_overwrite.get(node, ()) and not views
        if number >= guard_position and free and places[node].kind == "arena":
            places[node] = Place("state", leaf)
        else:
            copies.append((leaf, node))
    return tuple(copies)


def _allocate(
    groups: Sequence[Group],
    places: dict[Node, Place],
    roots: Mapping[Node, Node],
    last_use: Mapping[Node, int],
) -> tuple[tuple[Step, ...], int]:
    """Assigns offsets to the values in the arena and to scratch; returns the steps and the arena's
    size."""
    arena, live = Arena(), 0
    last_read_at: dict[int, list[Node]] = {}
    size_of: dict[Node, int] = {}
    for group in groups:
        for node in group.outputs:
            last_read_at.setdefault(last_use[node], []).append(node)
            size_of[node] = group.bytes_of(node)
    steps = []
    for number, group in enumerate(groups):
        in_place: dict[Node, Node] = {}
        together = _side_by_side(group, places, size_of, arena)
        for node in group.outputs:
            if places[node].kind == "state":
                leaf = places[node].root
                if leaf in group.inputs:
                    in_place[node] = leaf
                continue
            reused = _reusable_input(node, group, places, roots, last_use, number, in_place)
            if reused is not None:
                in_place[node] = reused
                offset = places[reused].offset
            else:
                offset = together.get(node, -1)
                offset = arena.allocate(size_of[node]) if offset < 0 else offset
                live += aligned(size_of[node])
            places[node] = Place("arena", node, offset)
        scratch = tuple(Scratch(arena.allocate(t.nbytes), t) for t in group.scratch)
        peak = live + sum(aligned(item.type.nbytes) for item in scratch)
        steps.append(Step(group, scratch, peak, in_place, _condition(group, places)))
        for item in scratch:
            arena.release(item.offset, item.type.nbytes)
        for node in last_read_at.get(number, ()):
            if node not in in_place.values() and places[node].kind == "arena":
                arena.release(places[node].offset, size_of[node])
                live -= aligned(size_of[node])
    return tuple(steps), arena.peak


def _condition(group: Group, places: Mapping[Node, Place]) -> Node | None:
    """The scalar without which each output is the state that it is written to."""
    found = set()
    for node in group.outputs:
        held = node.operation is where and places[node].kind == "state"
        if not held or node.heads[2] is not places[node].root:
            return None
        found.add(node.heads[0])
    condition = found.pop()
    known = condition.shape == () and condition in group.inputs
    return condition if known and not found else None


def _side_by_side(
    group: Group, places: Mapping[Node, Place], size_of: Mapping[Node, int], arena: Arena
) -> dict[Node, int]:
    """The offsets of outputs that lie one after the other."""
    alone = any(places[node].kind == "state" for node in group.outputs) or group.may_overwrite
    if not group.side_by_side or alone:
        return {}
    size = aligned(size_of[group.outputs[0]])
    start = arena.allocate(size * len(group.outputs))
    return {node: start + size * place for place, node in enumerate(group.outputs)}


def _reusable_input(
    node: Node,
    group: Group,
    places: Mapping[Node, Place],
    roots: Mapping[Node, Node],
    last_use: Mapping[Node, int],
    number: int,
    in_place: Mapping[Node, Node],
) -> Node | None:
    """The input whose place `node` can reuse: of the same type, contiguous, last read here."""
    for head in group.may_overwrite.get(node, ()):
        root = roots[head]
        if head is not root or places[root].kind != "arena" or head.type != node.type:
            continue
        shared = sum(roots[other] is root for other in dict.fromkeys(group.inputs))
        if last_use[root] == number and shared == 1 and root not in in_place.values():
            return root
    return None
