"""Reads plain text as documents and holds some of them out.

A file is one document, or several separated by lines that are exactly the separator; a folder has
at least one document for each of its files. Lines are read as in `lines.py`, and each document ends
with a line feed.

Equal documents count once, and a document is either held out or trained on. The held-out documents
are the first of a random order keyed by the seed, until they have their share of the characters; at
least one document is left on each side. Of a single document the end is held out, as in nanoGPT.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from graphgrad.data.corpus import permutation
from graphgrad.data.lines import read_lines
from graphgrad.errors import ConfigurationError, DataError

SEPARATOR = "<|endoftext|>"
"""The separator of documents in GPT-2's training data."""
_SPLIT_STREAM = 5


@dataclass(frozen=True)
class Documents:
    """Documents to train on and held-out ones.

    `whole` is False for a single document, whose end is held out.
    """

    name: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    whole: bool = True

    def digest(self) -> str:
        """The sha256 of every document, in order, and of the side that it is on."""
        found = hashlib.sha256()
        for texts in (self.train, self.held_out):
            found.update(f"{len(texts)}\n".encode())
            for text in texts:
                found.update(hashlib.sha256(text.encode()).digest())
        return found.hexdigest()

    @property
    def notice(self) -> str:
        """A line of text with the sizes of both sides."""
        sizes = [f"{sum(map(len, texts)):,}" for texts in (self.train, self.held_out)]
        if not self.whole:
            return f"text of {self.name}: {sizes[0]} characters, the last {sizes[1]} held out"
        return (
            f"text of {self.name}: {len(self.train)} documents of {sizes[0]} characters; held out "
            f"{len(self.held_out)} of {sizes[1]}"
        )


def split_documents(
    texts: Iterable[str], share: float, seed: int = 0, name: str = "text"
) -> Documents:
    """The documents with `share` of their characters held out.

    Raises `ConfigurationError` for a share outside 0 < share < 0.5, `DataError` for documents that
    are empty or too short to split.
    """
    if not 0 < share < 0.5:
        raise ConfigurationError(
            f"the share held out is {share}", fix="use a share above 0 and below 0.5"
        )
    distinct = [text for text in dict.fromkeys(texts) if text.strip()]
    if not distinct:
        raise DataError("there is no text", name, "give a file with text in it")
    if len(distinct) == 1:
        return _cut(distinct[0], share, name)
    wanted = share * sum(map(len, distinct))
    held_out: set[int] = set()
    for number in permutation(len(distinct), seed, _SPLIT_STREAM).tolist():
        held_out.add(number)
        wanted -= len(distinct[number])
        if wanted <= 0 or len(held_out) == len(distinct) - 1:
            break
    sides: tuple[list[str], list[str]] = [], []
    for number, text in enumerate(distinct):
        sides[number in held_out].append(text)
    return Documents(name, tuple(sides[0]), tuple(sides[1]))


def _cut(text: str, share: float, name: str) -> Documents:
    place = int(len(text) * (1 - share))
    if not 0 < place < len(text):
        raise DataError(
            f"a text of {len(text)} characters is too short to hold out a part of it",
            name,
            "give more text",
        )
    return Documents(name, (text[:place],), (text[place:],), whole=False)


def read_documents(path: str | Path, separator: str = SEPARATOR) -> list[str]:
    """The documents of a file or a folder, UTF-8, plain or gzip; blank ones are left out.

    Raises `DataError` for a file that cannot be read and where no document is left.
    """
    path = Path(path)
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if _is_text(file, path)]
        documents = [text for file in files for text in _parted(read_lines(file), separator)]
    else:
        documents = _parted(read_lines(path), separator)
    if not documents:
        raise DataError("there is no text", str(path), "give a file with text in it")
    return documents


def _is_text(file: Path, folder: Path) -> bool:
    """Whether a file of a folder is read: it is not hidden and not empty."""
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.is_file() and not hidden and file.stat().st_size > 0


def _parted(lines: Sequence[str], separator: str) -> list[str]:
    """The documents that are separated by lines with the separator."""
    documents: list[list[str]] = [[]]
    for line in lines:
        if line == separator:
            documents.append([])
        else:
            documents[-1].append(f"{line}\n")
    return [text for text in map("".join, documents) if text.strip()]
