"""Two runs side by side."""

import math

import pytest

from graphgrad.reports.comparison import Pair, compare


@pytest.mark.parametrize(
    "first, second, ratio, distance",
    [
        (2.0, 4.0, 2.0, math.log(2)),
        (4.0, 2.0, 0.5, math.log(2)),
        (-1.0, -3.0, 3.0, math.log(3)),
        (1.0, -1.0, -1.0, math.inf),
        (0.0, 0.0, None, 0.0),
        (0.0, 1.0, None, math.inf),
        (1.0, 0.0, 0.0, math.inf),
        (None, 1.0, None, math.inf),
        (1e-300, 1e300, math.inf, math.inf),
    ],
)
def test_a_pair_has_a_ratio_and_a_distance(first, second, ratio, distance):
    pair = Pair("x", first, second)
    assert pair.ratio == ratio and pair.distance == pytest.approx(distance)
    assert pair.to_dict() == {"name": "x", "first": first, "second": second, "ratio": ratio}


def test_the_largest_difference_comes_first_and_the_rest_is_listed():
    first = {
        "a": {"norm": 1.0},
        "b": {"norm": 1.0},
        "c": {"norm": 8.0},
        "only": {"norm": 1.0},
        "none": {"norm": None},
        "zero": {"norm": 0.0},
    }
    second = {
        "a": {"norm": 2.0},
        "b": {"norm": 1.0},
        "c": {"norm": 1.0},
        "other": {"norm": 1.0},
        "none": {},
        "zero": {"norm": 1.0},
    }
    found = compare(first, second, "norm")
    assert [pair.name for pair in found.pairs] == ["zero", "c", "a", "b"]
    assert (found.only_first, found.only_second) == (("only",), ("other",))
