"""Collectives of shares: their values and deltas on several ranks, and what is refused."""

import threading

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.ops.shares import own_share, own_sums
from graphgrad.ranks import threads

RANKS = 3
X = gg.input("x", (2, 5), "float64")
WEIGHTS = np.random.default_rng(8).normal(size=(RANKS, 20))
"""By which each rank weighs its own copy of a value."""


def on_ranks(graph, feeds):
    """The outputs of each rank."""
    made = [None] * RANKS

    def run(rank, communicator):
        made[rank] = gg.compile(graph, communicator=communicator)(**feeds[rank])

    running = [threading.Thread(target=run, args=each) for each in enumerate(threads(RANKS, 20.0))]
    for each in running:
        each.start()
    for each in running:
        each.join()
    assert None not in made
    return made


def gathered(x):
    return gg.all_gather(gg.reshape(x, (-1,))[:7], 19, ranks=RANKS)


VALUES = {
    "reduce_scatter": lambda x: gg.reduce_scatter(gg.sin(x), ranks=RANKS),
    "all_gather": gathered,
    "broadcast": lambda x: gg.broadcast(gg.sin(x), root=1),
    "share": lambda x: own_share(gg.sin(x), x[0], ranks=RANKS),
    "share_sums": lambda x: own_sums(gg.reshape(x, (-1,))[:7], (10, 0, 8, 3), RANKS),
}


@pytest.mark.parametrize("name", VALUES)
def test_the_delta_on_each_rank_is_the_slope_of_what_all_ranks_lose(name):
    """The loss is the sum over ranks of a rank's own: finite differences in each rank's x."""
    y = VALUES[name](X)
    w = gg.input("w", y.shape, "float64")
    graph = gg.derive(gg.Graph({"loss": gg.sum(y * w)}), "loss")
    graph = graph.with_outputs({"loss": graph["loss"], "delta": graph.delta(X)})
    drawn = np.random.default_rng(5).normal(size=(RANKS, 2, 5))
    size = int(np.prod(y.type.sizes))

    def run(x):
        weights = [each[:size].reshape(y.type.sizes) for each in WEIGHTS]
        return on_ranks(graph, [{"x": a, "w": b} for a, b in zip(x, weights, strict=True)])

    deltas, step = [each["delta"] for each in run(drawn)], 1e-6
    for rank, place in ((0, (0, 0)), (1, (0, 3)), (1, (1, 1)), (2, (1, 4)), (2, (0, 2))):
        moved = np.zeros_like(drawn)
        moved[(rank, *place)] = step
        high, low = (sum(each["loss"] for each in run(drawn + m)) for m in (moved, -moved))
        np.testing.assert_allclose(deltas[rank][place], (high - low) / (2 * step), 1e-6, 1e-8)


def test_shares_joined_are_the_sum():
    whole = gg.all_gather(gg.reduce_scatter(X, ranks=RANKS), 10, ranks=RANKS)
    graph = gg.Graph({"joined": gg.reshape(whole, (2, 5)), "sum": gg.all_reduce(X)})
    drawn = np.random.default_rng(6).normal(size=(RANKS, 2, 5))
    for found in on_ranks(graph, [{"x": x} for x in drawn]):
        assert found["joined"].tobytes() == found["sum"].tobytes()


def test_sums_of_shares_are_those_of_whole_values():
    """Values that lie in several shares, in one, and in none."""
    row = np.random.default_rng(7).normal(size=10)
    x, sizes = gg.input("row", 10, "float64"), (1, 0, 6, 3)
    sums = gg.all_reduce(own_sums(own_share(x, ranks=RANKS), sizes, RANKS))
    wanted = [part.sum() for part in np.split(row, np.cumsum(sizes)[:-1])]
    for found in on_ranks(gg.Graph({"sums": sums}), [{"row": row}] * RANKS):
        np.testing.assert_allclose(found["sums"], wanted, 1e-12)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (lambda: gg.reduce_scatter(gg.input("x", ("batch", 2)), ranks=2), "has to be known"),
        (lambda: gg.reduce_scatter(X, ranks=0), "at least one rank"),
        (lambda: gg.reduce_scatter(X, ranks=2.5), "the number of ranks is an integer"),
        (lambda: gg.reduce_scatter(gg.iota(4), ranks=2), "adds up floats, not int32"),
        (lambda: gg.all_gather(gg.iota(4), 9, ranks=2), r"are shares of \[5\], not int32\[4\]"),
        (lambda: gg.broadcast(X, root=-1), "counted from 0"),
        (lambda: gg.all_reduce(gg.cast(X, "bfloat16"), kind="max"), "not in bfloat16"),
    ],
)
def test_what_has_no_shares_is_one_error(wrong, problem):
    with pytest.raises(gg.DeclarationError, match=problem):
        wrong()


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (lambda: gg.reduce_scatter(X, ranks=2), "is of 2 ranks, and the program runs on 1"),
        (lambda: gg.broadcast(X, root=1), "of rank 1, and there are 1 ranks"),
    ],
)
def test_a_graph_of_other_ranks_is_refused_with_its_line(wrong, problem):
    compiled = gg.compile(gg.Graph({"y": wrong()}))
    with pytest.raises(gg.DeclarationError, match=problem) as caught:
        compiled(x=np.ones((2, 5)))
    assert "test_shares.py:" in caught.value.where
