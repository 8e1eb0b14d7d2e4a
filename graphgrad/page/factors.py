"""What is written at the mirrored lines of deltas, as in every other picture (`rendering.sent`).

In a network of neurons every line bears its factor. Elsewhere the side panel tells it, and only a
line on which several contributions come back, as x · x sends two, says so in the drawing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphgrad.graph import Node
from graphgrad.page.scopes import Arrangement
from graphgrad.rendering.describe import Describer
from graphgrad.rendering.sent import Senders, Sent
from graphgrad.rendering.view import Key


def factors(arrangement: Arrangement, describe: Describer) -> Iterator[list[Any]]:
    """[head, tail, text, index]: positions of the nodes whose boxes the line joins, and its label,
    lines of which are parted by line breaks; the index is left out where there is none."""
    draft, graph, senders = arrangement.near, arrangement.graph, Senders(describe)
    ways: dict[tuple[Key, Key, Node | None], list[Sent]] = {}
    for tail in draft.drawn:
        for place, head in enumerate(tail.heads):
            if head not in draft.scopes or draft.key(head) == draft.key(tail):
                continue
            sent = senders.sent(head, tail, place)
            if sent is not None:
                way = draft.key(head), draft.key(tail), draft.weights.get(tail)
                ways.setdefault(way, []).append(sent)
    for (above, below, weight), sent_back in ways.items():
        if not (isinstance(above, Node) and isinstance(below, Node)):
            continue
        if arrangement.neurons or len(sent_back) > 1:
            bears = None if weight is None else describe.weight_label(weight, draft.path(below))
            label = senders.label(sent_back, bears)
            if label.text:
                found = [graph.position(above), graph.position(below), label.text]
                yield [*found, label.index] if label.index else found
