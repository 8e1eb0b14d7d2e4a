import numpy as np
import pytest

from graphgrad.data.corpus import permutation, random_words
from graphgrad.errors import ConfigurationError


def test_a_permutation_holds_each_number_once() -> None:
    assert sorted(permutation(1000, seed=3)) == list(range(1000))


def test_words_are_fixed_for_all_time_and_differ_by_every_argument() -> None:
    # Philox4x64-10 with this key and counter; a changed value changes every split ever made
    assert random_words(2, seed=7).tolist() == FIRST_WORDS
    draws = {random_words(1, *arguments)[0] for arguments in [(7, 0, 0), (8,), (7, 1), (7, 0, 1)]}
    assert len(draws) == 4


FIRST_WORDS = [16086915834549238692, 5448529601018347655]


def test_a_longer_draw_starts_with_the_shorter() -> None:
    assert np.array_equal(random_words(50, seed=1)[:20], random_words(20, seed=1))


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ConfigurationError, match="seed"):
        permutation(3, seed)
