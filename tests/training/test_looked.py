"""Figures of translations: by language, and beside baselines."""

import pytest
from sacrebleu.metrics.chrf import CHRF

from graphgrad.training.looked import Looked, beside, by_language, graded
from graphgrad.training.scores import Scorer

PAIRS = [("de: one", "eins"), ("fr: one", "un"), ("de: two", "zwei"), ("de: three", "drei")]


def looked():
    return Looked(PAIRS, found={2: "zwei", 0: "ein", 1: "un"})  # one is not translated yet


def test_only_what_is_translated_counts():
    figures = graded(looked(), str, Scorer())
    assert figures["examples"] == 3 and figures["exact_match"] == 2 / 3
    by_hand = CHRF().corpus_score(["zwei", "ein", "un"], [["zwei", "eins", "un"]]).score
    assert figures["chrf"] == pytest.approx(by_hand)


def test_figures_by_language_are_those_of_its_pairs():
    groups = by_language(looked())
    assert list(groups) == ["de", "fr"]
    assert groups["de"].exact(str) == {"exact_match": 0.5, "examples": 2}
    assert groups["fr"].exact(str) == {"exact_match": 1.0, "examples": 1}


def test_a_baseline_is_scored_on_the_same_pairs():
    known = {"de: one": "eins", "fr: one": "un", "de: two": "two", "de: three": "drei"}
    figures = beside(looked(), {"known": known.__getitem__}, Scorer())
    assert figures["known_exact_match"] == 2 / 3
    by_hand = CHRF().corpus_score(["two", "eins", "un"], [["zwei", "eins", "un"]]).score
    assert figures["known_chrf"] == pytest.approx(by_hand)


def test_nothing_translated_is_no_error():
    nothing = Looked(PAIRS)
    assert graded(nothing, str, Scorer()) == {"chrf": 0.0, "exact_match": 0.0, "examples": 0}
    assert by_language(nothing) == {}
