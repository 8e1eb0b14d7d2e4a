"""The shapes of batches: the best chain there is, and few."""

from itertools import combinations, pairwise

import numpy as np
import pytest

from graphgrad.data.buckets import GRID, choose_shapes, shape_of


def lengths(seed: int, count: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    sources = random.integers(1, longest + 1, count)
    return sources, np.clip(sources + random.integers(-2, 3, count), 1, longest)


def padded(sources: np.ndarray, targets: np.ndarray, shapes: list[tuple[int, int]]) -> int:
    """The ids of all pairs, each in the first shape of the chain that holds it."""
    total = 0
    for source, target in zip(sources, targets, strict=True):
        total += next(sum(shape) for shape in shapes if source <= shape[0] and target <= shape[1])
    return total


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_other_chain_has_less_padding(seed: int, count: int) -> None:
    sources, targets = lengths(seed, 25, 5)
    found = choose_shapes(sources, targets, count)
    assert len(found) <= count and found == sorted(found)
    last = (int(sources.max()), int(targets.max()))
    assert found[-1] == last
    every = [(s, t) for s in range(1, last[0] + 1) for t in range(1, last[1] + 1)]
    best = min(
        padded(sources, targets, [*chain, last])
        for few in range(count)
        for chain in combinations(every, few)
        if all(a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise(chain))
    )
    assert padded(sources, targets, found) == best


def test_a_pair_belongs_to_the_first_shape_that_holds_it() -> None:
    sources, targets = lengths(7, 400, 3 * GRID)
    shapes = choose_shapes(sources, targets, 6)
    for number, source, target in zip(
        shape_of(sources, targets, shapes), sources, targets, strict=True
    ):
        holds = [source <= shape[0] and target <= shape[1] for shape in shapes]
        assert number == holds.index(True)
    assert shape_of(np.array([10**6]), np.array([1]), shapes).tolist() == [len(shapes)]


def test_more_shapes_have_less_padding_and_no_shape_is_empty() -> None:
    sources, targets = lengths(3, 3000, 90)
    costs = []
    for count in (1, 2, 4, 8, 12):
        shapes = choose_shapes(sources, targets, count)
        assert set(shape_of(sources, targets, shapes)) == set(range(len(shapes)))
        costs.append(padded(sources, targets, shapes))
    assert costs == sorted(costs, reverse=True) and costs[-1] < 1.1 * (sources + targets).sum()
    assert choose_shapes(np.array([4]), np.array([2]), 8) == [(4, 2)]
