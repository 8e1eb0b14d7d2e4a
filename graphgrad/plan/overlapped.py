"""Places the starts and waits of collectives among the groups of a program, and plans it.

A start runs as early as it may: after what it sends has been computed, and after the collective
before it. So that it can be early, the copy of several values into a bucket moves with it. A wait
runs as late as it may: directly before the first group that reads its result. Collectives keep
their order among themselves, the same on all ranks, and nothing passes the check of the guards.

The memory of a plan is known before it runs, so no move costs any: those that would raise the size
of the arena are undone, one by one where all together do.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphgrad.fusion import Group
from graphgrad.graph import Node
from graphgrad.ops.arithmetic import cast
from graphgrad.ops.collectives import wait
from graphgrad.ops.slices import concatenate
from graphgrad.plan.plan import Plan, make_plan
from graphgrad.schedule import Schedule

MOVES_ALONG = (concatenate, cast)
"""What fills a bucket, and is computed when the last of its values is."""


def make_overlapped_plan(schedule: Schedule, groups: Sequence[Group]) -> Plan:
    """The plan with early starts and late waits, if there are any; its arena is no larger than that
    of the groups in the given order."""
    plan = make_plan(schedule, groups)
    movable = [g for g in groups if _is_start(g) or _is_wait(g)]
    if not movable:
        return plan
    together = make_plan(schedule, _moved(schedule, groups, movable))
    if together.arena_bytes <= plan.arena_bytes:
        return together
    kept = list(groups)
    for group in movable:
        moved = _moved(schedule, kept, [group])
        trial = make_plan(schedule, moved)
        if trial.arena_bytes <= plan.arena_bytes:
            kept, plan = moved, trial
    return plan


def _is_wait(group: Group) -> bool:
    return group.nodes[-1].operation is wait


def _is_collective(group: Group) -> bool:
    """Whether all ranks meet here."""
    return group.nodes[-1].operation.collective and not _is_wait(group)


def _is_start(group: Group) -> bool:
    return _is_collective(group) and group.nodes[-1].operation.in_place


def _moved(schedule: Schedule, groups: Sequence[Group], movable: Sequence[Group]) -> list[Group]:
    """The groups in another order."""
    order = _Order(schedule, groups)
    for group in movable:
        if _is_start(group):
            order.start_early(group)
    for group in movable:
        if _is_wait(group):
            order.wait_late(group)
    return order.groups


class _Order:
    def __init__(self, schedule: Schedule, groups: Sequence[Group]) -> None:
        self.groups = list(groups)
        self.views, self.before_guards = schedule.layouts.views, schedule.before_guards
        self.made_by: dict[Node, Group] = {}
        self.readers: dict[Node, list[Group]] = {}
        for group in groups:
            self.made_by.update(dict.fromkeys(group.outputs, group))
            for head in group.inputs:
                self.readers.setdefault(self.root(head), []).append(group)
        self.guarded = sum(map(self.is_before_guards, groups))
        """The groups up to the check of the guards."""

    def root(self, node: Node) -> Node:
        """The node whose memory a view shares."""
        while node in self.views:
            node = node.heads[0]
        return node

    def is_before_guards(self, group: Group) -> bool:
        return group.nodes[-1] in self.before_guards

    def start_early(self, start: Group) -> None:
        """Moves a start, and what fills its bucket, to the front as far as it may go."""
        bucket = self.made_by.get(self.root(start.inputs[0]))
        if bucket is not None and bucket.nodes[-1].operation in MOVES_ALONG:
            self.to_front(bucket)
        self.to_front(start)

    def to_front(self, group: Group) -> None:
        """Moves a group directly behind what it needs."""
        place = {each: number for number, each in enumerate(self.groups)}
        first = 0 if self.is_before_guards(group) else self.guarded
        for head in (*group.inputs, *group.nodes[-1].heads):
            maker = self.made_by.get(self.root(head))
            first = max(first, place[maker] + 1 if maker is not None else 0)
        if _is_collective(group):
            earlier = [
                n for n, each in enumerate(self.groups[: place[group]]) if _is_collective(each)
            ]
            first = max([first, *(number + 1 for number in earlier)])
        self.groups.insert(first, self.groups.pop(place[group]))

    def wait_late(self, group: Group) -> None:
        """Moves a wait directly before the first group that reads what it waits for."""
        place = {each: number for number, each in enumerate(self.groups)}
        last = self.guarded if self.is_before_guards(group) else len(self.groups)
        readers = self.readers.get(group.outputs[0], [])
        last = min([last, *(place[reader] for reader in readers)])
        self.groups.insert(last - 1, self.groups.pop(place[group]))
