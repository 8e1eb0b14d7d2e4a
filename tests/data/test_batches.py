import numpy as np
import pytest

from graphgrad.data.batches import Batches, evaluation_batches
from graphgrad.data.corpus import Pair
from graphgrad.data.vocabulary import BOS, EOS, PAD, Vocabulary
from graphgrad.errors import ConfigurationError, DataError

LETTERS = Vocabulary.build(["abcdefghijklmnopqrstuvwxyz0123456789"], "character")


def examples(count: int) -> list[Pair]:
    """Distinct pairs with sources of 4 letters and more and targets of 3 to 6."""
    return [(f"{n:03d}" + "x" * (1 + n * 7 % 30), f"{n:03d}" + "y" * (n % 4)) for n in range(count)]


def make(count: int = 203, batch_size: int = 10, **settings: int) -> Batches:
    return Batches(examples(count), LETTERS, LETTERS, batch_size, **settings)


def sources_of(batches: Batches, epoch: int) -> list[str]:
    steps = range(epoch * len(batches), (epoch + 1) * len(batches))
    return [LETTERS.decode(row) for step in steps for row in batches.at(step).source]


def test_a_batch_is_laid_out_as_documented() -> None:
    batch = Batches([("abc", "de")], LETTERS, LETTERS, 1).at(0)
    a, b, c, d, e = LETTERS.encode("abcde")
    assert batch.source.tolist() == [[a, b, c, EOS]]
    assert batch.target_input.tolist() == [[BOS, d, e]]
    assert batch.target_output.tolist() == [[d, e, EOS]]
    assert (batch.tokens, batch.rows, batch.shape) == (3, 1, (1, 4, 3))
    arrays = (batch.source, batch.target_input, batch.target_output)
    assert all(array.dtype == np.int32 for array in arrays)


def test_every_row_of_an_epoch_is_a_whole_pair() -> None:
    batches, expected = make(), dict(examples(203))
    for step in range(len(batches)):
        batch = batches.at(step)
        for source, given, output in zip(
            batch.source, batch.target_input, batch.target_output, strict=True
        ):
            answer = expected[LETTERS.decode(source)]
            assert LETTERS.decode(output) == answer
            assert given[0] == BOS and LETTERS.decode(given) == answer
            assert output[len(answer)] == EOS and not output[len(answer) + 1 :].any()
        assert batch.tokens == np.count_nonzero(batch.target_output)
        assert batch.rows == 10


def test_an_epoch_shows_each_example_once_and_drops_the_remainder() -> None:
    batches = make()
    assert len(batches) == 20
    first, second = sources_of(batches, 0), sources_of(batches, 1)
    assert len(set(first)) == len(set(second)) == 200
    assert first != second and set(first) != set(second)


def test_a_step_is_a_pure_function_of_seed_and_step() -> None:
    one, other = make(seed=5), make(seed=5)
    for step in (57, 3, 20, 0, 19):
        first, second = one.at(step), make(seed=5).at(step)
        assert np.array_equal(first.source, second.source)
        assert np.array_equal(first.target_output, second.target_output)
    assert sources_of(make(seed=5), 2) == sources_of(other, 2)
    assert sources_of(make(seed=6), 0) != sources_of(other, 0)


def test_widths_are_rounded_and_alike_lengths_share_a_batch() -> None:
    batches = make(1200, 20)
    seen = [batches.at(step) for step in range(len(batches))]
    widths = {batch.source.shape[1] for batch in seen}
    assert widths == {8, 16, 24, 32, 35}
    assert tuple(sorted({batch.shape for batch in seen})) == batches.shapes()
    padding = sum(np.count_nonzero(batch.source == PAD) for batch in seen)
    assert padding / sum(batch.source.size for batch in seen) < 0.25
    order = [batch.source.shape[1] for batch in seen]
    assert order != sorted(order)


def test_every_batch_is_padded_only_behind() -> None:
    for step in range(20):
        source = make().at(step).source
        ends = (source == EOS).argmax(axis=1)
        for row, end in zip(source, ends, strict=True):
            assert row[:end].all() and not row[end + 1 :].any()


def test_long_pairs_are_dropped_and_counted() -> None:
    batches = make(maximum_length=20)
    assert batches.dropped == sum(len(source) + 1 > 20 for source, _ in examples(203))
    assert f"{batches.dropped} of 203 pairs are longer than 20 tokens" in batches.notice
    assert all(batches.at(step).source.shape[1] <= 20 for step in range(len(batches)))
    assert (make().dropped, make().notice) == (0, "")


@pytest.mark.parametrize(
    "settings", [{"batch_size": 204}, {"batch_size": 203, "maximum_length": 9}]
)
def test_fewer_pairs_than_a_batch_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="do not fill one batch"):
        make(**settings)


@pytest.mark.parametrize("settings", [{"batch_size": 0}, {"round_to": 0}])
def test_sizes_below_one_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="is 0"):
        make(**settings)
    with pytest.raises(ConfigurationError, match="is 0"):
        evaluation_batches(examples(3), LETTERS, LETTERS, **({"batch_size": 1} | settings))


def test_a_negative_step_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        make().at(-1)


def test_evaluation_keeps_the_order_and_fills_up_the_last_batch() -> None:
    pairs = examples(25)
    batches = list(evaluation_batches(pairs, LETTERS, LETTERS, 10))
    assert [batch.rows for batch in batches] == [10, 10, 5]
    assert [len(batch.source) for batch in batches] == [10, 10, 10]
    read = [LETTERS.decode(row) for batch in batches for row in batch.source[: batch.rows]]
    assert read == [source for source, _ in pairs]
    last = batches[-1]
    assert not last.target_output[5:].any()
    assert (last.source[5:, 0] == EOS).all() and not last.source[5:, 1:].any()
    assert (last.target_input[5:, 0] == BOS).all() and not last.target_input[5:, 1:].any()
    assert last.tokens == np.count_nonzero(last.target_output)


def test_evaluation_refuses_rather_than_leaving_out() -> None:
    with pytest.raises(DataError, match="25 pairs are longer than 20") as caught:
        evaluation_batches(examples(25), LETTERS, LETTERS, 10, maximum_length=20)
    assert caught.value.where.startswith("pair 4: '003x")
    with pytest.raises(DataError, match="no pairs"):
        evaluation_batches([], LETTERS, LETTERS, 10)
