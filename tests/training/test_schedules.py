"""Schedules with a start and an end of their own, against their formulas and other programs'."""

import itertools
import math

import numpy as np
import pytest

from graphgrad.compile import compile
from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph, constant
from graphgrad.training.schedules import learning_rate
from graphgrad.training.settings import TrainingSettings


def rates(numbers, **values):
    settings = TrainingSettings(**values)
    node = constant(np.array(numbers, np.float64))
    return compile(Graph({"rate": learning_rate(node, settings)}))()["rate"].tolist()


def fairseqs(updates, peak, start, warmup):
    """The rate after so many updates, as fairseq documents its inverse_sqrt."""
    if updates < warmup:
        return start + updates * (peak - start) / warmup
    return peak * math.sqrt(warmup) * updates**-0.5


def test_inverse_sqrt_is_fairseqs():
    values = {"learning_rate": 0.005, "warmup_start": 1e-7, "warmup": 2000}
    numbers = [1, 2, 1000, 1999, 2000, 2001, 8000]
    found = rates(numbers, schedule="inverse_sqrt", **values)
    assert found == pytest.approx([fairseqs(n, 0.005, 1e-7, 2000) for n in numbers], rel=1e-12)


def test_a_start_above_zero_is_that_of_every_warm_up():
    for schedule in ("constant", "cosine", "linear", "noam", "wsd"):
        given = {"learning_rate": 0.5, "warmup_start": 0.1, "warmup": 4, "steps": 40}
        found = rates([1, 2, 3, 4], schedule=schedule, **given)
        assert found == pytest.approx([0.2, 0.3, 0.4, 0.5])
    assert rates([1], learning_rate=0.5, warmup_start=0.1, warmup=0, schedule="constant") == [0.5]


def test_wsd_is_stable_and_then_falls():
    given = {"schedule": "wsd", "warmup": 10, "steps": 100, "learning_rate": 1.0}
    found = rates([10, 50, 75, 76, 88, 100, 101, 999], decay_share=0.25, final_share=0.1, **given)
    end = [1 - 0.9 * n / 26 for n in (1, 13, 25)]
    assert found == pytest.approx([1, 1, 1, *end, 0.1, 0.1])
    assert rates([10, 100], decay_share=1.0, **given) == pytest.approx([1, 1 / 91])


def test_exponential_falls_by_the_same_share_at_each_step():
    found = rates(
        range(5, 22), schedule="exponential", warmup=5, steps=20, learning_rate=2.0, final_share=0.1
    )
    assert found[0] == pytest.approx(2.0) and found[-1] == pytest.approx(0.2)
    ratios = [after / before for before, after in itertools.pairwise(found)]
    assert ratios == pytest.approx([0.1 ** (1 / 16)] * 16)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"schedule": "exponential"}, "no power falls to 0"),
        ({"warmup_start": 0.1, "learning_rate": 0.01}, "the warm-up starts at 0.1 and rises to"),
        ({"warmup_start": -1.0}, "warmup_start must be at least 0"),
        ({"decay_share": 0.0}, "decay_share must be above 0"),
        ({"decay_share": 1.5}, "decay_share must be above 0"),
        ({"schedule": "inverse_sqr"}, "schedule must be one of constant, inverse_sqrt"),
        ({"average_decay": 1.0}, "average_decay must be at least 0 and below 1"),
    ],
)
def test_numbers_that_contradict_each_other_are_refused(values, problem):
    with pytest.raises(ConfigurationError, match=problem):
        TrainingSettings(**values)
