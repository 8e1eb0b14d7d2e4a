"""Sorting and reversing: the examples are right, and a model that learns solves them."""

import dataclasses

import numpy as np
import pytest

from graphgrad.compile import compile
from graphgrad.data.vocabulary import PAD
from graphgrad.decoding import Options
from graphgrad.errors import ConfigurationError
from graphgrad.figures.attention_maps import attention_maps
from graphgrad.figures.token_labels import token_labels
from graphgrad.models import BUILTIN, bert, builtin_recipe, gpt
from graphgrad.training.recipe import model_of_recipe
from graphgrad.training.runs import first_state

OFFSET = 4
"""The id of the digit 0."""


def trained(task, settings):
    step = task.step(task.graph, settings)
    program, state = compile(step, fuse=True), first_state(task, settings)
    for number in range(settings.steps):
        program(state, **task.feeds(number))
    return state


def sorting(**values):
    settings = gpt.Settings(
        data="sort",
        context=11,
        layers=1,
        heads=2,
        width=32,
        batch_size=64,
        steps=120,
        learning_rate=5e-3,
        warmup=20,
        **values,
    )
    return settings, gpt.task(settings, {})


def test_only_the_answer_is_asked_for_and_it_is_sorted():
    _, task = sorting()
    feeds = task.feeds(3)
    whole = np.concatenate([feeds["ids"], feeds["following"][:, -1:]], axis=1) - OFFSET
    assert whole.shape == (64, 12) and set(whole.ravel().tolist()) == {0, 1, 2}
    np.testing.assert_array_equal(np.sort(whole[:, :6], axis=1), whole[:, 6:])
    np.testing.assert_array_equal(feeds["following"][:, :5], PAD)
    np.testing.assert_array_equal(feeds["following"][:, 5:-1], feeds["ids"][:, 6:])
    assert task.tokens(feeds) == 64 * 6


def test_a_quarter_of_the_sequences_is_never_trained_on():
    settings, task = sorting()
    seen = {tuple(row) for n in range(200) for row in task.feeds(n)["ids"][:, :6].tolist()}
    assert len(seen) == 729 - 182  # all that there are: each is met often in 12,800
    shown = {line.partition("  →  ")[0] for line in task.examples(first_state(task, settings))}
    assert not shown & {"".join(str(n - OFFSET) for n in row) for row in seen}


def test_a_small_gpt_learns_to_sort_what_it_has_not_seen(monkeypatch):
    monkeypatch.setattr("graphgrad.training.sorting.EXAMINED", 700)
    settings, task = sorting()
    fresh = task.validate(first_state(task, settings))
    assert fresh["exact_match"] < 0.1
    state = trained(task, settings)
    found = task.evaluate(state)
    assert found["exact_match"] > 0.97 and found["examples"] == 700
    assert found["trained_exact_match"] > 0.97
    assert task.validate(state)["loss"] < 0.1
    assert "".join(task.generate(state, "210210", Options(), None)) == "001122"


def reversing():
    """The recipe, with a higher rate and smaller batches, so that it takes fewer steps."""
    model = model_of_recipe(builtin_recipe("reverse"), BUILTIN)
    settings = dataclasses.replace(
        model.settings, steps=500, learning_rate=2e-3, batch_size=64, schedule="constant"
    )
    return settings, model.task(settings, {})


def test_each_place_is_asked_for_the_digit_at_the_other_end():
    _, task = reversing()
    feeds = task.feeds(0)
    assert feeds["ids"].shape == (64, 16)
    np.testing.assert_array_equal(feeds["targets"], feeds["ids"][:, ::-1])
    np.testing.assert_array_equal(feeds["places"], np.tile(np.arange(16), (64, 1)))
    epoch = {tuple(row) for n in range(781) for row in task.feeds(n)["ids"].tolist()}
    assert len(epoch) == 781 * 64
    again = {tuple(row) for n in range(781, 789) for row in task.feeds(n)["ids"].tolist()}
    assert len(again & epoch) > 500 and (task.feeds(781)["ids"] != feeds["ids"]).any()


def test_a_layer_learns_to_reverse_and_attends_to_the_mirrored_place():
    settings, task = reversing()
    state = trained(task, settings)
    found = task.validate(state)
    assert found["accuracy"] > 0.99 and found["examples"] == 1000
    tokens = token_labels(task.graph, task.files)
    (attention,) = attention_maps(task.graph, task.feeds(0), state, tokens)
    np.testing.assert_array_equal(attention.weights[0].argmax(axis=1), np.arange(15, -1, -1))
    assert np.diagonal(attention.weights[0][:, ::-1]).min() > 0.5
    assert attention.keys == tuple(str(n - OFFSET) for n in task.feeds(0)["ids"][0])


@pytest.mark.parametrize(
    ("model", "values", "named"),
    [
        (gpt, {"data": "sort", "context": 10}, "too short to sort"),
        (bert, {"data": "reverse", "context": 15}, "too short to reverse"),
        (bert, {"data": "reverse", "context": 16, "batch_size": 50_001}, "more than the 50000"),
    ],
)
def test_settings_that_do_not_fit_the_exercise_are_refused(model, values, named):
    with pytest.raises(ConfigurationError, match=named):
        model.task(model.Settings(**values), {})
