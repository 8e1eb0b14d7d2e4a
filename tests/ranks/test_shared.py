"""Ranks that share memory: sums of all kinds and sizes, and every way in which one is lost."""

import subprocess
import sys
import threading

import numpy as np
import pytest

from graphgrad.errors import EnvironmentLimitError, RanksError
from graphgrad.graph.types import BFLOAT16
from graphgrad.ranks import Shared, create, shared, threads

KINDS = {"sum": np.sum, "max": np.max, "min": np.min}


def together(size, work, ranks=None, time_limit=20.0, **options):
    """What `work(rank's communicator)` gives on each rank, an error in place of what it raises."""
    path = create(size)
    found = [None] * size

    def run(rank):
        communicator = ranks[rank] if ranks else Shared(path, rank, size, time_limit, **options)
        try:
            found[rank] = work(communicator)
        except Exception as error:
            communicator.fail(str(error))
            found[rank] = error

    running = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for each in running:
        each.start()
    for each in running:
        each.join()
    path.unlink()
    return found


def values(rank, shape, dtype):
    drawn = np.asarray(np.random.default_rng(rank).normal(size=shape) * 1000)
    return drawn.astype(dtype)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_sums_of_any_size_and_dtype(size, kind, monkeypatch):
    monkeypatch.setattr(shared, "CHUNK", 4096)
    cases = [
        ((), "float64"),
        ((1,), "float32"),
        ((0, 3), "float32"),
        ((7, 5), "int32"),
        ((1024,), "float32"),
        ((1025,), "float32"),
        ((3, 999), "int64"),
    ]

    def work(communicator):
        made = []
        for number, (shape, dtype) in enumerate(cases):
            x = values(communicator.rank, shape, dtype)
            out = np.empty_like(x)
            communicator.all_reduce(out, x, kind, number)
            made.append(out)
        return made

    found = together(size, work)
    for number, (shape, dtype) in enumerate(cases):
        stacked = np.stack([values(rank, shape, dtype) for rank in range(size)])
        wanted = KINDS[kind](stacked, axis=0)
        for of_rank in found:
            assert of_rank[number].tobytes() == found[0][number].tobytes()
            np.testing.assert_allclose(of_rank[number], wanted, rtol=1e-6)


def shares_of_three(communicator):
    """What three ranks get of each collective of shares, one after another."""
    made = []
    for number, (shape, dtype) in enumerate(SHARED):
        x = values(communicator.rank, shape, dtype)
        length = -(-x.size // communicator.size)
        share, whole, sent = np.full(length, 7, x.dtype), np.full(x.size, 7, x.dtype), x.copy()
        communicator.reduce_scatter(share, x, number)
        communicator.all_gather(whole, share, number)
        communicator.broadcast(sent, sent, 1, number)
        made.append((share, whole, sent))
    return made


SHARED = [
    ((), "float64"),
    ((2,), "float32"),
    ((0, 3), "float32"),
    ((7, 5), "int32"),
    ((1025,), "float32"),
    ((3, 999), BFLOAT16),
]


@pytest.mark.parametrize("kind", ["shared", "threads"])
def test_shares_are_those_of_the_sum_and_are_joined_again(kind, monkeypatch):
    monkeypatch.setattr(shared, "CHUNK", 4096)
    found = together(3, shares_of_three, threads(3, 20.0) if kind == "threads" else None)
    need_shares(found)


def need_shares(found):
    for number, (shape, dtype) in enumerate(SHARED):
        stacked = np.stack([values(rank, shape, dtype) for rank in range(3)]).astype("float64")
        total = stacked.sum(axis=0).ravel()
        length, rtol = -(-total.size // 3), 2.0**-8 if dtype == BFLOAT16 else 1e-6
        for rank, made in enumerate(found):
            share, whole, sent = made[number]
            wanted = np.zeros(3 * length)
            wanted[: total.size] = total
            wanted = wanted[rank * length : (rank + 1) * length]
            np.testing.assert_allclose(share.astype("float64"), wanted, rtol, 1e-3)
            assert (share[wanted == 0] == 0).all()
            assert whole.tobytes() == found[0][number][1].tobytes()
            np.testing.assert_allclose(whole.astype("float64"), total, rtol, 1e-3)
            assert sent.tobytes() == values(1, shape, dtype).tobytes()


def test_floats_of_16_bits_are_added_up_in_float32():
    """1 + 2⁻⁸ + 2⁻⁸ is no bfloat16 between its steps, and 1 + 2⁻⁷ is one."""

    def work(communicator):
        x = np.array([1.0 if communicator.rank == 0 else 2.0**-8], BFLOAT16)
        y, share = np.empty_like(x), np.empty_like(x)
        communicator.all_reduce(y, x, "sum", 0)
        communicator.reduce_scatter(share, x, 1)
        return float(y[0]), float(share[0])

    for ranks in (None, threads(3, 20.0)):
        found = together(3, work, ranks)
        assert [y for y, _ in found] == [1.0 + 2.0**-7] * 3 and found[0][1] == 1.0 + 2.0**-7


def test_in_place_and_arrays_that_are_not_contiguous():
    def work(communicator):
        x = np.arange(12.0).reshape(3, 4) * (communicator.rank + 1)
        communicator.all_reduce(x, x, "sum", 0)
        y = np.zeros((4, 3)).T
        communicator.all_reduce(y, x[:, ::-1], "sum", 1)
        return x, y

    for x, y in together(2, work):
        assert np.array_equal(x, np.arange(12.0).reshape(3, 4) * 3)
        assert np.array_equal(y, x[:, ::-1] * 2)


def test_nan_and_infinity_pass():
    def work(communicator):
        x = np.array([[np.nan, 1.0, np.inf], [1.0, -np.inf, -np.inf]][communicator.rank])
        communicator.all_reduce(x, x, "sum", 0)
        return x

    for x in together(2, work):
        np.testing.assert_array_equal(x, [np.nan, -np.inf, np.nan])


def test_messages_of_all_ranks():
    for found in together(3, lambda c: c.gather(b"x" * (c.rank * 100_000), 1)):
        assert found == [b"", b"x" * 100_000, b"x" * 200_000]


def test_ranks_at_different_places_are_told():
    def work(communicator):
        x = np.zeros(3 + communicator.rank)
        communicator.all_reduce(x, x, "sum", 4)

    for error in together(2, work):
        assert isinstance(error, RanksError)
        assert "collective 4: the sum of float64" in str(error) and "somewhere else" in str(error)


def test_who_does_not_come_is_named_after_the_time_limit():
    def work(communicator):
        if communicator.rank == 0:
            communicator.all_reduce(x := np.zeros(2), x, "sum", 0)

    error, _ = together(2, work, time_limit=0.2)
    assert "waited 0.2 seconds at collective 0" in str(error) and "for rank 1" in str(error)


def test_why_a_rank_has_failed_is_told():
    def work(communicator):
        if communicator.rank == 1:
            raise ValueError("no data — ü")
        communicator.gather(b"", 0, patient=True)

    error, _ = together(2, work)
    assert str(error) == "rank 1 has failed: no data — ü"


def test_a_process_that_has_ended_is_found_without_a_time_limit():
    path = create(2)
    code = "import sys\nfrom graphgrad.ranks import Shared\nShared(sys.argv[1], 1, 2)\n"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    with pytest.raises(RanksError, match="the process of rank 1 has ended"):
        Shared(path, 0, 2).gather(b"", 0, patient=True)
    path.unlink()


def test_memory_that_cannot_be_had_is_one_error(monkeypatch):
    monkeypatch.setattr(shared, "CHUNK", 10**14)
    with pytest.raises((EnvironmentLimitError, MemoryError)):
        create(3)
