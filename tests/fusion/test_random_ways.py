"""Some of the random graphs that `python tests/compare_ways.py` compares by the thousand."""

from __future__ import annotations

import pytest
from compare_ways import case_of, compare

import graphgrad as gg
from graphgrad.fusion import reading

pytest.importorskip("llvmlite", reason="kernels are compiled by LLVM")


@pytest.mark.parametrize("first", range(0, 100, 20))
def test_every_way_of_compiling_gives_the_reference_values(first: int) -> None:
    for seed in range(first, first + 20):
        assert compare(seed) == []


def test_the_cases_are_of_every_kind() -> None:
    cases = [case_of(seed)[0] for seed in range(40)]
    dtypes = {str(array.dtype) for case in cases for array in case.feeds.values()}
    assert dtypes == {"float32", "float64"}
    sizes = [node.type.size for case in cases for node in case.graph]
    assert max(sizes) > 4096 and min(sizes) == 1
    views = [node for case in cases for node in case.graph if node.operation.view is not None]
    assert len(views) > 400


@pytest.mark.parametrize(
    ("place", "wrong", "first"),
    [
        ("graphgrad.schedule.Layouts.contiguous", lambda self, node: True, 4),
        (
            "graphgrad.fusion.region.is_readable",
            lambda head, *rest: reading.aligned_shape(head, rest[0]),
            4,
        ),
        ("graphgrad.fusion.region._compared", lambda graph, order: set(), 90),
    ],
    ids=["any order of elements", "numbers of rows anywhere", "compared values made again"],
)
def test_a_check_that_is_missing_would_be_noticed(
    monkeypatch: pytest.MonkeyPatch, place: str, wrong: object, first: int
) -> None:
    """Some of these graphs need each condition on the values that a kernel reads; `first` is one of
    them, and those behind it are asked where it no longer is."""
    monkeypatch.setattr(place, wrong)
    for seed in range(first, 400):
        try:
            if compare(seed):
                return
        except (gg.GraphgradError, KeyError, AssertionError, AttributeError):
            return  # a kernel that cannot even be printed
    pytest.fail("no graph noticed")
