"""Line-aligned parallel text from files: line n of one file translates line n of the other.

Design: `lines.py` says what a line is. Pairs with a blank side are left out, and the corpus says
so.

Held-out pairs are chosen by distinct source line, so that a sentence that occurs often is on one
side only; lines that differ in nothing but Unicode's normal form or the spaces between words are
one. The choice is a shuffle keyed by the seed: the first lines of the order are the test, the next
the validation, the rest is training.

Laws: same files, share and seed, same corpus; every `Corpus` returned has at least one pair on each
side.
"""

from pathlib import Path

from graphgrad.data.corpus import Corpus, Pair, permutation
from graphgrad.data.lines import read_lines
from graphgrad.data.vocabulary import normal_form
from graphgrad.errors import ConfigurationError, DataError

_SPLIT_STREAM = 2
_LISTED = 5  # line numbers in a notice
PathPair = tuple[str | Path, str | Path]


def read_parallel(
    source_path: str | Path,
    target_path: str | Path,
    validation_share: float = 0.05,
    seed: int = 0,
    validation: PathPair | None = None,
    test: PathPair | None = None,
) -> Corpus:
    """The corpus of two aligned files.

    ``validation`` and ``test`` name explicit (source, target) files. Whichever is not given is held
    out: ``validation_share`` of the distinct source lines each, at least one. Raises `DataError`
    for files that cannot be used and for too few lines to split (three distinct source lines are
    enough), `ConfigurationError` for a share outside 0 < share < 0.5.
    """
    if not 0 < validation_share < 0.5:
        raise ConfigurationError(
            f"validation_share is {validation_share}", fix="use a share above 0 and below 0.5"
        )
    pairs, blank = read_pairs(source_path, target_path)
    notices = [_blank_notice(blank, len(pairs))]
    given = {"validation": validation, "test": test}
    read: dict[str, tuple[Pair, ...]] = {}
    for side, paths in given.items():
        if paths is not None:
            read[side], blank = read_pairs(*paths)
            notices.append(_blank_notice(blank, len(read[side]), f" for {side}"))
    wanted = [side for side in ("test", "validation") if side not in read]
    parts = _hold_out(pairs, wanted, validation_share, seed, f"{source_path}, {target_path}")
    notice = "; ".join(filter(None, notices))
    return Corpus(name=Path(source_path).name, notice=notice, **(parts | read))


def _blank_notice(blank: list[int], kept: int, purpose: str = "") -> str:
    """A word about the pairs that were left out for a blank side; none for none."""
    if not blank:
        return ""
    listed = ", ".join(map(str, blank[:_LISTED])) + (", …" if len(blank) > _LISTED else "")
    return (
        f"{len(blank)} of {len(blank) + kept} pairs{purpose} have a blank side and are left "
        f"out (line{'s' if len(blank) > 1 else ''} {listed})"
    )


def read_pairs(
    source_path: str | Path, target_path: str | Path
) -> tuple[tuple[Pair, ...], list[int]]:
    """The pairs of two aligned files in order, and the numbers of the lines with a blank side."""
    sources, targets = read_lines(source_path), read_lines(target_path)
    where = f"{source_path}, {target_path}"
    if len(sources) != len(targets):
        raise DataError(
            f"the files do not align: {len(sources)} source lines, {len(targets)} target lines",
            where,
            "give two files in which line n of one is the translation of line n of the other",
        )
    aligned = tuple(zip(sources, targets, strict=True))
    pairs = tuple(pair for pair in aligned if _has_text(pair))
    if not pairs:
        raise DataError(
            f"none of the {len(sources)} pairs has text on both sides",
            where,
            "give files with sentences in them",
        )
    return pairs, [number for number, pair in enumerate(aligned, 1) if not _has_text(pair)]


def _has_text(pair: Pair) -> bool:
    return bool(pair[0].strip() and pair[1].strip())


def _hold_out(
    pairs: tuple[Pair, ...], wanted: list[str], share: float, seed: int, where: str
) -> dict[str, tuple[Pair, ...]]:
    forms = [normal_form(source, "whitespace") for source, _ in pairs]
    distinct = list(dict.fromkeys(forms))
    size = max(1, round(share * len(distinct)))
    if len(distinct) <= size * len(wanted):
        raise DataError(
            f"{len(distinct)} distinct source lines are too few to hold out {' and '.join(wanted)}",
            where,
            "give files with at least three different source lines",
        )
    side_of: dict[str, str] = {}
    order = permutation(len(distinct), seed, _SPLIT_STREAM).tolist()
    for place, side in enumerate(wanted):
        for number in order[place * size : (place + 1) * size]:
            side_of[distinct[number]] = side
    parts: dict[str, list[Pair]] = {side: [] for side in ("train", *wanted)}
    for pair, form in zip(pairs, forms, strict=True):
        parts[side_of.get(form, "train")].append(pair)
    return {side: tuple(members) for side, members in parts.items()}
