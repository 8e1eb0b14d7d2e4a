"""The corpora that need no file: `dates` and `names`, by the names of `--set data=…`.

A source line of both begins with the language that it is in, or asks for: `de: …`. So figures can
be given by language.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from graphgrad.data.corpus import Corpus, Pair
from graphgrad.data.dates import EXAMPLE_DAY, dates_corpus, write_date
from graphgrad.data.name_baselines import Neighbours, copied
from graphgrad.data.names import (
    EXAMPLE_LANGUAGE,
    EXAMPLE_NAME,
    is_new,
    language_of,
    names_corpus,
)

Baselines = Mapping[str, Callable[[str], str]]
"""What a source line becomes without a model, by the baseline's name."""
SHOWN_LANGUAGES = ("de", "fr", "zh", "ru")


@dataclass(frozen=True)
class BuiltinText:
    """A corpus that is made by the program, and what its figures are."""

    corpus: Callable[[int], Corpus]
    """From a seed."""
    shown: Callable[[Callable[[], Corpus]], list[Pair]]
    """What is translated while training goes on; an empty target is not shown. The corpus is only
    made where this needs it."""
    example: str
    """A source line to try."""
    graded: bool = False
    """Whether a translation can be partly right, so that chrF says more than the exact matches."""
    apart: Callable[[str], bool] = lambda source: False
    """Test sources whose figures are given apart, as `new_…`."""
    baselines: Callable[[Sequence[Pair]], Baselines] = lambda train: {}
    """From the training pairs."""


def _shown_dates(corpus: Callable[[], Corpus]) -> list[Pair]:
    return [(write_date(EXAMPLE_DAY, locale, "full"), "") for locale in SHOWN_LANGUAGES]


def _shown_names(corpus: Callable[[], Corpus]) -> list[Pair]:
    """The first name of validation in each of some languages."""
    first: dict[str, Pair] = {}
    for pair in corpus().validation:
        first.setdefault(language_of(pair[0]), pair)
    return [first[language] for language in SHOWN_LANGUAGES if language in first]


BUILTIN: Mapping[str, BuiltinText] = {
    "dates": BuiltinText(
        lambda seed: dates_corpus(seed=seed), _shown_dates, "de: Sonntag, 22. November 2026"
    ),
    "names": BuiltinText(
        lambda seed: names_corpus(),
        _shown_names,
        f"{EXAMPLE_LANGUAGE}: {EXAMPLE_NAME}",
        graded=True,
        apart=is_new,
        baselines=lambda train: {"copy": copied, "neighbour": Neighbours(train)},
    ),
}
