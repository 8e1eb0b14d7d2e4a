"""Masked language modelling: how examples are masked, what is measured, and how gaps are filled."""

import numpy as np
import pytest

from graphgrad.data.vocabulary import BOS, EOS, PAD, SPECIALS, UNK
from graphgrad.errors import DataError
from graphgrad.models import bert
from graphgrad.training.language import load_text
from graphgrad.training.masking import MASK, masked, masked_count, unigram
from graphgrad.training.runs import first_state

SIZE, LENGTH = 30, 45
MASKED = SIZE
"""The id of the mask: one behind the vocabulary's."""


def windows(rows=400, seed=0):
    return np.random.default_rng(seed).integers(len(SPECIALS), SIZE, (rows, LENGTH), np.int32)


def restored(feeds):
    """The ids of the examples with the answers put back, row by row, without what frames them."""
    ids = feeds["ids"].copy()
    for row, places in enumerate(feeds["places"]):
        kept = feeds["targets"][row] != PAD
        ids[row, places[kept]] = feeds["targets"][row][kept]
    return [row[(row != PAD) & (row != BOS) & (row != EOS)] for row in ids]


def test_an_example_is_its_window_with_some_tokens_hidden():
    text = windows()
    feeds = masked(text, SIZE, seed=1, place=2)
    assert feeds["ids"].shape == (400, LENGTH + 3)
    assert feeds["places"].shape == (400, masked_count(LENGTH + 3)) == (400, 7)
    np.testing.assert_array_equal(restored(feeds), text)
    assert all(len(set(row)) == 7 for row in feeds["places"].tolist())


def test_examples_are_one_segment_or_two():
    feeds = masked(windows(), SIZE, seed=1, place=2)
    ids, segments = feeds["ids"], feeds["segments"]
    assert (ids[:, 0] == BOS).all()
    ends = (ids == EOS).sum(axis=1)
    assert set(ends.tolist()) == {1, 2} and 0.4 < (ends == 2).mean() < 0.6
    for row, parts, count in zip(ids, segments, ends, strict=True):
        places = np.flatnonzero(row == EOS)
        expected = np.arange(len(row)) > places[0] if count == 2 else np.zeros(len(row))
        np.testing.assert_array_equal(parts, expected)
        assert places[-1] == len(row) - (1 if count == 2 else 2)
    assert not segments[ids == PAD].any()


def test_of_what_is_asked_for_8_of_10_are_hidden_and_one_is_another():
    text = windows(3000)
    feeds = masked(text, SIZE, seed=3, place=0)
    shown = np.take_along_axis(feeds["ids"], feeds["places"], 1)
    hidden, same = shown == MASKED, shown == feeds["targets"]
    assert hidden.mean() == pytest.approx(0.8, abs=0.01)
    assert same.mean() == pytest.approx(0.1 + 0.1 / (SIZE - 4), abs=0.01)
    others = shown[~hidden & ~same]
    assert set(others.tolist()) == set(range(len(SPECIALS), SIZE))
    assert not np.isin(feeds["targets"], range(len(SPECIALS))).any()


def test_unknown_tokens_are_never_asked_for():
    text = windows(50)
    text[:, :40] = UNK  # five known ones are left, and seven are wanted
    feeds = masked(text, SIZE, seed=3, place=0)
    assert ((feeds["targets"] != PAD).sum(axis=1) == 5).all()
    np.testing.assert_array_equal(restored(feeds), text)


def test_a_step_is_a_function_of_its_number_and_the_seed():
    text = windows(20)
    first = masked(text, SIZE, seed=1, place=2)
    again = masked(text, SIZE, seed=1, place=2)
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
        assert array.dtype == np.int32
    for other in (masked(text, SIZE, 1, 3), masked(text, SIZE, 2, 2)):
        assert (first["ids"] != other["ids"]).any()


def test_the_baseline_knows_frequencies_only():
    train = np.array([4] * 6 + [5] * 3 + [6], np.int32)
    batches = [{"targets": np.array([[4, 5, 7], [4, PAD, PAD]], np.int32)}]
    found = unigram(train, iter(batches), 8)
    assert found["unigram_accuracy"] == 0.5
    shares = np.array([0.5] * 4 + [6.5, 3.5, 1.5, 0.5]) / 14
    expected = -np.log(shares[[4, 5, 7, 4]]).mean()
    assert found["unigram_loss"] == pytest.approx(expected)


# ---------------------------------------------------------------- the task


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A task on a text whose words follow from their neighbours, and a state in which it knows."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    words = ["red", "green", "blue", "grey", "pink", "black"]
    generator = np.random.default_rng(0)
    runs = generator.integers(0, 6, (200, 4))  # each document is four runs of neighbours
    lines = [" ".join(words[(start + n) % 6] for start in row for n in range(9)) for row in runs]
    path.write_text("\n<|endoftext|>\n".join(lines) + "\n")
    settings = bert.Settings(text=str(path), layers=1, heads=2, width=16, inner=32, context=15)
    return settings, bert.task(settings, {})


def test_the_vocabulary_is_that_of_the_text_and_the_mask_one_more(trained):
    settings, task = trained
    assert task.graph.parameters["encoder.embedding"].shape == (4 + 6 + 1, 16)
    assert load_text(settings, task.files, list).tokens.kind == "word"
    feeds = task.feeds(0)
    assert feeds["ids"].shape == (32, 15) and feeds["ids"].max() == 10
    assert task.tokens(feeds) == (feeds["ids"] != PAD).sum()
    np.testing.assert_array_equal(task.feeds(5)["ids"], task.feeds(5)["ids"])
    assert (task.feeds(5)["ids"] != task.feeds(6)["ids"]).any()


def test_the_figures_stand_beside_the_baseline(trained):
    settings, task = trained
    found = task.evaluate(first_state(task, settings))
    assert found["loss"] == pytest.approx(np.log(11), abs=0.1)
    assert found["unigram_loss"] == pytest.approx(np.log(6), abs=0.1)
    assert found["unigram_accuracy"] == pytest.approx(1 / 6, abs=0.1)
    assert 0 <= found["masked_accuracy"] <= 0.5 and found["examples"] > 15
    assert task.validate(first_state(task, settings))["loss"] == pytest.approx(
        found["loss"], abs=0.1
    )


def test_each_gap_gets_its_most_probable_words(trained):
    settings, task = trained
    state = first_state(task, settings)
    state["output.b"][...] = np.arange(11.0)  # the later a word, the likelier
    gaps = task.fill(state, f"red {MASK} blue {MASK}", 3)
    assert len(gaps) == 2
    tokens = load_text(settings, task.files, list).tokens.vocabulary.tokens
    for gap in gaps:
        assert [word for word, _ in gap] == [tokens[9], tokens[8], tokens[7]]
        shares = [share for _, share in gap]
        assert shares == sorted(shares, reverse=True) and sum(shares) < 1
    assert shares[0] / shares[1] == pytest.approx(np.e, rel=0.3)


def test_what_is_filled_depends_on_what_stands_around(trained):
    settings, task = trained
    state = first_state(task, settings)
    for name in task.graph.parameters:
        state[name] += np.random.default_rng(1).normal(scale=0.3, size=state[name].shape)
    one, two = (task.fill(state, f"{word} {MASK}", 1)[0][0] for word in ("red", "pink"))
    assert one[1] != two[1]


@pytest.mark.parametrize(
    ("text", "named"), [("red blue", "no gap"), (f"{MASK} " + "red " * 13, "the model takes 13")]
)
def test_a_text_that_cannot_be_filled_is_refused(trained, text, named):
    settings, task = trained
    with pytest.raises(DataError, match=named):
        task.fill(first_state(task, settings), text, 3)


def test_examples_show_a_gap_with_its_truth(trained):
    settings, task = trained
    lines = task.examples(first_state(task, settings))
    assert len(lines) == 2
    assert all(f" {MASK} " in f" {line}" and "(truth: " in line for line in lines)
