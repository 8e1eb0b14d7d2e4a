"""Line-aligned parallel text from files: line n of one file translates line n of the other.

Design: files are UTF-8, plain or gzip (told by the first bytes, not by the name). Only a line feed
ends a line, with an optional carriage return before it; other separators that Unicode knows stay
inside, as they do for every other tool that counts lines. A byte order mark at the start is
dropped. Pairs with a blank side are dropped and counted.

Held-out pairs are chosen by distinct source line, so that a sentence that occurs often is on one
side only. The choice is a shuffle keyed by the seed: the first lines of the order are the test, the
next the validation, the rest is training.

Laws: same files, share and seed, same corpus; every `Corpus` returned has at least one pair on each
side.
"""

import gzip
import zlib
from pathlib import Path

from graphgrad.data.corpus import Corpus, Pair, permutation
from graphgrad.errors import ConfigurationError, DataError

_SPLIT_STREAM = 2
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
    pairs, dropped = read_pairs(source_path, target_path)
    given = {"validation": validation, "test": test}
    read: dict[str, tuple[Pair, ...]] = {}
    for side, paths in given.items():
        if paths is not None:
            read[side], blank = read_pairs(*paths)
            dropped += blank
    wanted = [side for side in ("test", "validation") if side not in read]
    parts = _hold_out(pairs, wanted, validation_share, seed, f"{source_path}, {target_path}")
    return Corpus(name=Path(source_path).name, dropped=dropped, **(parts | read))


def read_pairs(source_path: str | Path, target_path: str | Path) -> tuple[tuple[Pair, ...], int]:
    """The pairs of two aligned files in order, and how many were dropped for a blank side."""
    sources, targets = read_lines(source_path), read_lines(target_path)
    where = f"{source_path}, {target_path}"
    if len(sources) != len(targets):
        raise DataError(
            f"the files do not align: {len(sources)} source lines, {len(targets)} target lines",
            where,
            "give two files in which line n of one is the translation of line n of the other",
        )
    aligned = zip(sources, targets, strict=True)
    pairs = tuple(pair for pair in aligned if pair[0].strip() and pair[1].strip())
    if not pairs:
        raise DataError(
            f"none of the {len(sources)} pairs has text on both sides",
            where,
            "give files with sentences in them",
        )
    return pairs, len(sources) - len(pairs)


def read_lines(path: str | Path) -> list[str]:
    """The lines of one UTF-8 file, plain or gzip, without their ends."""
    content = _read_bytes(Path(path))
    if not content:
        raise DataError("the file is empty", str(path), "give a file with one sentence a line")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # the decoder counts from behind the byte order mark
        offset = error.start + (3 if content.startswith(b"\xef\xbb\xbf") else 0)
        line = content.count(b"\n", 0, offset) + 1
        raise DataError(
            f"the file is not UTF-8: byte {content[offset]:#04x} at offset {offset}, line {line}",
            str(path),
            "convert it to UTF-8, for example with iconv -f LATIN1 -t UTF-8",
        ) from None
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _read_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise DataError("this is a directory, not a file", str(path), "name a file in it")
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError("there is no such file", str(path), "check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"the file cannot be read: {reason}", str(path), "check it") from None
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"the gzip file is damaged: {error}", str(path), "fetch or compress it again"
        ) from None


def _hold_out(
    pairs: tuple[Pair, ...], wanted: list[str], share: float, seed: int, where: str
) -> dict[str, tuple[Pair, ...]]:
    distinct = list(dict.fromkeys(source for source, _ in pairs))
    size = max(1, round(share * len(distinct)))
    if len(distinct) <= size * len(wanted):
        raise DataError(
            f"{len(distinct)} distinct source lines are too few to hold out {' and '.join(wanted)}",
            where,
            "give at least three different lines, or files of their own for validation and test",
        )
    side_of: dict[str, str] = {}
    order = permutation(len(distinct), seed, _SPLIT_STREAM).tolist()
    for place, side in enumerate(wanted):
        for number in order[place * size : (place + 1) * size]:
            side_of[distinct[number]] = side
    parts: dict[str, list[Pair]] = {side: [] for side in ("train", *wanted)}
    for pair in pairs:
        parts[side_of.get(pair[0], "train")].append(pair)
    return {side: tuple(members) for side, members in parts.items()}
