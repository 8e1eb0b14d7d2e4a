"""Makes the corpus `names`: what territories, languages, scripts and currencies are called.

A source line is `<language>: <English name>`, such as `de: Marshall Islands`; its target is the
name in that language, `Marshallinseln`. The names are Babel's locale data (Unicode's CLDR); nothing
is downloaded. A language is in the corpus if it has at least `FEWEST` names that differ from the
English ones, and unless an earlier language has all the same names (`no` is `nb`). Names equal to
the English ones are left out, because copying needs no model. Where things of two kinds have one
English name, the kind is added: `de: Arabic (script)`.

Design: the split is by *name*, a fixed shuffle that is the same for every seed. Each name is held
out in four of its languages, in three for the test and in one for validation, and trained in all
others: who has seen it in 150 languages is asked for the 151st. Things that share an English name
are held out together, for their names are often the same. One name in `NEW_SHARE` is not trained in
any language; `NEW_EXAMPLES` of their lines end the test, and their figures are separate (`is_new`).

Laws: `de: Marshall Islands` is always in the test; the same version of Babel gives the same corpus,
line for line; no source line is on two sides; every name of the first part of the test is trained
in at least `FEWEST_TRAINED` languages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice

import numpy as np
from babel import Locale, localedata

from graphgrad.data.corpus import Corpus, Pair, permutation, random_words
from graphgrad.data.flat import LineWriter, Pairs
from graphgrad.data.vocabulary import normal_form

KINDS: Mapping[str, str] = {
    "territories": "territory",
    "languages": "language",
    "scripts": "script",
    "currencies": "currency",
}
"""Babel's tables, and the word that is added where English has one name for two things."""
FEWEST = 300
TEST_LANGUAGES, VALIDATION_LANGUAGES = 3, 1
FEWEST_TRAINED = 8
NEW_SHARE, NEW_EXAMPLES = 33, 1000
EXAMPLE_NAME, EXAMPLE_LANGUAGE = "Marshall Islands", "de"
"""Always in the test."""

Thing = tuple[str, str]
"""A kind and a code, such as ("territories", "MH")."""

_SPLIT_SEED = 20_261_128
_NAME_STREAM, _LANGUAGE_STREAM = 1, 2
_TRAIN, _VALIDATION, _TEST, _NEW = "train", "validation", "test", "new"


def names_corpus() -> Corpus:
    """The corpus `names`: training pairs in the order of languages, then what is held out."""
    english, shown, tables = _names("en"), _with_kinds(), _tables()
    parts = _parts(tables, english)
    found: dict[str, dict[str, str]] = {part: {} for part in (_TRAIN, _VALIDATION, _TEST, _NEW)}
    for language, names in tables.items():
        for thing, name in names.items():
            part = parts[english[thing]].get(language, _TRAIN)
            found[part].setdefault(f"{language}: {shown[thing]}", name)
    new = islice(_mixed(found[_NEW]), NEW_EXAMPLES)
    return Corpus(
        "names",
        train=_flat(found[_TRAIN].items()),
        validation=_flat(_mixed(found[_VALIDATION])),
        test=_flat([*_mixed(found[_TEST]), *new]),
    )


def language_of(source: str) -> str:
    """The language that a source line asks for: `de` of `de: Germany`."""
    return source.partition(":")[0]


def name_of(source: str) -> str:
    """The English name in a source line, without the kind: `Arabic` of `de: Arabic (script)`."""
    name = source.partition(": ")[2]
    for kind in KINDS.values():
        name = name.removesuffix(f" ({kind})")
    return name


def is_new(source: str) -> bool:
    """Whether the name of a source line is trained in no language."""
    return name_of(source) in _new_names()


def _tables() -> dict[str, dict[Thing, str]]:
    """The names of each language that is in the corpus."""
    english = _names("en")
    found: dict[str, dict[Thing, str]] = {}
    for language in sorted(localedata.locale_identifiers()):
        if "_" in language or language == "en":
            continue
        names = {
            thing: name
            for thing, name in _names(language).items()
            if name != english.get(thing, name)
        }
        if len(names) >= FEWEST and names not in found.values():
            found[language] = names
    return found


def _names(language: str) -> dict[Thing, str]:
    locale = Locale.parse(language)
    return {
        (kind, code): normal_form(name, "whitespace")
        for kind in KINDS
        for code, name in getattr(locale, kind).items()
    }


def _with_kinds() -> dict[Thing, str]:
    """The English name of each thing, with its kind where another kind has a thing of that name."""
    plain, kinds = _names("en"), dict[str, set[str]]()
    for (kind, _), name in plain.items():
        kinds.setdefault(name, set()).add(kind)
    return {
        (kind, code): f"{name} ({KINDS[kind]})" if len(kinds[name]) > 1 else name
        for (kind, code), name in plain.items()
    }


@cache
def _new_names() -> frozenset[str]:
    """The names that are trained in no language."""
    names = sorted(set(_names("en").values()) - {EXAMPLE_NAME})
    order = permutation(len(names), _SPLIT_SEED, _NAME_STREAM)
    return frozenset(names[place] for place in order[: len(names) // NEW_SHARE])


def _parts(
    tables: Mapping[str, Mapping[Thing, str]], english: Mapping[Thing, str]
) -> dict[str, dict[str, str]]:
    """Of each English name, the languages that are not trained, and the part that each is in."""
    languages: dict[str, dict[str, None]] = {name: {} for name in english.values()}
    for language, names in tables.items():
        for thing in names:
            languages[english[thing]][language] = None
    new = _new_names()
    return {
        name: dict.fromkeys(some, _NEW) if name in new else _dealt(name, list(some), number)
        for number, (name, some) in enumerate(sorted(languages.items()))
    }


def _dealt(name: str, languages: Sequence[str], number: int) -> dict[str, str]:
    """The held-out languages of a name with their parts; `number` is that of the name."""
    parts = [_TEST] * TEST_LANGUAGES + [_VALIDATION] * VALIDATION_LANGUAGES
    if len(languages) < FEWEST_TRAINED + len(parts):
        return {}
    order = permutation(len(languages), _SPLIT_SEED, _LANGUAGE_STREAM, number)
    shuffled = [languages[place] for place in order]
    if name == EXAMPLE_NAME:
        shuffled = [EXAMPLE_LANGUAGE, *(each for each in shuffled if each != EXAMPLE_LANGUAGE)]
    return dict(zip(shuffled[: len(parts)], parts, strict=True))


def _mixed(pairs: Mapping[str, str]) -> Iterator[Pair]:
    """The pairs in a fixed order in which languages alternate, so that the first are of many."""
    some = list(pairs.items())
    keys = random_words(len(some), _SPLIT_SEED)
    return (some[place] for place in np.argsort(keys, kind="stable").tolist())


def _flat(pairs: Iterable[Pair]) -> Pairs:
    """The pairs in one block of bytes a side: some 10 MB in the place of 40."""
    writers = LineWriter(), LineWriter()
    for pair in pairs:
        for writer, line in zip(writers, pair, strict=True):
            writer.add(line.encode())
    sources, targets = (writer.finish() for writer in writers)
    places = np.arange(len(sources))
    return Pairs(sources, targets, places, places + 1)
