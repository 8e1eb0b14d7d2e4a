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


def together(actions: Iterable[Action], kernels: dict[str, str]) -> list[Action]:
    """The actions with launches joined; kernels that read a table are added to `kernels`."""
    joined: list[list[Action]] = []
    for action in actions:
        place = _home(action, joined) if isinstance(action, Launch) else None
        if place is None:
            joined.append([action])
        else:
            joined[place].append(action)
    return [_one(its, kernels) for its in joined]


def _home(launch: Launch, joined: Sequence[list[Action]]) -> int | None:
    """The place of launches of the same kernel that this one can join."""
    mine = list(pointers_of(launch))
    for place in range(len(joined) - 1, max(-1, len(joined) - 1 - WINDOW), -1):
        others = joined[place]
        if isinstance(others[0], Guard):
            return None
        theirs = [pointer for action in others for pointer in pointers_of(action)]
        if any(pointer.meets(other) for pointer in mine for other in theirs):
            return None
        first = others[0]
        if isinstance(first, Launch) and first.kernel == launch.kernel:
            return place
    return None


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
    return Launch(first.node, name, grid, first.block, (len(rows), table))


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
