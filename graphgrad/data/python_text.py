"""Reads the text that ships with Python: its language reference and the modules of its library.

A language model can be trained on it without a download. The text depends on the version of Python;
`Documents.digest` distinguishes versions.
"""

from __future__ import annotations

import inspect
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

from graphgrad.errors import DataError

# A triple-quoted string at the start of a line: this matches nine of ten docstrings, in a tenth of
# the time of parsing.
_DOCSTRING = re.compile(r'^[ \t]*[rR]?"""(.*?)"""', re.DOTALL | re.MULTILINE)


def python_documentation_and_source() -> list[str]:
    """The language reference, a document for each topic, and the library, one for each module."""
    return [*_topics(), *(text for _, text in _modules())]


def python_prose() -> list[str]:
    """The language reference, a document for each topic, and the docstrings of each module."""
    prose = []
    for _, text in _modules():
        found = [inspect.cleandoc(match) for match in _DOCSTRING.findall(text)]
        prose.append("".join(f"{each}\n\n" for each in found if each.strip()))
    return [*_topics(), *filter(None, prose)]


def _topics() -> list[str]:
    return [f"{topics[name].strip()}\n" for name in sorted(topics)]


def _modules() -> Iterator[tuple[str, str]]:
    """Name and text of each module directly in the folder of the library."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(file for file in folder.glob("*.py") if not file.name.startswith("_"))
    if not files:
        raise DataError(
            "this Python ships without the source of its library",
            str(folder),
            "give a text of your own: --text FILE",
        )
    for file in files:
        yield file.stem, file.read_text(encoding="utf-8").replace("\r\n", "\n")
