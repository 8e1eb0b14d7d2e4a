"""The annotations of one example: its numbers on single values, heat cards of its tensors.

    hidden.h2.a   0.43          δ  0.0284
    weights [2, head, query, key]    a card of at most `ROWS` × `COLUMNS` cells

A cell of a card is the mean of a block of the tensor, seen as a matrix with its last axis across;
positive cells are blue, negative ones red, and the darkest is the largest magnitude of the card.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from graphgrad.errors import ConfigurationError
from graphgrad.figures.evaluation import Arrays, values_of
from graphgrad.graph import Graph, Node, constant
from graphgrad.rendering.annotations import Annotations, annotations_of

ROWS, COLUMNS = 4, 8
LEGEND = "numbers are those of one example; cards show tensors: blue is positive, red negative"
Card = tuple[tuple[str, ...], ...]
"""The colours of the cells of a card, row by row."""
_BLUE, _RED = (37, 99, 168), (179, 49, 90)


def one_example(graph: Graph, feeds: Arrays, example: int) -> dict[str, np.ndarray]:
    """The inputs of one example of a batch, with a batch axis of size 1.

    Inputs without an axis `batch` are those of all examples. Raises ConfigurationError for an
    example that the batch does not have, or if no input has that axis.
    """
    found, count = {}, None
    for name, value in feeds.items():
        shape = graph.inputs[name].shape if name in graph.inputs else ()
        array = np.asarray(value)
        if shape and str(shape[0]) == "batch":
            count = len(array)
            array = array[example : example + 1]
        found[name] = array
    if count is None:
        raise ConfigurationError("no input has an axis called batch", fix="leave --example out")
    if not 0 <= example < count:
        raise ConfigurationError(
            f"the batch has no example {example}", fix=f"choose one from 0 to {count - 1}"
        )
    return found


def example_annotations(
    graph: Graph, feeds: Arrays, state: Arrays, run: str, step: int, batch: int, example: int
) -> Annotations:
    """The annotations of a graph for one example, whose inputs `one_example` gives."""
    found = annotations_of(graph, feeds, state, run, step, batch)
    nodes = [node for node in graph.nodes if node.operation is not constant and _is_float(node)]
    wanted = {node: graph.name_of(node) for node in nodes if graph.name_of(node) in found.values}
    deltas = {node: graph.delta_or_none(node) for node in wanted}
    needed = list(dict.fromkeys([*wanted, *(d for d in deltas.values() if d is not None)]))
    values = values_of(graph, needed, feeds, state)
    cards: dict[str, Card] = {}
    delta_cards: dict[str, Card] = {}
    texts, delta_texts = dict(found.values), dict(found.deltas)
    for node, name in wanted.items():
        _shown(values[node], name, texts, cards)
        delta = deltas[node]
        if delta is not None and name in delta_texts:
            _shown(values[delta], name, delta_texts, delta_cards)
    loss = "" if found.loss is None else f" · loss {found.loss:.4g}"
    line = f"{run} · after step {step:,} · example {example} of batch {batch:,}{loss}"
    return replace(
        found,
        values=texts,
        deltas=delta_texts,
        cards=cards,
        delta_cards=delta_cards,
        lines=(line, LEGEND),
    )


def _is_float(node: Node) -> bool:
    return node.type.is_float


def _shown(value: np.ndarray, name: str, texts: dict[str, str], cards: dict[str, Card]) -> None:
    """Writes a single number as it is, and gives a tensor a card."""
    if value.size == 1:
        texts[name] = f"{value.reshape(()).item():.3g}"
    elif value.size and np.isfinite(value).any():
        cards[name] = card_of(value)


def card_of(value: np.ndarray) -> Card:
    """A tensor as a card of colours."""
    table = np.where(np.isfinite(value), value, 0.0).astype(np.float64)
    table = table.reshape(-1, table.shape[-1])
    means = [
        [float(block.mean()) for block in np.array_split(rows, min(COLUMNS, rows.shape[1]), axis=1)]
        for rows in np.array_split(table, min(ROWS, len(table)))
    ]
    largest = max(abs(mean) for row in means for mean in row) or 1.0
    return tuple(tuple(_colour(mean / largest) for mean in row) for row in means)


def _colour(share: float) -> str:
    """White for 0, blue for 1, red for -1."""
    end = _BLUE if share > 0 else _RED
    mixed = (round(255 + (part - 255) * abs(share)) for part in end)
    return "#" + "".join(f"{part:02X}" for part in mixed)
