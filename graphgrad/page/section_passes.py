"""The section `passes` of a page: what each pass did, and source graph ↔ optimised graph ↔ program.

The passes run again exactly as `compile` runs them, watched through the check that `optimise` calls
after each; the program is the one that `compile` makes, so its lines are those that run.

    steps      one for each pass: counts of nodes, FLOPs and bytes, and lists of what changed
    source     a line for each node of the source graph, `optimised` likewise, `program` as text
    forward    for each source line the optimised line that has its value, or -1
    lines      for each optimised line the program's line that computes it (from 1), or 0

What became of a node is one of `passes.changes.KINDS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from graphgrad.backends import COMPILES, Program
from graphgrad.compile import compile
from graphgrad.graph import STATEFUL, Graph, Node, constant, input
from graphgrad.graph.text import attributes_text, node_line
from graphgrad.passes import FUSING_PASSES, PASSES, SPECIALISED_PASSES, optimise, specialise
from graphgrad.passes.changes import KINDS, NodeChange, changes, same_graph
from graphgrad.performance.cost import cost_of
from graphgrad.text import printable

LISTED = 150  # nodes of one kind and pass that are listed by name
LINES = 12_000  # of each of the three texts
WIDEST = 240  # characters of a line
KERNEL_LINES = 120  # of the text of one kernel

_CALL = re.compile(r"\bop\.(kernel_\d+)\(")
_BOUND = re.compile(r"c(\d+) = constants\[")


def pass_section(
    graph: Graph, sizes: Mapping[str, int], guards: Sequence[str] = (), fuse: bool = False
) -> dict[str, Any]:
    """The section for a graph as `compile(graph, guards=guards, fuse=fuse)` compiles it."""
    compiled = compile(graph, guards=guards, fuse=fuse)
    program = compiled.program(**sizes)
    watch = _Watch(dict(sizes))
    watch("as declared", graph, graph)
    optimised, _ = optimise(graph, PASSES, watch)
    sized = specialise(optimised, sizes)
    watch("specialise", optimised, sized)
    fusing = FUSING_PASSES if fuse and COMPILES else ()
    optimise(sized, (*SPECIALISED_PASSES, *fusing), watch)
    final = program.graph
    return {
        "sizes": dict(sizes),
        "kinds": list(KINDS),
        "steps": watch.steps[1:],
        "before": watch.steps[0]["cost"],
        "source": [_cut(node_line(graph, node)) for node in graph.nodes[:LINES]],
        "source_names": [graph.name_of(node) for node in graph.nodes[:LINES]],
        "source_count": len(graph),
        "optimised": [_cut(node_line(final, node)) for node in final.nodes[:LINES]],
        "optimised_count": len(final),
        "forward": [_became(graph, node, final) for node in graph.nodes[:LINES]],
        "places": [_place(program, node) for node in final.nodes[:LINES]],
        **_program(program),
    }


# ---------------------------------------------------------------- the passes, one by one


@dataclass
class _Watch:
    """Called with the graph before and after each pass, as `optimise` calls its check."""

    sizes: dict[str, int]
    steps: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, name: str, before: Graph, after: Graph) -> None:
        found = changes(before, after)
        self.steps.append(
            {
                "name": name,
                "nodes": [len(before), len(after)],
                "cost": self.steps[-1]["cost"]
                if self.steps and same_graph(before, after)
                else {"nodes": len(after), **asdict(cost_of(after, self.sizes))},
                "counts": {kind: len(items) for kind, items in found.items()},
                "lists": {
                    kind: [_listed(before, item, after) for item in items[:LISTED]]
                    for kind, items in found.items()
                    if kind != "rebuilt"
                },
            }
        )


def _listed(before: Graph, item: NodeChange, after: Graph) -> list[str]:
    """A node that changed: its name, what it was, what it is now."""
    was = "" if item.before is None else _computation(before, item.before)
    return [item.name, was, "" if item.after is None else _computation(after, item.after)]


def _computation(graph: Graph, node: Node) -> str:
    """`matmul(encoder.x, w, transpose_b=True)`: the operation on the names of its heads."""
    heads = [printable(graph.name_of(head), 60) for head in node.heads[:6]]
    heads += ["…"] if len(node.heads) > 6 else []
    arguments = ", ".join(filter(None, [*heads, attributes_text(node)]))
    return _cut(f"{node.operation.name}({arguments})")


# ---------------------------------------------------------------- three texts, line by line


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def _became(graph: Graph, node: Node, final: Graph) -> int:
    """The line of the optimised graph that has the node's value; -1 where none has."""
    for name in graph.names_of(node):
        if name in final.names:
            line = final.position(final.names[name])
            return line if line < LINES else -1
    return -1


def _place(program: Program, node: Node) -> str:
    """Where the value lies, in words; empty where it is never written down."""
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
    """The program's text, which line computes what, and the kernels that lines call."""
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
    """The line on which each leaf enters: constants one by one, the others in the signature."""
    signature = next(number for number, line in enumerate(lines, 1) if line.startswith("def run("))
    bound = {
        int(found[1]): number
        for number, line in enumerate(lines[:signature], 1)
        if (found := _BOUND.match(line))
    }
    constants = [node for node in graph.nodes if node.operation is constant]
    places = {node: bound.get(number, 0) for number, node in enumerate(constants)}
    others = [n for n in graph.nodes if n.operation is input or n.operation in STATEFUL]
    return {**places, **dict.fromkeys(others, signature)}


def _cut_text(text: str) -> str:
    lines = text.split("\n")
    more = [f"… {len(lines) - KERNEL_LINES} more lines"] if len(lines) > KERNEL_LINES else []
    return "\n".join([*map(_cut, lines[:KERNEL_LINES]), *more])


def _fused(program: Program, lines: Sequence[str]) -> Iterator[tuple[Node, str]]:
    """Each node that a kernel took in, with the kernel's name as the program calls it."""
    for step in program.plan.steps:
        line = program.line_of(step.node)
        if step.group.nest is None or line is None:
            continue
        called = _CALL.search(lines[line - 1])
        if called:
            for node in step.group.nodes:
                yield node, called[1]
