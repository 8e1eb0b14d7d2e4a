"""Where the page draws each node: scopes, runs of equal scopes, what stands in another's box.

The decisions are those of `graphgrad.rendering.view`, made for the whole graph and without folding
or depth, because the page folds, expands and collapses by itself:

    run       sibling scopes with numbers for names and equal content (encoder.0 … encoder.5)
    inside    a parameter that is used once, written into the box that uses it
    into      a product or a sum that is part of the Σ it enters (a network of scalars)
    shared    a leaf, a mask or a table of positions that several scopes use: a copy in each
"""

from __future__ import annotations

from dataclasses import dataclass, field

from graphgrad.graph import Graph, Node, input, parameter, state
from graphgrad.rendering.view import DEEPEST, MANY, Draft, Path, View, decide

FORWARD, BACKWARD, UPDATE = 1, 2, 4
_WHOLE = DEEPEST + 1  # a depth that collapses nothing


@dataclass
class Arrangement:
    """The decisions for one graph; scopes by number, 0 is the graph itself."""

    graph: Graph
    near: Draft
    """The forward nodes as they are drawn."""
    full: Draft
    """All nodes, constants and deltas too."""
    drawn: dict[Node, int]
    """In which view a node has a box: FORWARD, BACKWARD, UPDATE, or 0 for none."""
    scope_of: dict[Node, int]
    paths: list[Path]
    parents: list[int]
    runs: list[list[int]] = field(default_factory=list)

    @property
    def neurons(self) -> bool:
        """Whether weights stand on edges, as in the lecture's picture of a network."""
        return bool(self.near.weights)

    @property
    def folds(self) -> bool:
        """Whether the page opens with equal scopes folded."""
        return not self.neurons and len(self.near.drawn) > MANY


def arrange(graph: Graph) -> Arrangement:
    """Decides for all nodes of the graph."""
    near = decide(graph, View(fold=False, depth=_WHOLE))
    back = decide(graph, View(deltas="nodes", updates=True, fold=False, depth=_WHOLE))
    full = decide(
        graph, View(deltas="nodes", updates=True, constants=True, fold=False, depth=_WHOLE)
    )
    for node in graph.outputs.values():  # an output is drawn, even one that is a constant
        if node not in near.scopes and full.parts[node] == "forward":
            near.scopes[node] = full.scopes[node]
            near.drawn.append(node)
    drawn = dict.fromkeys(graph.nodes, 0)
    for node in near.drawn:
        drawn[node] = FORWARD
    for node in back.drawn:
        if back.parts[node] != "forward":
            drawn[node] = BACKWARD if back.parts[node] == "delta" else UPDATE
    numbers: dict[Path, int] = {(): 0}
    scope_of = {
        node: _number(near.scopes.get(node, full.scopes[node]), numbers) for node in graph.nodes
    }
    paths = list(numbers)
    parents = [numbers[path[:-1]] if path else -1 for path in paths]
    found = Arrangement(graph, near, full, drawn, scope_of, paths, parents)
    found.runs = [] if found.neurons else _runs(found, numbers)
    return found


def shared(arrangement: Arrangement) -> set[Node]:
    """What several scopes use and nobody learns: long edges from it would only cross the picture.

    A parameter that several scopes use (a tied embedding) is among them.
    """
    graph, near = arrangement.graph, arrangement.near
    if near.weights or len(near.drawn) <= MANY // 2:
        return set()
    learned = graph.descendants(graph.parameters.values())
    found = set()
    for node in near.drawn:
        if node in near.stands_for:
            continue
        leaf = node.operation in (input, parameter, state)
        scopes = {
            arrangement.scope_of[tail]
            for tail in graph.tails(node)
            if arrangement.drawn[tail] & FORWARD
        }
        if (leaf or node not in learned) and len(scopes) > 1:
            found.add(node)
    return found


def _number(path: Path, numbers: dict[Path, int]) -> int:
    """The number of a scope; its outer scopes get theirs first."""
    for size in range(1, len(path) + 1):
        numbers.setdefault(path[:size], len(numbers))
    return numbers[path]


def _runs(found: Arrangement, numbers: dict[Path, int]) -> list[list[int]]:
    """Numbered siblings of equal content, by their forward nodes, each run in order."""
    content: dict[Path, list[object]] = {}
    for node in found.near.drawn:
        path = found.paths[found.scope_of[node]]
        mark = (node.operation.name, node.type)
        for size in range(1, len(path) + 1):
            content.setdefault(path[:size], []).append(mark)
    runs: list[list[int]] = []
    taken: set[Path] = set()
    for path in sorted(content, key=lambda path: (path[:-1], _as_number(path[-1]))):
        if path in taken or not _is_number(path[-1]):
            continue
        run, number = [path], int(path[-1]) + 1
        while content.get((*path[:-1], str(number))) == content[path]:
            run.append((*path[:-1], str(number)))
            number += 1
        taken.update(run)
        if len(run) > 1:
            runs.append([numbers[item] for item in run])
    return sorted(runs)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _as_number(text: str) -> int:
    return int(text) if _is_number(text) else -1
