"""BLEU and chrF: computed as their papers say, and named with how."""

import math
from collections import Counter

import pytest

from graphgrad.training.scores import Scorer

GIVEN = ["the cat sat on the mat today", "a dog runs in the green park", "it rains"]
WANTED = ["the cat sat on a mat today", "a dog runs through the green park", "it is raining now"]


def grams(words: list[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[n : n + size]) for n in range(len(words) - size + 1))


def bleu(given: list[str], wanted: list[str]) -> float:
    """Papineni et al. 2002: brevity penalty times the geometric mean of four precisions."""
    logs = []
    for size in (1, 2, 3, 4):
        right = total = 0
        for a, b in zip(given, wanted, strict=True):
            mine, theirs = grams(a.split(), size), grams(b.split(), size)
            right, total = right + (mine & theirs).total(), total + mine.total()
        logs.append(math.log(right / total))
    lengths = [sum(len(line.split()) for line in lines) for lines in (given, wanted)]
    return 100 * math.exp(sum(logs) / 4 + min(0.0, 1 - lengths[1] / lengths[0]))


def test_bleu_of_words_is_that_of_the_paper() -> None:
    assert Scorer("none").score(GIVEN, WANTED)["tokenised_bleu"] == pytest.approx(
        bleu(GIVEN, WANTED)
    )
    assert Scorer("13a").score(GIVEN, WANTED)["bleu"] == pytest.approx(bleu(GIVEN, WANTED))


@pytest.mark.parametrize("words", ["13a", "zh", "char", "intl", "none"])
def test_every_figure_has_its_signature(words: str) -> None:
    scorer = Scorer(words)
    perfect = scorer.score(WANTED, WANTED)
    assert perfect.pop("length_ratio") == 1.0
    assert perfect == pytest.approx(dict.fromkeys(perfect, 100))
    signatures = scorer.signatures()
    assert signatures.keys() == perfect.keys() == {scorer.bleu_name, "chrf"}
    assert f"tok:{words}|" in signatures[scorer.bleu_name]
    assert all("nrefs:1|" in text and "version:" in text for text in signatures.values())


def test_chinese_is_not_cut_at_spaces() -> None:
    given, wanted = ["我喜欢吃苹果和梨"], ["我喜欢吃苹果和桃"]
    assert Scorer("13a").score(given, wanted)["bleu"] < 1
    assert Scorer("zh").score(given, wanted)["bleu"] > 50


def test_nothing_has_no_score() -> None:
    assert Scorer().score([], []) == {}
    assert Scorer().score(["", ""], ["a b", "c"]) == {"bleu": 0, "chrf": 0, "length_ratio": 0}
