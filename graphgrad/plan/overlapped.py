"""Places the starts and waits of collectives among the groups of a program, and plans it.

A start runs as early as it may: after what it sends has been computed, and after the collective
before it. So that it can be early, what is computed for it alone moves with it, such as the copy of
several values into a bucket, and what depends on no state (the number of tokens of a batch) is
computed first of all. A wait runs as late as it may: directly before the first group that reads its
result. What reads results and leads to no other collective (the loss, the norm of the gradient)
comes behind all that does. Collectives keep their order among themselves, the same on all ranks,
and nothing passes the check of the guards.

The memory of a plan is known before it runs, so no move costs any: those that would raise the size
of the arena are undone: the far ones first, then one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from graphgrad.fusion import Group
from graphgrad.graph import STATEFUL, Node
from graphgrad.ops.collectives import wait
from graphgrad.plan.plan import Plan, make_plan
from graphgrad.schedule import Schedule

ALL, ALONE, FILL = 2, 1, 0
"""What moves to the front with a start: what is computed for it alone, and all that it is computed
from where that depends on no state; the first of these; or only what fills its bucket."""
_Move = Callable[["_Order"], None]


def make_overlapped_plan(schedule: Schedule, groups: Sequence[Group]) -> Plan:
    """The plan with early starts and late waits, if there are any; its arena is no larger than that
    of the groups in the given order."""
    plan = make_plan(schedule, groups)
    if not any(map(_is_wait, groups)):
        return plan
    for reach in (ALL, ALONE, FILL):
        together = make_plan(schedule, _moved(schedule, groups, _moves(groups, reach)))
        if together.arena_bytes <= plan.arena_bytes:
            return together
    kept = list(groups)
    for move in _moves(groups, FILL):
        moved = _moved(schedule, kept, [move])
        trial = make_plan(schedule, moved)
        if trial.arena_bytes <= plan.arena_bytes:
            kept, plan = moved, trial
    return plan


def _is_wait(group: Group) -> bool:
    return group.nodes[-1].operation is wait


def _is_collective(group: Group) -> bool:
    """Whether all ranks meet here."""
    return group.nodes[-1].operation.collective and not _is_wait(group)


def _moves(groups: Sequence[Group], reach: int) -> list[_Move]:
    """The moves to be tried, in order."""
    starts = [group for group in groups if _is_collective(group)]
    return [
        _Order.sink,
        *(partial(_Order.start_early, start=group, reach=reach) for group in starts),
        *(partial(_Order.wait_late, group=group) for group in groups if _is_wait(group)),
    ]


def _moved(schedule: Schedule, groups: Sequence[Group], moves: Sequence[_Move]) -> list[Group]:
    """The groups in another order."""
    order = _Order(schedule, groups)
    for move in moves:
        move(order)
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

    def sink(self) -> None:
        """Moves what depends on a wait, and what no collective depends on, behind everything else:
        the loss, the norm of the gradient. What reads early collectives comes before what reads
        late ones, which may then be on their way; else the order is kept."""
        feeding: set[Group] = set()
        for group in reversed(self.groups):
            if group in feeding or _is_collective(group):
                feeding.update(self.makers(group))
        late: dict[Group, int] = {}  # the number of the last collective that it depends on
        for group in self.groups:
            if group in feeding or _is_collective(group):
                continue
            depends = [late[maker] for maker in self.makers(group) if maker in late]
            if _is_wait(group):
                depends.append(group.nodes[-1].attributes["number"])
            if depends:
                late[group] = max(depends)
        before, after = self.groups[: self.guarded], self.groups[self.guarded :]
        self.groups = [
            group
            for part in (before, after)
            for group in sorted(part, key=lambda group: late.get(group, -1))
        ]

    def makers(self, group: Group) -> list[Group]:
        """The groups that compute what a group reads."""
        made_by = self.made_by
        return [made_by[root] for root in map(self.root, group.inputs) if root in made_by]

    def start_early(self, start: Group, reach: int) -> None:
        """Moves a start to the front as far as it may go, and before it what is computed for it.
        Nothing passes the collective before it, which that would delay."""
        needed = self.needed_alone(start)
        if reach == ALL:
            needed = self.needed_without_state(start) or needed
        elif reach == FILL:
            needed &= set(self.makers(start))
        before = self.groups[: self.groups.index(start)]
        last = next((each for each in reversed(before) if _is_collective(each)), None)
        for group in [each for each in self.groups if each in needed]:
            self.to_front(group, last)
        self.to_front(start, last)

    def needed_alone(self, start: Group) -> set[Group]:
        """The groups that compute what a start sends, and nothing else."""
        own = {start, *self.readers.get(start.outputs[0], ())}  # and its wait
        needed = set(own)
        for group in reversed(self.groups[: self.groups.index(start)]):
            readers = [each for node in group.outputs for each in self.readers.get(node, ())]
            if readers and needed.issuperset(readers) and not _is_collective(group):
                needed.add(group)
        return needed - own

    def needed_without_state(self, start: Group) -> set[Group]:
        """The groups that compute what a start sends; none if they read a state."""
        needed: set[Group] = set()
        stack = list(start.inputs)
        while stack:
            node = self.root(stack.pop())
            maker = self.made_by.get(node)
            if node.operation in STATEFUL or (maker is not None and _is_collective(maker)):
                return set()
            if maker is not None and maker not in needed:
                needed.add(maker)
                stack += maker.inputs
        return needed

    def to_front(self, group: Group, last: Group | None) -> None:
        """Moves a group directly behind what it needs and the group `last`."""
        place = {each: number for number, each in enumerate(self.groups)}
        first = 0 if self.is_before_guards(group) else self.guarded
        needed = [self.made_by.get(self.root(node)) for node in group.nodes[-1].heads]
        for each in (*self.makers(group), *needed, last):
            first = max(first, place[each] + 1 if each is not None else 0)
        if first < place[group]:
            self.groups.insert(first, self.groups.pop(place[group]))

    def wait_late(self, group: Group) -> None:
        """Moves a wait directly before the first group that reads what it waits for."""
        place = {each: number for number, each in enumerate(self.groups)}
        last = self.guarded if self.is_before_guards(group) else len(self.groups)
        readers = self.readers.get(group.outputs[0], [])
        last = min([last, *(place[reader] for reader in readers)])
        self.groups.insert(last - 1, self.groups.pop(place[group]))
