"""Batches by tokens: a pure function of the step, in few shapes, with every long pair."""

from collections import Counter

import numpy as np
import pytest

from graphgrad.data.corpus import Pair
from graphgrad.data.encoded import encode_pairs
from graphgrad.data.token_batches import TokenBatches, scored_batches
from graphgrad.data.vocabulary import BOS, EOS, PAD, Vocabulary
from graphgrad.errors import ConfigurationError

LETTERS = Vocabulary.build(["abcdefghijklmnopqrstuvwxyz0123456789"], "character")


def examples(count: int) -> list[Pair]:
    """Distinct pairs, few of them long."""
    random = np.random.default_rng(5)
    long = np.minimum(random.geometric(0.08, count), 60)
    return [(f"{n:04d}" + "x" * k, f"{n:04d}" + "y" * (k // 2 + n % 3)) for n, k in enumerate(long)]


def make(count: int = 700, tokens: int = 300, buckets: int = 5, **more: int) -> TokenBatches:
    return TokenBatches(examples(count), LETTERS, LETTERS, tokens, buckets, **more)


def sources_of(batches: TokenBatches, epoch: int) -> list[str]:
    steps = range(epoch * len(batches), (epoch + 1) * len(batches))
    return [LETTERS.decode(row) for step in steps for row in batches.at(step).source]


def test_an_epoch_shows_each_pair_once_but_for_a_few_of_the_shortest() -> None:
    batches = make()
    seen = [sources_of(batches, epoch) for epoch in (0, 1)]
    shortest = batches.shapes()[0]
    for shown in seen:
        assert max(Counter(shown).values()) == 1
        missing = {source for source, _ in examples(700)} - set(shown)
        assert len(missing) < len(batches) and all(len(s) < shortest[1] for s in missing)
    assert seen[0] != seen[1]


def test_batches_have_the_shapes_that_were_told_and_fit_the_budget() -> None:
    batches = make()
    found = [batches.at(step) for step in range(3 * len(batches))]
    assert {batch.shape for batch in found} == set(batches.shapes())
    assert len(batches.shapes()) <= 5
    for batch in found:
        assert batch.rows == len(batch.source) and batch.tokens == np.count_nonzero(
            batch.target_output
        )
        assert batch.rows * max(batch.shape[1:]) <= 300
    epoch = found[: len(batches)]
    cells = sum(batch.source.size + batch.target_output.size for batch in epoch)
    pads = sum(np.count_nonzero(ids == PAD) for b in epoch for ids in (b.source, b.target_output))
    assert batches.padding() == pytest.approx(pads / cells) and batches.padding() < 0.25


def test_rows_are_laid_out_as_documented() -> None:
    batches, expected = make(60, 100), dict(examples(60))
    for step in range(len(batches)):
        batch = batches.at(step)
        for source, given, output in zip(
            batch.source, batch.target_input, batch.target_output, strict=True
        ):
            answer = expected[LETTERS.decode(source)]
            assert LETTERS.decode(output) == LETTERS.decode(given) == answer
            assert given[0] == BOS and output[len(answer)] == EOS
            assert not output[len(answer) + 1 :].any() and not given[len(answer) + 1 :].any()


def test_a_step_is_a_pure_function_of_seed_and_step() -> None:
    one = make(seed=5)
    for step in (3 * len(one) + 2, 3, len(one), 0, len(one) - 1):
        first, second = one.at(step), make(seed=5).at(step)
        assert np.array_equal(first.source, second.source)
        assert np.array_equal(first.target_output, second.target_output)
    assert sources_of(make(seed=6), 0) != sources_of(one, 0)
    with pytest.raises(ValueError, match="-1"):
        one.at(-1)


@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_a_corpus_smaller_than_a_batch_is_used(count: int) -> None:
    batches = make(count, 10_000, 3)
    assert sorted(sources_of(batches, 0)) == sorted(source for source, _ in examples(count))


def test_what_does_not_fit_is_told() -> None:
    assert "longer than 20 tokens" in make(maximum_length=20).notice
    with pytest.raises(ConfigurationError, match="longest pair has 65 tokens"):
        make(tokens=60)
    with pytest.raises(ConfigurationError, match="no training pair has at most 2"):
        make(maximum_length=2)


def test_scored_batches_hold_every_pair_once_in_the_given_shapes() -> None:
    pairs = [*examples(90), ("z" * 70, "9" * 20)]
    shapes = ((6, 20, 15), (3, 66, 40))
    found = list(scored_batches(encode_pairs(pairs, LETTERS, LETTERS), shapes))
    shown = [LETTERS.decode(row) for b in found for row in b.source[: b.rows]]
    assert sorted(shown) == sorted(source for source, _ in pairs)
    assert {b.shape for b in found} == {*shapes, (2, 71, 40)}
    for batch in found:
        assert not batch.target_output[batch.rows :].any()
        assert (batch.source[batch.rows :, 0] == EOS).all()
        assert batch.tokens == np.count_nonzero(batch.target_output)
