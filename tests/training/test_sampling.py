"""Drawing a token: which may come, how often, and that nothing else matters."""

import numpy as np
import pytest

from graphgrad.errors import ConfigurationError
from graphgrad.training.sampling import Sampling, draw

LOGITS = np.log(np.array([0.1, 0.4, 0.2, 0.3]))


def frequencies(sampling, count=4000):
    """How often each token comes, among `count` draws of one batch."""
    found = draw(np.tile(LOGITS, (count, 1)).astype(np.float32), sampling, 0)
    return np.bincount(found, minlength=4) / count


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), [0.1, 0.4, 0.2, 0.3]),
        (Sampling(temperature=0), [0, 1, 0, 0]),
        (Sampling(temperature=0.5), [1 / 30, 16 / 30, 4 / 30, 9 / 30]),
        (Sampling(top_k=2), [0, 4 / 7, 0, 3 / 7]),
        (Sampling(top_k=99), [0.1, 0.4, 0.2, 0.3]),
        (Sampling(top_p=0.6), [0, 4 / 7, 0, 3 / 7]),
        (Sampling(top_p=0.3), [0, 1, 0, 0]),
        (Sampling(top_k=3, top_p=0.7), [0, 4 / 7, 0, 3 / 7]),
    ],
)
def test_tokens_come_as_often_as_their_probability(sampling, expected):
    found = frequencies(sampling)
    np.testing.assert_allclose(found, expected, atol=0.03)
    assert not found[np.array(expected) == 0].any()


def test_a_draw_follows_from_seed_and_place_and_no_other_row():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(50, 20)).astype(np.float32)
    first = draw(logits, Sampling(seed=1), 7)
    np.testing.assert_array_equal(first, draw(logits, Sampling(seed=1), 7))
    np.testing.assert_array_equal(first[:9], draw(logits[:9], Sampling(seed=1), 7))
    for other in (draw(logits, Sampling(seed=2), 7), draw(logits, Sampling(seed=1), 8)):
        assert 0.5 < (first != other).mean() < 1


def test_what_may_never_come_does_not():
    logits = np.full((1000, 3), -np.inf, np.float32)
    logits[:, 1] = -5.0
    assert set(draw(logits, Sampling(), 0).tolist()) == {1}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": -1}, "top-k"),
        ({"top_p": 0.0}, "top-p"),
        ({"top_p": 1.5}, "top-p"),
        ({"seed": -1}, "seed"),
    ],
)
def test_values_that_make_no_sense_are_refused(values, named):
    with pytest.raises(ConfigurationError, match=named):
        Sampling(**values)
