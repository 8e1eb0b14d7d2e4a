"""How the next token is chosen, on models whose probabilities are written down."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from decoded import BEGIN, END, chain

from graphgrad.decoding import Decoder, Options, Sentence, Stopped
from graphgrad.decoding.drawing import drawn, uniform
from graphgrad.errors import ConfigurationError, DataError, NonFiniteError

A, B, C = 3, 4, 5


def told(decodable, options=None, count=1, limit=6):
    sentences = [Sentence([BEGIN], limit, number=number) for number in range(count)]
    return Decoder(decodable)({}, sentences, options)


def tokens_of(found):
    return [[each.tokens for each in hypotheses] for hypotheses in found]


# ---------------------------------------------------------------- the most probable


GARDEN_PATH = {BEGIN: {A: 0.6, B: 0.4}, A: {A: 0.4, B: 0.3, END: 0.3}, B: {END: 0.95, C: 0.05}}
"""The first word of the best sentence is not the most probable first word."""


def test_greedy_takes_the_most_probable_and_a_beam_the_best():
    model = chain(GARDEN_PATH, 6)
    assert tokens_of(told(model)) == [[(A,) * 6]]
    found = told(model, Options(beam=2, length_penalty=0, n_best=2))[0]
    assert [each.tokens for each in found] == [(B, END), (A, B, END)]
    assert [each.score for each in found] == pytest.approx([math.log(0.38), math.log(0.171)])


def test_the_length_penalty_prefers_what_is_longer():
    model = chain({BEGIN: {A: 0.45, END: 0.55}, A: {A: 0.1, END: 0.9}}, 6)
    short, long = (told(model, Options(beam=2, length_penalty=alpha))[0][0] for alpha in (0, 1))
    assert short.tokens == (END,)
    assert long.tokens == (A, END)
    assert long.score == pytest.approx(math.log(0.405) / 2)


def test_the_end_may_be_the_first_token():
    model = chain({BEGIN: {END: 0.9, A: 0.1}, A: {A: 1.0}}, 6)
    assert tokens_of(told(model, count=3)) == [[(END,)]] * 3
    found = told(model, Options(beam=2, n_best=2, length_penalty=0), limit=3)[0]
    assert [(each.tokens, each.ended) for each in found] == [((END,), True), ((A, A, A), False)]


def test_equal_scores_keep_the_order_of_the_tokens():
    even = {token: 0.25 for token in (A, B, C, END)}
    model = chain({BEGIN: even, A: even, B: even, C: even}, 6)
    assert tokens_of(told(model, limit=2)) == [[(END,)]]  # the first of the four is 2, the end
    assert tokens_of(told(model, Options(beam=3, n_best=3, length_penalty=0), limit=2)) == [
        [(END,), (A, END), (A, A)]
    ]


def test_what_ends_stands_before_what_was_stopped():
    model = chain({BEGIN: {A: 0.99, B: 0.01}, A: {A: 1.0}, B: {END: 1.0}}, 6)
    found = told(model, Options(beam=2, n_best=2), limit=4)[0]
    assert [each.tokens for each in found] == [(B, END), (A, A, A, A)]


def test_a_beam_may_be_wider_than_the_vocabulary():
    model = chain({BEGIN: {A: 0.7, END: 0.3}, A: {END: 1.0}}, 6, forbidden=(0, 1))
    found = told(model, Options(beam=20, n_best=20))[0]
    assert {each.tokens for each in found} == {(A, END), (END,)}
    assert all(math.isfinite(each.score) for each in found)


def test_scores_are_the_models_whatever_is_forbidden():
    model = chain({BEGIN: {A: 0.5, B: 0.2, END: 0.3}, B: {END: 1.0}}, 6, forbidden=(A,))
    found = told(model, Options(scores=True))[0][0]
    assert found.tokens == (END,) and found.log_probability == pytest.approx(math.log(0.3))
    assert math.isnan(told(model)[0][0].score)


# ---------------------------------------------------------------- repetition


def test_no_two_tokens_come_twice_in_a_row():
    circle = {BEGIN: {A: 1.0}, A: {B: 0.9, C: 0.1}, B: {A: 0.9, C: 0.1}, C: {A: 0.6, END: 0.4}}
    model = chain(circle, 6)
    assert tokens_of(told(model, limit=7)) == [[(A, B, A, B, A, B, A)]]
    assert tokens_of(told(model, Options(no_repeat=2), limit=5)) == [[(A, B, A, C, A)]]
    with pytest.raises(NonFiniteError, match="excluded"):
        told(model, Options(no_repeat=2), limit=6)
    found = told(model, Options(no_repeat=2, beam=3, n_best=3), limit=12)[0]
    for each in found:
        pairs = list(zip(each.tokens, each.tokens[1:], strict=False))
        assert len(set(pairs)) == len(pairs)


def test_with_a_limit_of_one_no_token_comes_twice_but_the_end_may_come():
    every = {token: p for token, p in zip((A, B, C, END), (0.4, 0.3, 0.2, 0.1), strict=True)}
    model = chain({BEGIN: every, A: every, B: every, C: every}, 6)
    assert tokens_of(told(model, Options(no_repeat=1), limit=9)) == [[(A, B, C, END)]]


def test_nothing_left_to_say_is_an_error_that_names_the_limit():
    model = chain({BEGIN: {A: 1.0}, A: {A: 1.0}}, 6, end=None, forbidden=(0, 1, 2, 4, 5))
    with pytest.raises(NonFiniteError, match="excluded"):
        told(model, Options(no_repeat=1))


# ---------------------------------------------------------------- drawing


SKEWED = {BEGIN: {A: 0.5, B: 0.3, C: 0.15, END: 0.05}}


def counts_of(options, count=4000):
    found = told(chain(SKEWED, 6), options, count, limit=1)
    tokens = Counter(hypotheses[0].tokens[0] for hypotheses in found)
    return {token: tokens[token] / count for token in sorted(tokens)}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Options(temperature=1.0), {END: 0.05, A: 0.5, B: 0.3, C: 0.15}),
        (Options(temperature=0.5), {END: 0.0068, A: 0.6849, B: 0.2466, C: 0.0616}),
        (Options(temperature=1.0, top_k=2), {A: 0.625, B: 0.375}),
        (Options(temperature=1.0, top_p=0.79), {A: 0.625, B: 0.375}),
        (Options(temperature=1.0, top_p=0.81), {A: 0.5263, B: 0.3158, C: 0.1579}),
        (Options(temperature=1.0, top_k=3, top_p=0.5), {A: 1.0}),
        (Options(temperature=1e-3), {A: 1.0}),
        (Options(temperature=1.0, top_p=1e-9), {A: 1.0}),
    ],
    ids=lambda value: (
        f"{value.temperature}-{value.top_k}-{value.top_p}" if isinstance(value, Options) else ""
    ),
)
def test_tokens_are_drawn_as_often_as_they_are_probable(options, expected):
    found = counts_of(options)
    assert found.keys() == expected.keys()
    for token, share in expected.items():
        assert found[token] == pytest.approx(share, abs=4 * math.sqrt(0.25 / 4000))


def test_what_is_drawn_depends_on_the_seed_and_the_sentence_alone():
    even = {token: 1 / 3 for token in (A, B, C)}
    model = chain({BEGIN: even, A: even, B: even, C: even}, 6)
    options = Options(temperature=1.0, seed=7)
    first, again = (tokens_of(told(model, options, 40)) for _ in range(2))
    other = tokens_of(told(model, Options(temperature=1.0, seed=8), 40))
    assert first == again != other
    assert len({found[0] for found in first}) > 30
    alone = Decoder(model)({}, [Sentence([BEGIN], 6, number=33)], options)
    assert tokens_of(alone)[0] == first[33]


def test_numbers_are_even_and_never_one():
    numbers = uniform(3, np.arange(100_000, dtype=np.uint64), np.full(100_000, 5))
    assert numbers.min() >= 0 and numbers.max() < 1
    assert numbers.mean() == pytest.approx(0.5, abs=0.005)
    counts = np.bincount((numbers * 10).astype(int), minlength=10)
    assert np.abs(counts - 10_000).max() < 500


@pytest.mark.parametrize("number", [0.0, np.nextafter(1.0, 0.0)])
def test_what_has_no_weight_is_never_drawn(number):
    logits = np.array([[-np.inf, 0.0, -np.inf, -1.0, -np.inf]])
    for options in (Options(temperature=1.0), Options(temperature=1.0, top_p=0.999)):
        place = drawn(logits, np.array([number]), options)[0]
        assert place == (1 if number == 0 else 3)


# ---------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"beam": 0}, "beam"),
        ({"beam": 1000}, "beam"),
        ({"n_best": 2}, "the 2 best of a beam of 1"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"top_k": 5}, "nothing is drawn"),
        ({"top_p": 0.9}, "nothing is drawn"),
        ({"temperature": 1.0, "top_p": 0.0}, "top_p"),
        ({"temperature": 1.0, "beam": 2}, "beam 2"),
        ({"length_penalty": math.inf}, "length_penalty"),
        ({"no_repeat": -1}, "no_repeat"),
        ({"seed": -1}, "seed"),
    ],
)
def test_options_that_make_no_sense_are_refused(values, named):
    with pytest.raises(ConfigurationError, match=named) as error:
        Options(**values)
    assert error.value.fix


def test_a_model_that_gives_no_numbers_is_an_error():
    model = chain({BEGIN: {A: 1.0}}, 6)  # after A there is nothing: all logits are -∞
    for options in (Options(), Options(beam=2), Options(temperature=1.0)):
        with pytest.raises(NonFiniteError, match="no next token"):
            told(model, options)


def test_a_sentence_that_the_model_has_no_positions_for_is_refused():
    model = chain(GARDEN_PATH, 6, positions=4)
    assert told(model, limit=4)
    with pytest.raises(DataError, match="need 5 positions, and the model has 4"):
        told(model, limit=5)
    with pytest.raises(DataError, match="nothing to decode from"):
        Decoder(model)({}, [Sentence([], 3)])


@pytest.mark.parametrize(
    ("rows", "first"),
    [(4, [2, 5, 8, 11]), (12, [0, 3, 6, 9])],
    ids=["longest first", "all at once"],
)
def test_who_looks_on_may_end_it_and_keeps_what_is_done(rows, first):
    model, seen, kept = chain(GARDEN_PATH, 6), [], {}

    def watch(done, total):
        seen.append((done, total))
        if done >= 4:
            raise Stopped

    sentences = [Sentence([BEGIN], 2 + number % 3, number=number) for number in range(12)]
    with pytest.raises(Stopped):
        for place, found in Decoder(model, rows).finished({}, sentences, watch=watch):
            kept[place] = found[0].tokens
    assert sorted(kept) == first and set(kept.values()) == {(A,) * (2 + first[0] % 3)}
    assert seen[-1] == (4, 12) and [done for done, _ in seen] == sorted(done for done, _ in seen)
