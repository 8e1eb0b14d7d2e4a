"""Launches of one kernel that do not wait for each other become one launch: the updates of all
parameters, say. Its kernel finds its words in a table, by the number of the block.

    const long long* given = words_of_block(of_launches, launches, 9);
    const long long block = blockIdx.x - given[0];
    const long long count = given[1];
    const float* m1 = (const float*)given[2];
    …

A launch is brought forward to an earlier one of its kernel only past actions that write nothing of
what it reads or writes, and read nothing of what it writes; and past no guard.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from graphgrad.backends.cupy.kernel_files import named
from graphgrad.backends.cupy.launches import (
    Action,
    Guard,
    Launch,
    Pointer,
    Rows,
    Word,
    pointers_of,
)

WINDOW = 64
"""How many actions a launch is brought forward past at most."""
_HEAD = re.compile(r" (kernel_\w+)\(\n(.*?)\)\n\{\n", re.DOTALL)


@dataclass
class _Joined:
    """Actions that become one, and all addresses that they read or write."""

    actions: list[Action]
    pointers: list[Pointer]


def merge_launches(actions: Iterable[Action], kernels: dict[str, str]) -> list[Action]:
    """The actions with launches joined; kernels that read a table are added to `kernels`."""
    joined: list[_Joined] = []
    latest: dict[str, int] = {}
    """Where the last launch of each kernel is."""
    for action in actions:
        own = _Joined([action], list(pointers_of(action)))
        if isinstance(action, Launch):
            place = latest.get(action.kernel)
            if place is not None and _may_join(own, joined[place:]):
                joined[place].actions.append(action)
                joined[place].pointers += own.pointers
                continue
            latest[action.kernel] = len(joined)
        joined.append(own)
    return [_one(its.actions, kernels) for its in joined]


def _may_join(launch: _Joined, others: Sequence[_Joined]) -> bool:
    """Whether a launch can be brought forward past the others, to join the first of them."""
    if len(others) > WINDOW:
        return False
    for other in reversed(others):
        if isinstance(other.actions[0], Guard):
            return False
        if any(mine.meets(theirs) for mine in launch.pointers for theirs in other.pointers):
            return False
    return True


def _one(actions: Sequence[Action], kernels: dict[str, str]) -> Action:
    launches = [action for action in actions if isinstance(action, Launch)]
    if len(launches) < 2:
        return actions[0]
    first = launches[0]
    rows: list[tuple[Word, ...]] = []
    grid = 0
    for launch in launches:
        rows.append((grid, *launch.words))
        grid += launch.grid
    name, text = of_table(kernels[first.kernel])
    kernels[name] = text
    table = Pointer(Rows(tuple(rows)), 0, 8 * len(rows) * len(rows[0]))
    nodes = dict.fromkeys(node for launch in launches for node in launch.nodes)
    return Launch(tuple(nodes), name, grid, first.block, (len(rows), table))


def of_table(text: str) -> tuple[str, str]:
    """The kernel that finds its words in a table: its name and text."""
    head = _HEAD.search(text)
    assert head is not None, "a kernel's text has its parameters in lines of their own"
    parameters = [line.strip().removesuffix(",") for line in head[2].splitlines()]
    length = len(parameters) + 1
    lines = [
        f"    const long long* given = words_of_block(of_launches, launches, {length});",
        "    const long long block = blockIdx.x - given[0];",
    ]
    for number, parameter in enumerate(parameters, 1):
        kind, name = parameter.rsplit(" ", 1)
        cast = f"({kind})" if kind.endswith("*") else ""
        lines.append(f"    {kind} {name} = {cast}given[{number}];")
    body = text[head.end() :].replace("blockIdx.x", "block")
    start = text[: head.start()]
    whole = (
        f"{start} kernel(\n    const long long launches,\n    const long long* of_launches)\n{{\n"
        + "\n".join([*lines, body])
    )
    return named(whole)
