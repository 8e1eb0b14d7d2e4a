"""What is said of a slope: right, wrong, or a kink between two sides."""

import pytest

from graphgrad.checks.slopes import compare_slopes


@pytest.mark.parametrize(
    ("symbolic", "judgement"), [(0.0, "kink"), (0.5, "kink"), (1.0, "kink"), (1.2, "wrong")]
)
def test_any_slope_between_the_two_sides_is_a_kink(symbolic: float, judgement: str) -> None:
    result = compare_slopes(lambda h: h if h > 0 else 0.0, symbolic, 0.1, 1e-5, 1e-16)
    assert result.judgement == judgement


def test_a_smooth_function_has_one_slope_however_it_is_rounded() -> None:
    def rounded(h: float) -> float:
        return round((3.0 * h + h * h) * 1e9) / 1e9

    assert compare_slopes(rounded, 3.0, 1.0, 1e-5, 1e-9).judgement == "ok"
    assert compare_slopes(rounded, 3.01, 1.0, 1e-5, 1e-9).judgement == "wrong"


def test_where_the_function_is_not_defined_there_is_nothing_to_say_but_that() -> None:
    def edge(h: float) -> float:
        return float("inf") if h < 0 else h

    assert compare_slopes(edge, 1.0, 1.0, 1e-5, 1e-16).judgement == "kink"
    assert compare_slopes(edge, float("nan"), 1.0, 1e-5, 1e-16).judgement == "wrong"
