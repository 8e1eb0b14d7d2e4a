"""Breaks every delta rule on purpose and shows that the suite's delta check notices.

    python tests/mutate.py

For each operation with a rule and each of its float heads, the contribution is scaled by 1.01,
turned around, shifted by 0.01 or dropped; where the rule sends nothing back, it is made to send the
delta. One line a mutant; exit status 1 if one survives.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from delta_check import check_deltas, declare, has_deltas

from graphgrad import Node, Operation
from graphgrad.ops import ALL_OPERATIONS

Change = Callable[[Node | None, Node], Node | None]

CHANGES: dict[str, Change] = {
    "scaled by 1.01": lambda sent, delta: None if sent is None else sent * 1.01,
    "sign turned": lambda sent, delta: None if sent is None else -sent,
    "dropped": lambda sent, delta: None,
    "plus 0.01": lambda sent, delta: None if sent is None else sent + 0.01,
    "sent where nothing is": lambda sent, delta: delta if sent is None else sent,
}


@dataclass(frozen=True)
class Mutant:
    """One operation with the contribution to one head changed."""

    operation: Operation
    place: int
    change: str

    def broken(self) -> Operation:
        """The operation with the broken rule."""

        def rule(delta: Node, y: Node, *heads: Node) -> tuple[Node | None, ...]:
            assert self.operation.delta is not None
            sent: list[Any] = list(self.operation.delta(delta, y, *heads))
            sent[self.place] = CHANGES[self.change](sent[self.place], delta)
            return tuple(sent)

        return replace(self.operation, delta=rule)

    def is_noticed(self) -> bool:
        """Whether the check fails for one of the operation's samples."""
        broken = self.broken()
        for number in range(len(self.operation.samples)):
            if not has_deltas(self.operation, number):
                continue
            try:
                check_deltas(self.operation, number, broken)
            except AssertionError:
                return True
        return False


def mutants(operations: tuple[Operation, ...] = ALL_OPERATIONS) -> Iterator[Mutant]:
    """All mutants; a change that leaves the rule as it was is none."""
    for operation in operations:
        for number in range(len(operation.samples)):
            if has_deltas(operation, number):
                yield from _mutants_of(operation, number)
                break


def _mutants_of(operation: Operation, number: int) -> Iterator[Mutant]:
    y, *heads = declare(operation, operation.samples[number])
    assert operation.delta is not None
    for place, (head, sent) in enumerate(zip(heads, operation.delta(y, y, *heads), strict=True)):
        if not head.type.is_float:
            continue
        for change in CHANGES:
            if (change == "sent where nothing is") == (sent is None):
                yield Mutant(operation, place, change)


def main() -> int:
    """Prints the table; 1 if a mutant survives."""
    survivors = count = 0
    for mutant in mutants():
        noticed = mutant.is_noticed()
        count, survivors = count + 1, survivors + (not noticed)
        print(
            f"{mutant.operation.name:<16} head {mutant.place}  {mutant.change:<22} "
            f"{'noticed' if noticed else 'SURVIVES'}"
        )
    print(f"{count} mutants, {survivors} survive")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
