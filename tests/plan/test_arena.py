"""The arena: ranges in use at the same time never overlap, and freed ones are reused."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from graphgrad.plan.arena import ALIGNMENT, Arena, aligned

SIZES = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 100)), max_size=60)


@settings(derandomize=True, max_examples=200, deadline=None, database=None)
@given(requests=SIZES)
def test_what_is_alive_never_overlaps(requests):
    """Each request asks for some bytes and then frees one of what is alive, or nothing."""
    arena, alive = Arena(), []
    most = 0
    for size, freed in requests:
        offset = arena.allocate(size)
        assert offset % ALIGNMENT == 0 and offset >= 0
        for other, taken in alive:
            assert offset + aligned(size) <= other or other + aligned(taken) <= offset
        alive.append((offset, size))
        most = max(most, sum(aligned(taken) for _, taken in alive))
        assert arena.peak >= max(place + aligned(taken) for place, taken in alive)
        if freed < len(alive):
            arena.release(*alive.pop(freed))
    assert arena.peak >= most
    for stretch in alive:
        arena.release(*stretch)
    assert arena.allocate(arena.peak) == 0, "neighbours that are free are joined"


def test_the_smallest_gap_that_fits_is_taken():
    arena = Arena()
    offsets = [arena.allocate(size) for size in (256, 64, 128, 64)]
    assert offsets == [0, 256, 320, 448] and arena.peak == 512
    arena.release(0, 256)
    arena.release(320, 128)
    assert arena.allocate(100) == 320
    assert arena.allocate(65) == 0 and arena.allocate(64) == 128
    assert arena.peak == 512


def test_the_last_gap_grows():
    arena = Arena()
    arena.allocate(64)
    arena.release(arena.allocate(64), 64)
    assert arena.allocate(640) == 64 and arena.peak == 704


def test_sizes_are_whole_cache_lines():
    assert [aligned(size) for size in (0, 1, 64, 65)] == [64, 64, 64, 128]
