"""Lets NumPy's BLAS use one thread where its products are small.

The threads of a BLAS share every product and wait for each other at its end. Of a small product
each has so little to do that nothing is gained, and where other programs use the cores a product
takes as long as the scheduler lets a thread wait: decoding, whose steps have dozens of small
products, took seven times as long. The limit follows from the program alone, so that equal runs
stay equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from threadpoolctl import ThreadpoolController

from graphgrad.graph import Graph
from graphgrad.passes.specialise import free_dimensions, specialise
from graphgrad.performance.cost import flops_of

SMALL = 1e8
"""Operations of a product, in the mean of a program, below which one thread computes it: about a
millisecond's work of one core."""


_USUAL = 32
"""The size of an open dimension for the estimate."""


class BlasThreads:
    """The threads of the BLAS that is loaded."""

    @cached_property
    def _controller(self) -> ThreadpoolController:
        """Finding the libraries takes milliseconds, so it is done once."""
        return ThreadpoolController().select(user_api="blas")

    @contextmanager
    def one(self) -> Iterator[None]:
        """One thread for all products of the block; afterwards there are as many as before."""
        with self._controller.limit(limits=1):
            yield


def has_small_products(graph: Graph) -> bool:
    """Whether the products of a graph are small in the mean, where open sizes are `_USUAL`."""
    sized = specialise(graph, dict.fromkeys(free_dimensions(graph), _USUAL))
    flops = list(filter(None, map(flops_of, sized)))
    return sum(flops) < SMALL * max(len(flops), 1)
