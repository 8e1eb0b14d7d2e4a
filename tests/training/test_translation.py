"""Translation: the data of a run, and what is kept for later use."""

import dataclasses
import gzip
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from graphgrad.compile import compile
from graphgrad.data import builtin
from graphgrad.data.vocabulary import BOS, EOS, PAD, UNK
from graphgrad.errors import ConfigurationError, DataError
from graphgrad.graph import initial_state
from graphgrad.models.transformer import Settings, task
from graphgrad.training import translation
from graphgrad.training.task import Rendering
from graphgrad.training.translation_data import (
    CORPUS_FILE,
    LENGTH_FILE,
    SOURCE_FILE,
    TARGET_FILE,
    load_data,
)
from graphgrad.training.translator import Translator

WORDS = ["a", "b", "c", "d", "e", "f"]
LINES = [" ".join(WORDS[(n * k) % 6] for k in range(1, n % 5 + 2)) for n in range(60)]


# ---------------------------------------------------------------- a corpus of files


@pytest.fixture
def corpus(tmp_path):
    """Files in which line n of the target is line n of the source in capitals."""
    files = {"source": tmp_path / "lines.en", "target": tmp_path / "lines.de"}
    files["source"].write_text("\n".join(LINES) + "\n", encoding="utf-8")
    files["target"].write_text("\n".join(LINES).upper() + "\n", encoding="utf-8")
    return {name: str(path) for name, path in files.items()}


def settings_of(corpus, **values):
    small = {
        "layers": 1,
        "width": 16,
        "heads": 2,
        "inner": 16,
        "batch_size": 4,
        "tokens": "whitespace",
    }
    return Settings(**{**small, **corpus, **values})


def test_batches_are_fed_under_the_names_of_the_inputs(corpus):
    settings = settings_of(corpus)
    made = task(settings, {})
    data = load_data(settings, {})
    assert made.graph.inputs.keys() == made.feeds(0).keys()
    feeds = made.feeds(3)
    for row, answer, output in zip(
        feeds["source"], feeds["target_input"], feeds["target_output"], strict=True
    ):
        source = data.source_vocabulary.decode(row)
        assert data.target_vocabulary.decode(output) == source.upper()
        assert answer[0] == BOS
        words = output[:-1] != EOS
        np.testing.assert_array_equal(answer[1:][words], output[:-1][words])
    assert made.tokens(feeds) == np.count_nonzero(feeds["target_output"])
    for name, array in made.feeds(3).items():
        np.testing.assert_array_equal(array, feeds[name])


def test_what_a_run_keeps_is_enough_to_translate(corpus, monkeypatch):
    settings = settings_of(corpus)
    first = task(settings, {})
    assert first.files.keys() == {SOURCE_FILE, TARGET_FILE, LENGTH_FILE, CORPUS_FILE}
    state = initial_state(first.graph, 1)
    texts = [LINES[1], "c a f e", "unknown words"]
    expected = first.translate(state, texts)
    for path in corpus.values():
        os.unlink(path)
    again = task(settings, first.files)
    assert again.translate(state, texts) == expected
    assert again.files == first.files
    with pytest.raises(DataError, match="no such file"):
        again.feeds(0)
    with pytest.raises(DataError, match="no such file"):
        again.evaluate(state)


def test_dates_are_not_written_anew_to_translate(monkeypatch):
    few = builtin.dates_corpus(train_examples=300)
    monkeypatch.setattr(builtin, "dates_corpus", lambda seed: few)
    settings = Settings(layers=1, width=16, heads=2, inner=16)
    first = task(settings, {})

    def forbidden(seed):
        raise AssertionError("the corpus was made")

    monkeypatch.setattr(builtin, "dates_corpus", forbidden)
    again = task(settings, first.files)
    state = initial_state(first.graph)
    assert again.examples(state) == first.examples(state)
    assert len(again.examples(state)) == 4


def test_vocabularies_of_an_earlier_run_are_kept(corpus):
    """Lines that were added since have no say in the ids of a trained model."""
    settings = settings_of(corpus)
    first = task(settings, {})
    for path in corpus.values():
        with open(path, "a", encoding="utf-8") as file:
            file.write("new words in the corpus\n" * 50)
    older = {name: text for name, text in first.files.items() if name != CORPUS_FILE}
    again, fresh = task(settings, older), task(settings, {})
    assert again.files == older
    assert fresh.files != first.files
    types = [
        {n: str(leaf.type) for n, leaf in made.graph.parameters.items()}
        for made in (first, again, fresh)
    ]
    assert types[0] == types[1] != types[2]
    again.evaluate(initial_state(again.graph))  # unknown words are <unk>
    assert UNK in np.concatenate([again.feeds(step)["source"].ravel() for step in range(20)])


def changed_lines(corpus):
    """Each way to change the corpus of a run, and the settings that it is read with then."""
    text = {name: Path(path).read_text(encoding="utf-8") for name, path in corpus.items()}
    first = {name: lines.splitlines()[0] + "\n" for name, lines in text.items()}
    yield {}, {name: first[name] + lines for name, lines in text.items()}
    yield {}, {name: lines + first[name] for name, lines in text.items()}
    yield {}, {name: lines[::-1] for name, lines in text.items()}
    yield {}, {"target": text["target"].replace("A", "B")}
    yield {"seed": 5}, {}


@pytest.mark.parametrize("number", range(5))
def test_other_data_than_the_run_was_made_with_are_refused(corpus, number):
    """What is held out of them now was, in part, trained on then."""
    settings = settings_of(corpus)
    first = task(settings, {})
    state = initial_state(first.graph)
    values, texts = list(changed_lines(corpus))[number]
    for name, text in texts.items():
        Path(corpus[name]).write_text(text, encoding="utf-8")
    again = task(dataclasses.replace(settings, **values), first.files)
    for use in (
        lambda: again.evaluate(state),
        lambda: again.validate(state),
        lambda: again.feeds(0),
    ):
        with pytest.raises(DataError, match="not those that the run was made with") as error:
            use()
        assert "restore the files" in error.value.fix
    assert again.translate(state, ["a"]) == first.translate(state, ["a"]), "it needs no data"


def test_the_same_lines_elsewhere_or_packed_are_the_same_data(corpus, tmp_path):
    settings = settings_of(corpus)
    first = task(settings, {})
    moved = {}
    for name, path in corpus.items():
        moved[name] = str(tmp_path / f"moved.{name}.gz")
        Path(moved[name]).write_bytes(gzip.compress(Path(path).read_bytes()))
        os.unlink(path)
    again = task(dataclasses.replace(settings, **moved), first.files)
    np.testing.assert_array_equal(again.feeds(3)["source"], first.feeds(3)["source"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (LENGTH_FILE, "[" * 100_000),
        (LENGTH_FILE, ""),
        (LENGTH_FILE, "six"),
        (LENGTH_FILE, "0"),
        (LENGTH_FILE, "6.5"),
        (LENGTH_FILE, "true"),
        (SOURCE_FILE, "{"),
        (TARGET_FILE, '{"level": "whitespace"}'),
    ],
)
def test_a_damaged_file_of_a_run_is_named(corpus, name, text):
    settings = settings_of(corpus)
    files = {**task(settings, {}).files, name: text}
    with pytest.raises(DataError) as error:
        task(settings, files)
    assert name in error.value.where


def test_a_file_that_a_run_lacks_is_named(corpus):
    settings = settings_of(corpus)
    files = dict(task(settings, {}).files)
    del files[LENGTH_FILE]
    with pytest.raises(DataError, match=LENGTH_FILE):
        task(settings, files)


def test_the_longest_target_is_found_wherever_it_stands(corpus):
    """A corpus sorted by length must not make later translations end early."""
    for path in corpus.values():
        with open(path, "a", encoding="utf-8") as file:
            file.write("a b c d e f a b c d e f a\n" * 9)
    files = task(settings_of(corpus), {}).files
    assert json.loads(files[LENGTH_FILE]) == 14


def test_the_vocabulary_is_as_large_as_the_settings_allow(corpus):
    data = load_data(settings_of(corpus, maximum_vocabulary=7), {})
    assert len(data.source_vocabulary) == len(data.target_vocabulary) == 7


@pytest.mark.parametrize("level", ["character", "whitespace"])
def test_tokens_are_what_the_settings_say(corpus, level):
    data = load_data(settings_of(corpus, tokens=level), {})
    assert data.source_vocabulary.level == data.target_vocabulary.level == level
    assert (" " in data.source_vocabulary.ids) == (level == "character")


def test_a_corpus_smaller_than_a_batch_is_one_batch_and_says_so(corpus):
    made = task(settings_of(corpus, batch_size=1000), {})
    rows = len(made.feeds(0)["source"])
    assert rows < 60
    assert f"{rows} training pairs" in made.notice and "1000" in made.notice
    assert not task(settings_of(corpus), {}).notice


def test_pairs_too_long_for_training_are_counted_in_the_notice(corpus):
    made = task(settings_of(corpus, maximum_length=4), {})
    assert "longer than 4 tokens" in made.notice
    assert max(made.feeds(step)["source"].shape[1] for step in range(10)) <= 4


def test_held_out_lines_that_are_all_too_long_are_told_before_training(corpus):
    with open(corpus["source"], encoding="utf-8") as file:
        long = [f"{line.strip()} x x x x" for line in file]
    for path in corpus.values():
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join([*long, *["a"] * 40]) + "\n")
    with pytest.raises(DataError, match="longer than 3 tokens") as error:
        task(settings_of(corpus, maximum_length=4), {})
    assert "maximum_length" in error.value.fix


def test_files_that_do_not_fit_a_batch_or_do_not_align_are_refused(corpus):
    with open(corpus["target"], "a", encoding="utf-8") as file:
        file.write("one more\n")
    with pytest.raises(DataError, match="60 source lines, 61 target lines"):
        task(settings_of(corpus), {})
    with pytest.raises(ConfigurationError, match="source and target"):
        Settings(source=corpus["source"])


# ---------------------------------------------------------------- figures


def test_the_loss_of_evaluation_is_the_mean_over_all_tokens(corpus, monkeypatch):
    """However the held-out pairs are cut into batches and padded."""
    settings = settings_of(corpus)
    made = task(settings, {})
    state = initial_state(made.graph, 2)
    data = load_data(settings, {})
    run, total, count = compile(made.graph), 0.0, 0
    for source, answer in data.corpus.test:
        ids = data.target_vocabulary.encode(answer)
        feeds = {
            "source": [[*data.source_vocabulary.encode(source), EOS]],
            "target_input": [[BOS, *ids]],
            "target_output": [[*ids, EOS]],
        }
        found = run(state, **{name: np.array(rows, np.int32) for name, rows in feeds.items()})
        total += float(found["loss"]) * (len(ids) + 1)
        count += len(ids) + 1
    figures = made.evaluate(state)
    assert figures["loss"] == pytest.approx(total / count, rel=1e-5)
    assert figures["examples"] == len(data.corpus.test)
    monkeypatch.setattr(translation, "GROUP", 2)
    assert task(settings, {}).evaluate(state)["loss"] == pytest.approx(figures["loss"], rel=1e-5)


def test_exact_match_is_the_share_of_whole_lines(corpus, monkeypatch):
    settings = settings_of(corpus)
    held_out = load_data(settings, {}).corpus.test
    answers = {source: answer for source, answer in held_out}
    wrong = held_out[0][0]

    def finished(self, state, texts, *others, **sizes):
        for place, text in enumerate(texts):
            yield place, [Rendering("wrong" if text == wrong else answers[text])]

    monkeypatch.setattr(Translator, "finished", finished)
    made = task(settings, {})
    expected = np.mean([source != wrong for source, _ in held_out])
    assert 0 < expected < 1
    assert made.evaluate(initial_state(made.graph))["exact_match"] == pytest.approx(expected)


def test_validation_looks_at_other_lines_than_the_test(corpus):
    made = task(settings_of(corpus), {})
    state = initial_state(made.graph, 2)
    test, validation = made.evaluate(state), made.validate(state)
    names = {"loss", "perplexity", "token_accuracy", "bleu", "chrf", "exact_match", "examples"}
    names |= {"length_ratio", "unknown_share", "distinct_share"}
    assert test.keys() == validation.keys() == names
    assert test["loss"] != validation["loss"]
    assert math.isfinite(test["loss"])


def test_examples_are_held_out_lines_with_their_translations(corpus):
    settings = settings_of(corpus)
    made = task(settings, {})
    held_out = {source for source, _ in load_data(settings, {}).corpus.validation}
    lines = made.examples(initial_state(made.graph))
    assert 1 <= len(lines) <= 4
    for line in lines:
        source, arrow, _ = line.partition("  →  ")
        assert arrow and source in held_out


def test_padding_and_unknown_tokens_are_never_shown(corpus):
    made = task(settings_of(corpus), {})
    for line in made.translate(initial_state(made.graph, 3), ["zzz zzz", "a"]):
        assert "<" not in line
    assert PAD == 0
