"""The plot of held-out figures: a panel each, its drawn values those of the metrics."""

import math

import pytest

from graphgrad.errors import DataError
from graphgrad.rendering.plot_held_out import held_out_figures, plot_held_out
from graphgrad.rendering.plot_style import encoded, styled

METRICS = [
    {"step": 1, "loss": 9.0},
    {"step": 2, "loss": 8.0, "held_out_loss": 5.0, "held_out_bleu": 1.0, "samples": ["a"]},
    {"step": 4, "loss": 7.0, "held_out_loss": 2.0, "held_out_bleu": 7.5},
    {"step": 6, "loss": 6.0, "held_out_loss": math.nan, "held_out_bleu": 4.0},
    {"step": 8, "loss": 5.0, "held_out_loss": 3.0, "held_out_distinct_share": 0.5},
]


def test_each_figure_has_its_values_and_its_best():
    assert held_out_figures(METRICS) == {
        "loss": [(2, 5.0), (4, 2.0), (8, 3.0)],
        "bleu": [(2, 1.0), (4, 7.5), (6, 4.0)],
    }
    with styled():
        figure = plot_held_out(METRICS, "run")
        loss, bleu = figure.axes
        assert [line.get_xydata().tolist() for line in loss.lines] == [
            [[2, 5.0], [4, 2.0], [8, 3.0]],
            [[4, 2.0]],
        ]
        assert bleu.lines[1].get_xydata().tolist() == [[4, 7.5]]
        assert encoded(figure, "svg")


def test_a_run_without_a_look_says_so():
    with pytest.raises(DataError, match="not looked at held-out data yet"):
        plot_held_out(METRICS[:1], "run")
