"""A user's text made safe to print: the function that every message and picture goes through."""

from __future__ import annotations


def plain(text: str, limit: int = 200) -> str:
    """A user's text on one line: what cannot be printed is escaped, what is too long is cut.

    Newlines, escape sequences and direction marks of a name can thus neither leave a comment of
    generated code nor disturb a terminal.
    """
    shown = text
    if not text.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
