"""Makes pieces of Markdown: code and docstrings."""

from __future__ import annotations

import re
import textwrap

_EXAMPLE = re.compile(r"^>>> .*?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)


def code(text: str) -> str:
    """The text as inline code; it may contain backticks."""
    fence = "`" if "`" not in text else "``"
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def first_paragraph(docstring: str) -> str:
    """The first paragraph of a docstring."""
    return docstring.strip().partition("\n\n")[0]


def docstring_text(docstring: str) -> str:
    """A docstring as Markdown: its examples become blocks of Python."""
    text = textwrap.dedent(docstring.strip()).replace("``", "`")
    return _EXAMPLE.sub(_fenced, text)


def _fenced(example: re.Match[str]) -> str:
    """An example as a block of Python; blank lines that it prints are blank."""
    return f"```python\n{example[0].replace('<BLANKLINE>', '')}\n```"
