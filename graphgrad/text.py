"""Text for people: made safe to print, and names that a mistyped one may have meant.

Names and tokens come from data and may hold anything. Where one stands on a line of its own kind (a
message, a picture, a comment of generated code) it goes through `printable`; where whole text goes
to a terminal or a log, through `show_controls` or `displayable`.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

_ALIKE = 0.65  # how alike two names are, from 0 to 1, before one is taken for the other
_SIMILAR = 0.4  # and before it is one of several that are offered
# Characters that reorder or break a line without being control characters by category.
_REORDERING = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c"


def printable(text: str, limit: int = 200) -> str:
    """A user's text on one line: what cannot be printed is escaped, what is too long is cut.

    Newlines, escape sequences and direction marks of a name can thus neither leave a comment of
    generated code nor disturb a terminal.
    """
    shown = text
    if not text.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def show_controls(text: str) -> str:
    """`text` with every control character written out (`\\x1b`), so a terminal shows it.

    Line breaks and tabs stay. Written out are the categories Cc (control), Cs (lone surrogate),
    Zl and Zp (line and paragraph separator) and the marks that reverse the writing direction.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in "\n\t":
        return character
    hidden = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    if not hidden and character not in _REORDERING:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def displayable(text: str, encoding: str | None) -> str:
    """`text` as a terminal or file of `encoding` can show it, controls written out."""
    name = encoding or "utf-8"
    return show_controls(text).encode(name, "backslashreplace").decode(name)


def nearest(name: str, known: Iterable[str], count: int = 1) -> list[str]:
    """The known names most like `name`, at most `count` of them, upper and lower case alike.

    One alone must be very much like it; of several, each may be less so.
    """
    lower = {each.lower(): each for each in reversed(list(known))}
    likeness = _ALIKE if count == 1 else _SIMILAR
    return [lower[each] for each in difflib.get_close_matches(name.lower(), lower, count, likeness)]


def did_you_mean(name: str, known: Iterable[str], otherwise: str, count: int = 1) -> str:
    """The fix for a name that nothing answers to: the nearest names, or `otherwise`."""
    near = nearest(name, known, count)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else otherwise


def suggestion(name: str, known: Iterable[str], listed: str) -> str:
    """The fix for a name that nothing answers to: the nearest one, or all of them after `listed`,
    which says what they are."""
    names = list(known)
    return did_you_mean(name, names, f"{listed}: {', '.join(names)}")
