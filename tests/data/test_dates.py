from datetime import date

import pytest
from babel.dates import format_date

from graphgrad.data.dates import (
    DAYS,
    EXAMPLE_DAY,
    FIRST_DAY,
    FORMS,
    LOCALES,
    dates_corpus,
    split_days,
    write_date,
)
from graphgrad.errors import ConfigurationError, UnknownNameError


def test_days_are_split_without_overlap() -> None:
    parts = split_days()
    assert [len(part) for part in parts] == [DAYS - 2500, 500, 2000]
    assert sorted(day for part in parts for day in part) == list(range(DAYS))


def test_held_out_days_never_occur_in_training() -> None:
    corpus = dates_corpus(20_000, seed=1)
    trained = {target for _, target in corpus.train}
    validation = {target for _, target in corpus.validation}
    test = {target for _, target in corpus.test}
    assert len(validation) == 500 and len(test) == 2000
    assert not trained & validation and not trained & test and not validation & test
    assert EXAMPLE_DAY.isoformat() in test


def test_the_seed_changes_training_only() -> None:
    one, same, other = dates_corpus(50, 1), dates_corpus(50, 1), dates_corpus(50, 2)
    assert one == same
    assert one.train != other.train
    assert (one.validation, one.test) == (other.validation, other.test)
    assert dates_corpus(20, 1).train == one.train[:20]


def test_every_locale_and_form_is_trained_and_tested() -> None:
    corpus = dates_corpus(2000)
    for pairs in (corpus.train, corpus.validation, corpus.test):
        counts = dict.fromkeys(LOCALES, 0)
        for source, _ in pairs:
            counts[source.split(":")[0]] += 1
        assert min(counts.values()) > 0.7 * len(pairs) / len(LOCALES)
    forms = {write_date(date.fromisoformat(day), "de", form) for day, form in DAY_FORMS}
    assert len(forms) == len(FORMS)
    months = [source for source, _ in corpus.test if source.startswith("de")]
    assert any("," in line for line in months) and any(line[4:].count(".") == 2 for line in months)


DAY_FORMS = [("2026-11-22", form) for form in FORMS]


@pytest.mark.parametrize(
    ("locale", "form", "line"),
    [
        ("de", "full", "de: Sonntag, 22. November 2026"),
        ("zh", "long", "zh: 2026年11月22日"),
        ("en_GB", "medium", "en_GB: 22 Nov 2026"),
        ("ja", "medium", "ja: 2026/11/22"),
    ],
)
def test_lines_read_as_people_write_them(locale: str, form: str, line: str) -> None:
    assert write_date(EXAMPLE_DAY, locale, form) == line


def test_lines_are_those_that_babel_writes() -> None:
    """Of a date as a whole, while they are put together from fields that are written once."""
    for number in range(0, DAYS, 397):
        day = date.fromordinal(FIRST_DAY.toordinal() + number)
        for locale in LOCALES:
            for form in FORMS:
                line = format_date(day, format=form, locale=locale)
                plain = line.replace("\u202f", " ").replace("\u00a0", " ")
                assert write_date(day, locale, form) == f"{locale}: {plain}"


def test_only_plain_spaces_are_written() -> None:
    lines = [write_date(EXAMPLE_DAY, locale, form) for locale in LOCALES for form in FORMS]
    assert {c for line in lines for c in line if c.isspace()} == {" "}
    assert len(lines) == 36


def test_a_source_line_says_its_day() -> None:
    for source, target in dates_corpus(300).train:
        day = date.fromisoformat(target)
        assert 1970 <= day.year <= 2069
        locale = source.split(":")[0]
        assert source in {write_date(day, locale, form) for form in FORMS}


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="locale 'xx'"):
        write_date(EXAMPLE_DAY, "xx", "long")
    with pytest.raises(UnknownNameError, match="form 'short'"):
        write_date(EXAMPLE_DAY, "de", "short")
    with pytest.raises(ConfigurationError, match="train_examples is 0"):
        dates_corpus(0)
