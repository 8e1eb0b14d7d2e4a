"""The corpus `names`: what is held out, and what is said of names without a model."""

from collections import Counter

import pytest
from babel import Locale

from graphgrad.data.flat import Pairs
from graphgrad.data.name_baselines import Neighbours, copied
from graphgrad.data.names import (
    FEWEST,
    FEWEST_TRAINED,
    NEW_EXAMPLES,
    TEST_LANGUAGES,
    is_new,
    language_of,
    name_of,
    names_corpus,
)


@pytest.fixture(scope="module")
def corpus():
    return names_corpus()


def sources(pairs):
    return [source for source, _ in pairs]


def test_names_are_those_of_the_locale_data(corpus):
    assert isinstance(corpus.train, Pairs)  # flat, without an object for each line
    english, german = Locale.parse("en"), Locale.parse("de")
    trained = dict(corpus.train)
    things = {f"de: {name}": german.territories[code] for code, name in english.territories.items()}
    found = {source: trained[source] for source in things if source in trained}
    assert len(found) > 100 and found == {source: things[source] for source in found}
    assert not any(name_of(source) == target for source, target in corpus.train)


def test_no_source_line_is_on_two_sides(corpus):
    parts = [sources(pairs) for pairs in (corpus.train, corpus.validation, corpus.test)]
    distinct = [set(part) for part in parts]
    assert [len(part) for part in parts] == [len(part) for part in distinct]
    assert len(set.union(*distinct)) == sum(map(len, parts)) > 150_000


def test_a_held_out_name_is_trained_in_other_languages(corpus):
    languages = {}
    for source in sources(corpus.train):
        languages.setdefault(name_of(source), set()).add(language_of(source))
    known = [source for source in sources(corpus.test) if not is_new(source)]
    for source in [*known, *sources(corpus.validation)]:
        trained = languages[name_of(source)]
        assert language_of(source) not in trained and len(trained) >= FEWEST_TRAINED
    tested = Counter(name for name, _ in {(name_of(each), language_of(each)) for each in known})
    assert set(tested.values()) == {TEST_LANGUAGES}
    assert len({language_of(source) for source in known}) > 170


def test_new_names_are_trained_in_no_language(corpus):
    new = [source for source in sources(corpus.test) if is_new(source)]
    assert len(new) == NEW_EXAMPLES and sources(corpus.test)[-NEW_EXAMPLES:] == new
    trained = {name_of(source) for source in sources(corpus.train)}
    assert len({name_of(source) for source in new}) > 30
    assert not trained & {name_of(source) for source in new}


def test_the_example_of_the_guide_is_held_out(corpus):
    assert ("de: Marshall Islands", "Marshallinseln") in list(corpus.test)


def test_the_corpus_is_the_same_again(corpus):
    assert names_corpus().digest() == corpus.digest()


def test_a_language_needs_names_of_its_own(corpus):
    counts = Counter(language_of(source) for source in sources(corpus.train))
    assert min(counts.values()) > 0.8 * FEWEST and len(counts) > 170
    assert "nb" in counts and "no" not in counts  # the same names


def test_what_is_called_alike_is_told_apart(corpus):
    trained = sources(corpus.train)
    assert any(source.endswith(": Greek (script)") for source in trained)
    assert any(source.endswith(": Greek (language)") for source in trained)
    assert not any(source.endswith(": Greek") for source in trained)
    assert name_of("de: Greek (script)") == copied("fr: Greek (language)") == "Greek"


TRAIN = [
    *((f"aa: thing {number}", f"Ding {number}") for number in range(30)),
    *((f"bb: thing {number}", f"Ding {number}") for number in range(5, 35)),
    *(
        (f"cc: thing {number}", f"{'Ding' if number % 2 else 'cosa'} {number}")
        for number in range(40)
    ),
    *((f"dd: thing {number}", f"вещь {number}") for number in range(40)),
]


@pytest.mark.parametrize(
    ("source", "given"),
    [
        ("aa: thing 31", "Ding 31"),  # bb agrees always, cc half of the time
        ("aa: thing 37", "Ding 37"),  # bb has no such name, cc has
        ("aa: thing 36", "cosa 36"),
        ("dd: thing 99", "thing 99"),  # no language has it
        ("ee: thing 3", "thing 3"),  # nothing is known of the language
        ("cc: thing 3", "Ding 3"),
    ],
)
def test_a_neighbour_is_the_language_that_agrees_most(source, given):
    assert Neighbours(TRAIN)(source) == given


def test_a_language_without_likeness_copies_the_english_name():
    assert Neighbours([*TRAIN, ("ff: thing 0", "Ding 0")])("ff: thing 1") == "thing 1"
    assert Neighbours([pair for pair in TRAIN if "cc" not in pair[0]])("dd: thing 3") == "thing 3"
