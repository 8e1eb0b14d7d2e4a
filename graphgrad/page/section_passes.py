"""Writes the section `passes` of a page: the effect of each pass, and the three forms of a graph.

The passes run again exactly as `compile` runs them, in the precision of the run, observed by the
check that `optimise` calls after each. The program is the one that `compile` makes, so its lines
are those that run.

    steps      one for each pass: what it is for, counts of nodes, FLOPs and bytes, and lists of
               what changed
    source     a line for each node of the source graph
    optimised  a line for each node of the optimised graph
    program    the lines of the program
    forward    for each source line the optimised line with its value, or -1
    lines      for each optimised line the program's line that computes it (from 1), or 0

The change of a node is one of `passes.changes.KINDS`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

from graphgrad.backends import Program
from graphgrad.compile import compile
from graphgrad.graph import STATEFUL, Graph, Node, constant, input
from graphgrad.graph.text import attributes_text, node_line
from graphgrad.passes import (
    FUSING_PASSES,
    PASSES,
    PRECISION_PASSES,
    SPECIALISED_PASSES,
    optimise,
    specialise,
)
from graphgrad.passes.absorbed import Users
from graphgrad.passes.changes import KINDS, NodeChange, changes, same_graph
from graphgrad.performance.cost import cost_of
from graphgrad.text import printable

LISTED = 150  # nodes of one kind and pass that are listed by name
LINES = 12_000  # of each of the three texts
WIDEST = 240  # characters of a line
KERNEL_LINES = 120  # of the text of one kernel

_CALL = re.compile(r"\bop\.(kernel_\d+)\(")
_PURPOSES = {
    run.__name__: (sys.modules[run.__module__].__doc__ or "").split("\n\n")[0].replace("\n", " ")
    for run in chain(
        (*PASSES, specialise, *SPECIALISED_PASSES, *FUSING_PASSES), *PRECISION_PASSES.values()
    )
}
"""What each pass is for: the first paragraph of its module."""
FUSING = (
    "Computes operations that follow one another in one loop, so that the values between them are "
    "never written to memory."
)
_BOUND = re.compile(r"c(\d+) = constants\[")


def pass_section(
    graph: Graph,
    sizes: Mapping[str, int],
    guards: Sequence[str] = (),
    fuse: bool = False,
    precision: str = "fp32",
) -> dict[str, Any]:
    """The section for a graph as `compile` compiles it with these guards, fused or not, in this
    precision."""
    compiled = compile(graph, guards=guards, fuse=fuse, precision=precision)
    program = compiled.program(**sizes)
    recorder = _PassRecorder(dict(sizes))
    recorder("as declared", graph, graph)
    optimised, _ = optimise(graph, PASSES, recorder)
    specialised = specialise(optimised, sizes)
    recorder("specialise", optimised, specialised)
    sized, rounding = compiled.options.passes_of_a_program(SPECIALISED_PASSES)
    optimise(specialised, (*sized, *rounding), recorder)
    final = program.graph
    return {
        "sizes": dict(sizes),
        "kinds": list(KINDS),
        "steps": [*recorder.steps[1:], *_fusing(program, recorder.steps[-1]["cost"])],
        "before": recorder.steps[0]["cost"],
        "source": [_cut(node_line(graph, node)) for node in graph.nodes[:LINES]],
        "source_names": [graph.name_of(node) for node in graph.nodes[:LINES]],
        "source_count": len(graph),
        "optimised": [_cut(node_line(final, node)) for node in final.nodes[:LINES]],
        "optimised_count": len(final),
        "forward": [_line_in(final, graph, node) for node in graph.nodes[:LINES]],
        "places": [_place_text(program, node) for node in final.nodes[:LINES]],
        **_program(program),
    }


# ---------------------------------------------------------------- the passes, one by one


@dataclass
class _PassRecorder:
    """A check of `optimise`: records the graphs before and after each pass."""

    sizes: dict[str, int]
    steps: list[dict[str, Any]] = field(default_factory=list)
    users: Users = field(default_factory=Users)

    def __call__(self, name: str, before: Graph, after: Graph) -> None:
        found = changes(before, after)
        self.users.see(name, before)
        self.steps.append(
            {
                "name": name,
                "purpose": _PURPOSES.get(name, ""),
                "nodes": [len(before), len(after)],
                "cost": self.steps[-1]["cost"]
                if self.steps and same_graph(before, after)
                else {"nodes": len(after), **asdict(cost_of(after, self.sizes))},
                "counts": {kind: len(items) for kind, items in found.items()},
                "lists": {
                    kind: [self._listed(before, item, after) for item in items[:LISTED]]
                    for kind, items in found.items()
                    if kind != "rebuilt"
                },
            }
        )

    def _listed(self, before: Graph, item: NodeChange, after: Graph) -> list[Any]:
        """A changed node: its name, its computation before and after the pass, and of a removed
        node the nodes that compute without it, since which pass, and whether these are constants.
        """
        old = "" if item.before is None else _computation(before, item.before)
        new = "" if item.after is None else _computation(after, item.after)
        absorbed = self.users.absorbed(item.name, after) if item.after is None else None
        return [item.name, old, new, *([] if absorbed is None else [list(absorbed)])]


def _computation(graph: Graph, node: Node) -> str:
    """`matmul(encoder.x, w, transpose_b=True)`: the operation on the names of its heads."""
    heads = [printable(graph.name_of(head), 60) for head in node.heads[:6]]
    heads += ["…"] if len(node.heads) > 6 else []
    arguments = ", ".join(filter(None, [*heads, attributes_text(node)]))
    return _cut(f"{node.operation.name}({arguments})")


def _fusing(program: Program, cost: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the effect of fusing as a last step, if the program has fused operations."""
    groups = [step.group for step in program.plan.steps]
    fused = [group for group in groups if len(group.nodes) > 1]
    if not fused:
        return
    moved = sum(
        sum(node.type.nbytes for node in dict.fromkeys(group.inputs))
        + sum(map(group.bytes_of, group.outputs))
        for group in groups
    )
    count = len(program.graph)
    yield {
        "name": "fuse",
        "purpose": FUSING,
        "nodes": [count, count],
        "cost": {**cost, "steps": len(groups), "bytes": moved},
        "counts": dict.fromkeys(KINDS, 0),
        "lists": {},
        "note": f"{sum(len(group.nodes) for group in fused):,} operations are {len(fused):,} loops "
        f"or joint products; {len(groups):,} steps are left.",
    }


# ---------------------------------------------------------------- three texts, line by line


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def _line_in(final: Graph, graph: Graph, node: Node) -> int:
    """The line of the optimised graph with the value of a node of the source graph, or -1."""
    for name in graph.names_of(node):
        if name in final.names:
            line = final.position(final.names[name])
            return line if line < LINES else -1
    return -1


def _place_text(program: Program, node: Node) -> str:
    """The place of a value in memory, in words; empty for a value that is never stored."""
    place = program.plan.places.get(node)
    if place is None:
        return ""
    owner = printable(program.graph.name_of(place.root), 80)
    if place.kind == "arena":
        return f"arena, from byte {place.offset:,}"
    if place.kind == "view":
        return f"a view of {owner}"
    if place.kind == "state" and place.root is not node:
        return f"written straight into {owner}"
    return place.kind


def _program(program: Program) -> dict[str, Any]:
    """The program's text, the line of each node, and the kernels that the lines call."""
    lines = program.source.split("\n")
    leaf_lines = _leaf_lines(program.graph, lines)
    computed, kernel_of = [], []
    fused = dict(_fused(program, lines))
    for node in program.graph.nodes[:LINES]:
        line = program.line_of(node) or leaf_lines.get(node, 0)
        computed.append(line if line <= LINES else 0)
        kernel_of.append(fused.get(node, ""))
    kernels = {name: _cut_text(text) for name, text in program.kernels.items()}
    return {
        "program": [_cut(line) for line in lines[:LINES]],
        "program_count": len(lines),
        "lines": computed,
        "kernel_of": kernel_of,
        "kernels": kernels,
        "peak_bytes": program.peak_bytes,
        "arena_bytes": program.plan.arena_bytes,
    }


def _leaf_lines(graph: Graph, lines: Sequence[str]) -> dict[Node, int]:
    """The line of each leaf: of a constant its own, of other leaves that of the signature."""
    signature = next(number for number, line in enumerate(lines, 1) if line.startswith("def run("))
    bound = {
        int(found[1]): number
        for number, line in enumerate(lines[:signature], 1)
        if (found := _BOUND.match(line))
    }
    constants = [node for node in graph.nodes if node.operation is constant]
    numbers = {node: bound.get(number, 0) for number, node in enumerate(constants)}
    others = [n for n in graph.nodes if n.operation is input or n.operation in STATEFUL]
    return {**numbers, **dict.fromkeys(others, signature)}


def _cut_text(text: str) -> str:
    lines = text.split("\n")
    more = [f"… {len(lines) - KERNEL_LINES} more lines"] if len(lines) > KERNEL_LINES else []
    return "\n".join([*map(_cut, lines[:KERNEL_LINES]), *more])


def _fused(program: Program, lines: Sequence[str]) -> Iterator[tuple[Node, str]]:
    """Yields each node that a kernel computes, with the name of the kernel in the program."""
    for step in program.plan.steps:
        line = program.line_of(step.node)
        if not step.group.is_kernel or line is None:
            continue
        called = _CALL.search(lines[line - 1])
        if called:
            for node in step.group.nodes:
                yield node, called[1]
