"""Says what became of nodes that a pass removed: which nodes computed with them until which pass.

A node is often removed later than the change that made it superfluous: simplify turns `a - 0` into
`a`, and the 0 is pruned two passes later, when nothing is left that shows why. So the users of
every needed node are recorded before each pass. A removed node was absorbed by the users that it
had last, or by theirs if these are gone, too; a node that no output ever needed was absorbed by
none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from graphgrad.graph import Graph, Node, constant

MOST = 3  # users that are named


class Absorption(NamedTuple):
    """The names of the nodes that compute without a removed node, and since which pass."""

    into: tuple[str, ...]
    since: str
    folded: bool
    """Whether all of them are constants now."""


@dataclass
class Users:
    """The users of each node by name, from the last graph in which it was needed."""

    users: dict[str, tuple[str, ...]] = field(default_factory=dict)
    since: dict[str, str] = field(default_factory=dict)
    """The pass before which that was."""

    def see(self, name: str, before: Graph) -> None:
        """Records the users of all needed nodes before the pass of this name."""
        needed = before.ancestors([*before.outputs.values(), *before.updates.values()])
        kept = set(needed)
        for node in needed:
            tails = tuple(before.name_of(tail) for tail in before.tails(node) if tail in kept)
            for own in before.names_of(node):
                self.users[own], self.since[own] = tails, name

    def absorbed(self, name: str, after: Graph) -> Absorption | None:
        """What absorbed a node that is not in this graph; None if nothing needed it."""
        found: dict[str, Node] = {}
        pending, seen = list(self.users.get(name, ())), {name}
        while pending and len(found) < MOST:
            user = pending.pop(0)
            if user in seen:
                continue
            seen.add(user)
            if user in after.names:
                found[user] = after.names[user]
            else:
                pending += self.users.get(user, ())
        if not found:
            return None
        folded = all(node.operation is constant for node in found.values())
        return Absorption(tuple(found), self.since[name], folded)
