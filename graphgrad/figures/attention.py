"""Attention, found in the graph and not by names: which nodes weigh what, and their values.

What attention is follows from the graph: a softmax over the last axis whose value is the left head
of a matrix product, perhaps after views and elementwise steps (dropout). Its scores are the
softmax's head, before the mask where one is put in by `where`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphgrad.backprop.selection import parts_of
from graphgrad.figures.evaluation import Arrays, values_of
from graphgrad.graph import Dimension, Graph, Node, Operation, constant
from graphgrad.ops import where
from graphgrad.ops.composite import softmax
from graphgrad.ops.contraction import matmul


@dataclass(frozen=True)
class Attention:
    """One attention of the graph before its sizes are set."""

    weights: Node
    scores: Node
    delta: Node | None
    mask: Node | None
    query: str | None
    """The input whose tokens stand along the queries, and along the keys."""
    key: str | None


def attentions(graph: Graph) -> Iterator[Attention]:
    parts = parts_of(graph)
    for node in graph.nodes:
        last = node.rank - 1
        if (
            node.operation is softmax
            and parts[node] == "forward"
            and node.rank >= 2
            and node.attributes["axis"] == last
            and _weighs(graph, node)
        ):
            scores, mask = _unmasked(node.heads[0])
            query, key = (_input_along(graph, node.shape[axis]) for axis in (-2, -1))
            yield Attention(node, scores, graph.delta_or_none(scores), mask, query, key)


def _weighs(graph: Graph, weights: Node, steps: int = 4) -> bool:
    """Whether the value becomes the left head of a matrix product within a few simple steps."""
    front = [weights]
    for _ in range(steps):
        following = []
        for node in front:
            for tail in graph.tails(node):
                if tail.operation is matmul and tail.heads[0] is node:
                    return True
                if _is_simple(tail.operation) and tail.shape == weights.shape:
                    following.append(tail)
        front = following
    return False


def _is_simple(operation: Operation) -> bool:
    return bool(operation.kernel) or operation.view is not None


def _unmasked(scores: Node) -> tuple[Node, Node | None]:
    """The scores before the mask and the mask, True where a query may look."""
    if scores.operation is where and scores.heads[2].operation is constant:
        return scores.heads[1], scores.heads[0]
    return scores, None


def _input_along(graph: Graph, size: int | Dimension) -> str | None:
    """The input of ids whose positions are this dimension: the first that is declared."""
    if isinstance(size, int):
        return None
    for name, node in graph.inputs.items():
        if node.rank == 2 and node.dtype.kind in "iu" and node.shape[1] == size:
            return name
    return None


def attention_values(
    graph: Graph, found: Sequence[Attention], feeds: Arrays, state: Arrays
) -> dict[Node, np.ndarray]:
    """The weights, deltas and masks of one batch."""
    asked = [
        node for item in found for node in (item.weights, item.delta, item.mask) if node is not None
    ]
    return values_of(graph, asked, feeds, state)


def by_example(array: np.ndarray) -> np.ndarray:
    """[example, head, query, key] of weights of any rank from 2 on."""
    if array.ndim == 2:
        return array[None, None]
    return array.reshape(array.shape[0], -1, *array.shape[-2:])


def lengths_of(
    found: Sequence[Attention], arrays: Mapping[Node, np.ndarray]
) -> dict[str, np.ndarray]:
    """For each input, the number of places of each example that any query looks at."""
    lengths: dict[str, np.ndarray] = {}
    for item in found:
        if item.key is not None:
            seen = (by_example(arrays[item.weights]) != 0).any(axis=(1, 2))
            longest = seen.shape[1] - np.argmax(seen[:, ::-1], axis=1)
            used = np.where(seen.any(axis=1), longest, 0)
            lengths[item.key] = np.maximum(lengths.get(item.key, 0), used)
    return lengths
