"""Writes the labels of the lines of deltas, as in every other picture (`rendering.edge_labels`).

In a network of neurons every line is labelled with its factor. In other graphs the side panel shows
the factors, and only lines with several contributions (x · x sends back two) are labelled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphgrad.graph import Node
from graphgrad.page.scopes import Arrangement
from graphgrad.rendering.describe import Describer
from graphgrad.rendering.edge_labels import EdgeLabels, EdgeTerm
from graphgrad.rendering.view import Key


def factors(arrangement: Arrangement, describe: Describer) -> Iterator[list[Any]]:
    """Yields [head, tail, text, index] for every label.

    `head` and `tail` are positions of the nodes whose boxes the line joins. The terms of `text` are
    separated by line breaks; `index` is left out if there is none.
    """
    draft, graph, labels = arrangement.near, arrangement.graph, EdgeLabels(describe)
    lines: dict[tuple[Key, Key, Node | None], list[EdgeTerm]] = {}
    for tail in draft.drawn:
        for position, head in enumerate(tail.heads):
            if head not in draft.scopes or draft.key(head) == draft.key(tail):
                continue
            term = labels.term(head, tail, position)
            if term is not None:
                line = draft.key(head), draft.key(tail), draft.weights.get(tail)
                lines.setdefault(line, []).append(term)
    for (above, below, weight), terms in lines.items():
        if not (isinstance(above, Node) and isinstance(below, Node)):
            continue
        if arrangement.neurons or len(terms) > 1:
            product = None if weight is None else describe.weight_label(weight, draft.path(below))
            label = labels.label(terms, product)
            if label.text:
                found = [graph.position(above), graph.position(below), label.text]
                yield [*found, label.index] if label.index else found
