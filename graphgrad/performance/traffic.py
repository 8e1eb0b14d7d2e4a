"""Counts what a step on several ranks sends: its collectives and their bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphgrad.graph import Graph, Node
from graphgrad.ops.collectives import wait
from graphgrad.ops.shares import reduce_scatter, reduce_scatter_start

SCATTERS = (reduce_scatter, reduce_scatter_start)


@dataclass(frozen=True, slots=True)
class Traffic:
    """The collectives of a step, and the bytes of their values, which are those of one rank."""

    collectives: int
    bytes: int
    open_sizes: int = 0
    """How many of them have a size that is not known yet, and is not counted."""

    def __str__(self) -> str:
        what = "1 collective" if self.collectives == 1 else f"{self.collectives} collectives"
        rest = f", {self.open_sizes} of them of a size that depends on the batch"
        size = f"{self.bytes / 1e6:.2f} MB" if self.bytes >= 10_000 else f"{self.bytes} bytes"
        return f"a step adds up {size} over the ranks in {what}{rest if self.open_sizes else ''}"


def collectives_of(graph: Graph) -> Sequence[Node]:
    """The collectives of a graph, in its order; one that is a start and a wait is its start."""
    return [node for node in graph if node.operation.collective and node.operation is not wait]


def traffic_of(graph: Graph) -> Traffic:
    """What a step of a graph sends.

    >>> from graphgrad.performance.traffic import traffic_of
    >>> x, w = gg.input("x", ("batch", 2)), gg.parameter("w", (2, 1))
    >>> step = gg.sgd(gg.Graph({"loss": gg.sum((x @ w) ** 2.0)}), 0.5)
    >>> print(traffic_of(gg.split_batch(step)))
    a step adds up 12 bytes over the ranks in 1 collective
    """
    found = collectives_of(graph)
    known = [node for node in found if all(isinstance(size, int) for size in node.shape)]
    return Traffic(len(found), sum(map(_bytes_of, known)), len(found) - len(known))


def _bytes_of(node: Node) -> int:
    """The bytes of the whole value: a share is scattered from it, or gathered to it."""
    return node.heads[0].type.nbytes if node.operation in SCATTERS else node.type.nbytes
