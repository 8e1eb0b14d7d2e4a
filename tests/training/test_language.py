"""Language modelling: windows, what is measured, a run of it, and what it writes."""

import dataclasses
import lzma
import math

import numpy as np
import pytest
from small_runs import QUIET

from graphgrad.compile import compile
from graphgrad.data.vocabulary import EOS, PAD
from graphgrad.decoding import Options, Sentence
from graphgrad.errors import DataError
from graphgrad.models import BUILTIN, gpt
from graphgrad.training.language import TEXT_FILE, side_by_side, windows
from graphgrad.training.runs import create_run, first_state, open_run
from graphgrad.training.task import load_model
from graphgrad.training.trainer import train

SMALL = {"layers": 1, "heads": 2, "width": 16, "inner": 16, "context": 8, "batch_size": 4}


@pytest.fixture
def text(tmp_path):
    """Thirty documents of different lengths, 2,000 characters in all."""
    generator = np.random.default_rng(0)
    words = ["one", "two", "three", "four", "five\n"]
    documents = [" ".join(generator.choice(words, 5 + n)) + "\n" for n in range(30)]
    path = tmp_path / "text.txt"
    path.write_text("<|endoftext|>\n".join(documents))
    return path


def settings_of(text, **values):
    return gpt.Settings(**{**SMALL, "text": str(text), "held_out": 0.2, "steps": 6, **values})


# ---------------------------------------------------------------- windows


def test_a_window_is_a_piece_of_the_text_and_what_follows_each_token():
    ids = np.arange(100, dtype=np.int32)
    feeds = windows(ids, 5, 7, seed=0, place=3)
    assert feeds["ids"].shape == feeds["following"].shape == (5, 7)
    np.testing.assert_array_equal(feeds["ids"], feeds["ids"][:, :1] + np.arange(7))
    np.testing.assert_array_equal(feeds["following"], feeds["ids"] + 1)
    np.testing.assert_array_equal(windows(ids, 5, 7, 0, 3)["ids"], feeds["ids"])
    assert (windows(ids, 5, 7, 0, 4)["ids"] != feeds["ids"]).any()
    assert (windows(ids, 5, 7, 1, 3)["ids"] != feeds["ids"]).any()


def test_windows_start_everywhere_from_the_first_token_to_the_last():
    ids = np.arange(12, dtype=np.int32)
    found = {int(n) for place in range(60) for n in windows(ids, 4, 7, 0, place)["ids"][:, 0]}
    assert found == set(range(5))


@pytest.mark.parametrize("length", [2, 8, 9, 10, 41, 100])
def test_side_by_side_every_token_but_the_first_is_asked_for_once(length):
    ids = np.arange(1, length + 1, dtype=np.int32)
    batches = list(side_by_side(ids, 4, rows=3))
    assert len({feeds["ids"].shape for feeds in batches}) == 1
    asked = np.concatenate([feeds["following"].ravel() for feeds in batches])
    given = np.concatenate([feeds["ids"].ravel() for feeds in batches])
    np.testing.assert_array_equal(asked[asked != PAD], ids[1:])
    np.testing.assert_array_equal(given[asked != PAD], ids[:-1])


# ---------------------------------------------------------------- figures


def test_the_figures_are_those_of_the_held_out_documents(text):
    settings = settings_of(text)
    task = gpt.task(settings, {})
    state = first_state(task, settings)
    found = task.evaluate(state)
    documents = text.read_text().split("<|endoftext|>\n")
    trained = bytes(ids - 4 for ids in gpt.load_text(settings, {}, list).train if ids != EOS)
    kept = [part for part in documents if part.encode() in trained]
    order = [part for part in documents if part not in kept]
    held_out = "".join(order).encode()
    assert "".join(kept).encode() == trained
    assert 0.2 <= len(held_out) / len("".join(documents)) < 0.3
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    # every byte and every end of a document is predicted once; the model knows nothing yet
    tokens = len(held_out) + len(order)
    expected = found["loss"] * tokens / math.log(2) / len(held_out)
    assert found["bits_per_byte"] == pytest.approx(expected)
    assert found["loss"] == pytest.approx(math.log(260), abs=0.05)
    assert found["examples"] == math.ceil(tokens / 8)
    packed = lzma.compress(held_out, preset=9 | lzma.PRESET_EXTREME)
    assert found["lzma_bits_per_byte"] == 8 * len(packed) / len(held_out)
    assert found["sampled_loss"] == pytest.approx(found["loss"], abs=0.05)
    assert task.validate(state)["loss"] == found["sampled_loss"]


def test_the_loss_is_the_mean_over_all_tokens(text):
    settings = settings_of(text, dtype="float64")
    task = gpt.task(settings, {})
    state = first_state(task, settings)
    for name in task.graph.parameters:
        state[name] += np.random.default_rng(len(name)).normal(scale=0.5, size=state[name].shape)
    ids = gpt.load_text(settings, {}, list).held_out
    graph = gpt.training_graph(settings, 260, training=False)
    run, total = compile(graph, ["losses"]), 0.0
    for start in range(0, len(ids) - 1, 8):
        piece = ids[None, start : start + 9].astype(np.int32)
        total += run(state, ids=piece[:, :-1], following=piece[:, 1:])["losses"].sum()
    assert task.evaluate(state)["loss"] == pytest.approx(total / (len(ids) - 1), rel=1e-9)


def test_of_one_document_the_end_is_predicted_from_what_stands_before_it(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("abcdefghij" * 20)
    data = gpt.load_text(settings_of(path, held_out=0.25, tokens="character"), {}, list)
    assert not data.whole and EOS not in data.train
    assert data.held_out[0] == data.train[-1]
    assert len(data.held_out) - 1 == 51  # with the line's end


# ---------------------------------------------------------------- a run


def test_a_run_of_text_goes_on_as_if_it_had_not_stopped(text, tmp_path):
    model, settings = load_model("gpt", BUILTIN), settings_of(text, schedule="constant", warmup=0)
    train(create_run(model, settings, tmp_path / "whole"), progress=QUIET())
    first = create_run(model, dataclasses.replace(settings, steps=3), tmp_path / "parts")
    train(first, progress=QUIET())
    train(open_run(tmp_path / "parts", BUILTIN, {"steps": 6}), progress=QUIET())
    states = [open_run(tmp_path / name, BUILTIN).state for name in ("whole", "parts")]
    assert states[0].keys() == states[1].keys()
    for name, array in states[0].items():
        np.testing.assert_array_equal(array, states[1][name], err_msg=name)


def test_a_run_refuses_a_text_that_has_changed_and_writes_without_it(text, tmp_path):
    model = load_model("gpt", BUILTIN)
    run = create_run(model, settings_of(text), tmp_path / "run")
    text.write_text(text.read_text() + "one more\n")
    opened = open_run(tmp_path / "run", BUILTIN)
    with pytest.raises(DataError, match="not the one that the run was made with"):
        opened.task.feeds(0)
    assert "".join(opened.task.generate(opened.state, "one", Options(temperature=1.0), 5))
    assert run.task.files.keys() == opened.task.files.keys()


def test_a_damaged_record_is_named(text):
    settings = settings_of(text)
    files = dict(gpt.task(settings, {}).files) | {TEXT_FILE: '{"train": 3}\n'}
    with pytest.raises(DataError, match="does not describe a text"):
        gpt.task(settings, files)


def test_a_text_shorter_than_an_example_is_refused(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("only a few words\n")
    with pytest.raises(DataError, match="an example has 65"):
        gpt.task(settings_of(path, context=64), {})


# ---------------------------------------------------------------- writing


def test_generation_is_a_function_of_prompt_and_options(text):
    settings = settings_of(text)
    task = gpt.task(settings, {})
    state = first_state(task, settings)

    def written(seed, **options):
        chosen = Options(temperature=1.0, seed=seed, **options)
        return "".join(task.generate(state, "one", chosen, 40))

    assert written(0) == written(0) != written(1)
    assert "".join(task.generate(state, "one", Options(), 40)) == written(0, top_k=1)
    assert "".join(task.generate(state, "", Options(), 3)) != ""


def test_no_repetition_is_an_option_of_generation(text):
    settings = settings_of(text)
    task = gpt.task(settings, {})
    state = first_state(task, settings)
    sentence = Sentence([20], 12)
    plain, limited = (
        list(task.generate.decoder.stream(state, sentence, options))
        for options in (Options(), Options(no_repeat=1))
    )
    assert len(set(limited)) == len(limited) and len(set(plain)) < len(plain)
