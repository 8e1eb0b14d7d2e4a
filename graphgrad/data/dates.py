"""Makes the default corpus: dates as people write them in twelve languages, and in ISO 8601.

A source line is `<locale>: <date>`, such as `de: Sonntag, 22. November 2026`; its target is
`2026-11-22`. The dates come from the locale data of Babel (12 locales, 3 forms, the 36,525 days
of 1970-2069); nothing is downloaded. The narrow and the no-break space (U+202F, U+00A0), which some
locales put before the sign of a year, become plain spaces, as a person would type them.

Design: only the examples that are drawn are written. A date is its fields (weekday, day, month,
year) in the pattern of a locale, and a field has few texts, so Babel writes each of them once; a
line then takes some 3 us instead of 10. The split is by *day*: a fixed shuffle, the
same for every seed, holds out 2,000 days for the test and 500 for validation, which therefore never
occur in training in any language or form; a model with a high score on them can read dates. The
day 2026-11-22 is always among the test days. Held-out example `i` is one day in locale `i % 12`
and form `i // 12 % 3`, so all are equally represented.

Laws: validation and test do not depend on the seed or the number of training examples; the same
arguments give the same corpus (line for line with the same version of Babel).
"""

import re
from datetime import date
from functools import cache

import numpy as np
from babel import Locale
from babel.dates import DateTimeFormat

from graphgrad.data.corpus import Corpus, Pair, permutation, random_words
from graphgrad.errors import ConfigurationError, UnknownNameError

LOCALES = ("en", "en_GB", "de", "fr", "es", "it", "pt", "nl", "ru", "zh", "ja", "ko")
FORMS = ("medium", "long", "full")
FIRST_DAY = date(1970, 1, 1)
DAYS = (date(2070, 1, 1) - FIRST_DAY).days
EXAMPLE_DAY = date(2026, 11, 22)
TRAIN_EXAMPLES, VALIDATION_EXAMPLES, TEST_EXAMPLES = 100_000, 500, 2_000

_SPLIT_SEED = 19_700_101
_TRAIN_STREAM = 1
_FIELD = re.compile(r"%\((\w+)\)s")
_PLAIN_SPACES = str.maketrans({"\u202f": " ", "\u00a0": " "})


def write_date(day: date, locale: str, form: str) -> str:
    """The source line of one day, for example `fr: 14 janv. 1992` for form `"medium"`.

    Raises `UnknownNameError` for a locale outside `LOCALES` or a form outside `FORMS`.
    """
    if locale not in LOCALES:
        raise UnknownNameError(f"unknown locale {locale!r}", fix=f"use one of {', '.join(LOCALES)}")
    if form not in FORMS:
        raise UnknownNameError(f"unknown form {form!r}", fix=f"use one of {', '.join(FORMS)}")
    pattern, names = _pattern(locale, form)
    return pattern % {name: _field(locale, name, _number(name, day)) for name in names}


@cache
def _pattern(locale: str, form: str) -> tuple[str, tuple[str, ...]]:
    """The line of a date, as a format of its fields, and their names, such as `MMMM`."""
    written = str(Locale.parse(locale).date_formats[form].format)
    return f"{locale}: {written.translate(_PLAIN_SPACES)}", tuple(_FIELD.findall(written))


def _number(name: str, day: date) -> int:
    """What the text of a field depends on; of an unknown field, the whole date."""
    match name[0]:
        case "d":
            return day.day
        case "M":
            return day.month
        case "y":
            return day.year
        case "E":
            return day.weekday()
        case _:
            return day.toordinal()


@cache
def _field(locale: str, name: str, number: int) -> str:
    """The text of a field of the days with this number; January 2001 begins on a Monday."""
    match name[0]:
        case "d":
            day = date(2001, 1, number)
        case "M":
            day = date(2001, number, 1)
        case "y":
            day = date(number, 1, 1)
        case "E":
            day = date(2001, 1, 1 + number)
        case _:
            day = date.fromordinal(number)
    return DateTimeFormat(day, Locale.parse(locale))[name].translate(_PLAIN_SPACES)


def split_days() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The days of training, validation and test, int64, counted from 1970-01-01 = 0."""
    order = permutation(DAYS, _SPLIT_SEED)
    example = (EXAMPLE_DAY - FIRST_DAY).days
    order = np.concatenate([[example], order[order != example]])
    held_out = TEST_EXAMPLES + VALIDATION_EXAMPLES
    return order[held_out:], order[TEST_EXAMPLES:held_out], order[:TEST_EXAMPLES]


def dates_corpus(train_examples: int | None = None, seed: int = 0) -> Corpus:
    """The corpus `dates`: `train_examples` (default 100,000) training pairs, 500 + 2,000 more.

    A training example is a day of the training days, a locale and a form, drawn uniformly and with
    replacement by `seed`; a longer corpus starts with the pairs of a shorter one. Raises
    `ConfigurationError` for a negative seed or fewer than one training example.
    """
    count = TRAIN_EXAMPLES if train_examples is None else train_examples
    if count < 1:
        raise ConfigurationError(f"train_examples is {count}", fix="use 1 or more")
    train, validation, test = split_days()
    kinds = len(LOCALES) * len(FORMS)
    drawn = (random_words(count, seed, _TRAIN_STREAM) % np.uint64(len(train) * kinds)).tolist()
    days = train.tolist()
    return Corpus(
        name="dates",
        train=tuple(_pair(days[number // kinds], number % kinds) for number in drawn),
        validation=tuple(_pair(day, kind) for kind, day in enumerate(validation.tolist())),
        test=tuple(_pair(day, kind) for kind, day in enumerate(test.tolist())),
    )


def _pair(day_number: int, kind: int) -> Pair:
    day = date.fromordinal(FIRST_DAY.toordinal() + day_number)
    locale = LOCALES[kind % len(LOCALES)]
    form = FORMS[kind // len(LOCALES) % len(FORMS)]
    return write_date(day, locale, form), day.isoformat()
