"""Makes pieces of Markdown: code and docstrings."""

from __future__ import annotations

import re
import textwrap

_EXAMPLE = re.compile(r"^>>> .*\n?(?:.+\n?)*", re.MULTILINE)


def code(text: str) -> str:
    """The text as inline code; it may contain backticks."""
    fence = "`" if "`" not in text else "``"
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def first_paragraph(docstring: str) -> str:
    """The first paragraph of a docstring."""
    return docstring.strip().partition("\n\n")[0]


def docstring_text(docstring: str) -> str:
    """A docstring as Markdown: its examples become blocks of code."""
    return _EXAMPLE.sub(_fenced, textwrap.dedent(docstring.strip())).rstrip()


def _fenced(example: re.Match[str]) -> str:
    """An example as a block of code, with the blank lines that it prints."""
    lines = example.group().rstrip().splitlines()
    shown = ["" if line == "<BLANKLINE>" else line for line in lines]
    return "\n".join(["```python", *shown, "```", ""])
