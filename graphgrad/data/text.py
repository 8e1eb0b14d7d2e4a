"""A corpus from files: line-aligned or tab-separated pairs, and what is held out of them.

Design: `lines.py` says what a line is and `parallel.py` what a pair is.

Held-out pairs are chosen by distinct source line, so that a sentence that occurs often is on one
side only; lines that differ in nothing but Unicode's normal form or the spaces between words are
one. The choice is a shuffle keyed by the seed: the first lines of the order are the test, the next
the validation, the rest is training. Lines are compared by 64 bits of a hash: two that have the
same by chance are on the same side.

Laws: same files, share and seed, same corpus; every `Corpus` returned has at least one pair on each
side.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from graphgrad.data.corpus import Corpus, Pair, permutation
from graphgrad.data.flat import Pairs, side_of
from graphgrad.data.lines import Watch, unwatched
from graphgrad.data.parallel import PathPair, Place, ReadPairs, lines_text, read_pairs
from graphgrad.data.vocabulary import normal_form
from graphgrad.errors import ConfigurationError, DataError

_SPLIT_STREAM = 2


def read_parallel(
    source_path: str | Path,
    target_path: str | Path,
    validation_share: float = 0.05,
    seed: int = 0,
    validation: PathPair | None = None,
    test: PathPair | None = None,
) -> Corpus:
    r"""The corpus of two aligned files, by `read_corpus`, with its arguments and errors.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import graphgrad as gg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = Path(folder, "text.en"), Path(folder, "text.de")
    ...     for path in paths:
    ...         _ = path.write_text("a\nb\nc\n", encoding="utf-8")
    ...     len(gg.data.read_parallel(*paths).train)
    1
    """
    return read_corpus((source_path, target_path), validation_share, seed, validation, test)


def read_corpus(
    place: Place,
    held_out: float = 0.05,
    seed: int = 0,
    validation: Place | None = None,
    test: Place | None = None,
    watch: Watch = unwatched,
) -> Corpus:
    r"""The corpus of two aligned files or of a tab-separated one.

    `validation` and `test` name files of their own. Whichever is not given is held out:
    `held_out` is the share of the distinct source lines that each gets (at least one line), or,
    from 1 on, their number. `watch` is told the bytes that are read, piece
    by piece. Raises `DataError` for files that cannot be used and for too few lines to split (three
    distinct source lines are enough), `ConfigurationError` for a share that makes no sense.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import graphgrad as gg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "pairs.tsv")
    ...     _ = path.write_text("a\tA\nb\tB\nc\tC\nd\tD\n", encoding="utf-8")
    ...     corpus = gg.data.read_corpus(path)
    >>> len(corpus.train), len(corpus.validation), len(corpus.test)
    (2, 1, 1)
    """
    if not (0 < held_out < 0.5 or (held_out >= 1 and held_out == int(held_out))):
        raise ConfigurationError(
            f"validation_share (held_out) is {held_out}",
            fix="use a share above 0 and below 0.5, or a number of lines",
        )
    found = read_pairs(place, watch)
    notices = [_columns_notice(found), _blank_notice(found)]
    parts: dict[str, Pairs] = {}
    for part, given in (("validation", validation), ("test", test)):
        if given is not None:
            read = read_pairs(given, watch)
            notices += [_columns_notice(read), _blank_notice(read, f" for {part}")]
            parts[part] = read.pairs
    wanted = [part for part in ("test", "validation") if part not in parts]
    where = ", ".join(map(str, place)) if isinstance(place, tuple) else str(place)
    chosen = _hold_out(found.pairs, wanted, held_out, seed, where)
    notices += _known_notices(chosen["train"], parts)
    notice = "\n".join(filter(None, notices))
    name = Path(place[0] if isinstance(place, tuple) else place).name
    return Corpus(name=name, notice=notice, **(chosen | parts))


def _blank_notice(found: ReadPairs, purpose: str = "") -> str:
    """A word about the pairs that were left out for a blank side; none for none."""
    blank = found.blank
    if not blank:
        return ""
    return (
        f"{len(blank)} of {len(blank) + len(found.pairs)} pairs{purpose} have a blank side and are "
        f"left out ({lines_text(blank)})"
    )


def _columns_notice(found: ReadPairs) -> str:
    """A word about columns that nobody looks at."""
    if found.columns <= 2:
        return ""
    return f"lines have up to {found.columns} columns: those behind the second are not looked at"


def _known_notices(train: Pairs, parts: dict[str, Pairs]) -> list[str]:
    """What is said of pairs in files of their own that the model is trained on, too."""
    if not parts:
        return []
    known, notices = np.unique(_pair_keys(train)), []
    for part, pairs in parts.items():
        numbers = pairs.numbers[np.isin(_pair_keys(pairs), known)]
        if len(numbers):
            notices.append(
                f"{len(numbers)} of {len(pairs)} pairs for {part} are in training, too "
                f"({lines_text(numbers.tolist())}): figures on them flatter the model"
            )
    return notices


def _pair_keys(pairs: Sequence[Pair]) -> np.ndarray:
    return _keys(
        f"{normal_form(source, 'whitespace')}\n{normal_form(target, 'whitespace')}"
        for source, target in pairs
    )


def _keys(texts: Iterable[str]) -> np.ndarray:
    """64 bits of a hash of each text, uint64."""
    joined = b"".join(blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(joined, "<u8")


def _hold_out(
    pairs: Pairs, wanted: list[str], share: float, seed: int, where: str
) -> dict[str, Pairs]:
    keys = _keys(normal_form(source, "whitespace") for source in side_of(pairs, 0))
    _, first, number_of = np.unique(keys, return_index=True, return_inverse=True)
    count = len(first)
    size = max(1, round(share * count)) if share < 1 else int(share)
    if count <= size * len(wanted):
        raise DataError(
            f"{count} distinct source lines are too few to hold out {' and '.join(wanted)}",
            where,
            "give files with at least three different source lines"
            if share < 1
            else f"hold out fewer than {size} lines (--set held_out=…)",
        )
    by_appearance = np.empty(count, np.int64)
    by_appearance[np.argsort(first)] = np.arange(count)
    part_of = np.zeros(count, np.int8)  # 0 is training
    order = permutation(count, seed, _SPLIT_STREAM)
    for place in range(len(wanted)):
        part_of[order[place * size : (place + 1) * size]] = place + 1
    parts = part_of[by_appearance[number_of]]
    return {part: pairs.subset(parts == place) for place, part in enumerate(["train", *wanted])}
