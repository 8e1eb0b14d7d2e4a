"""Chooses fonts for the texts of a plot, so that tokens of every script are drawn.

DejaVu Sans, which matplotlib includes, has no Chinese, Japanese or Korean. If a text has characters
that are missing there, the system fonts that cover most of them are added, one after the other, as
fallbacks. Characters that no font has are returned by `set_fonts`; they are written as U+4E2D in
the picture, but not in SVG, which has texts as texts: the reader's machine may have the font.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from graphgrad.errors import EnvironmentLimitError
from graphgrad.text import printable

FONT = "DejaVu Sans"
"""The default font; matplotlib includes it."""

Coverage = Callable[[str], Set[int]]
"""Returns the code points of the font of a family."""

_NO_TEXT_FONTS = ("Last Resort", "cm", "STIXNonUnicode", "STIXSize")
"""Prefixes of families whose glyphs are boxes or parts of formulas, not characters."""
_REGULAR = range(300, 501)  # weights


def need_matplotlib() -> Any:
    """Returns matplotlib; raises EnvironmentLimitError with the command that installs it."""
    try:
        import matplotlib
    except ImportError:
        raise EnvironmentLimitError(
            "plots are drawn by matplotlib, which is not installed",
            "",
            "pip install 'graphgrad[plot]'",
        ) from None
    return matplotlib


def set_fonts(figure: Any, escape: bool = True) -> str:
    """Sets the fonts of each text of a figure; returns the characters that no font has, which are
    written as their numbers with `escape`."""
    need_matplotlib()
    from matplotlib.text import Text

    texts = [item for item in figure.findobj(Text) if item.get_text()]
    needed = {
        ord(character) for item in texts for character in item.get_text() if _is_drawn(character)
    }
    lacking = needed - _coverage_of(_file_of(FONT))
    if not lacking:
        return ""
    families = system_families()
    chosen, left = chosen_fonts(lacking, families, lambda name: _coverage_of(families[name]))
    for item in texts:
        if any(ord(character) in lacking for character in item.get_text()):
            item.set_fontfamily([FONT, *chosen])
    if left and escape:
        _escape(figure, texts, left)
    return "".join(map(chr, sorted(left)))


def chosen_fonts(
    needed: Set[int], families: Iterable[str], coverage: Coverage
) -> tuple[tuple[str, ...], Set[int]]:
    """The families that together cover most of the characters, and the characters that are left.

    The family that covers most is first; of equal ones a font without serifs, then the first by
    name.
    """
    has = {name: needed & coverage(name) for name in sorted(families)}
    chosen: list[str] = []
    left = set(needed)
    while left:
        best = max(has, key=lambda name: (len(has[name] & left), "Sans" in name), default=None)
        if best is None or not has[best] & left:
            break
        chosen.append(best)
        left -= has[best]
    return tuple(chosen), left


def lacking_note(lacking: str) -> str:
    """One line about characters that no font of this machine has; empty if there are none."""
    if not lacking:
        return ""
    shown = printable("".join(lacking[:8])) + ("…" if len(lacking) > 8 else "")
    return (
        f"no font here has {len(lacking)} of the characters ({shown}): they are written as "
        "their numbers; install one that has (Debian, Ubuntu: apt install fonts-noto-cjk)"
    )


def system_families() -> Mapping[str, str]:
    """The files of upright fonts of regular weight, by family.

    Includes fonts that were installed after matplotlib built its list.
    """
    need_matplotlib()
    from matplotlib import font_manager

    manager = font_manager.fontManager
    known = {Path(entry.fname) for entry in manager.ttflist}
    for file in sorted(font_manager.findSystemFonts()):
        if Path(file) not in known:
            try:
                manager.addfont(file)
            except (OSError, RuntimeError, ValueError):  # a font that matplotlib cannot read
                continue
    return _regular(manager.ttflist)


def _regular(entries: Sequence[Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in entries:
        usual = entry.style == "normal" and entry.weight in _REGULAR
        if usual and not entry.name.startswith(_NO_TEXT_FONTS):
            found.setdefault(entry.name, entry.fname)
    return found


def _escape(figure: Any, texts: Iterable[Any], lacking: Set[int]) -> None:
    """Writes characters as their numbers. The labels of an axis are set as a whole: it writes them
    into its texts whenever it is drawn."""

    def escaped(text: str) -> str:
        return "".join(f"U+{ord(c):04X}" if ord(c) in lacking else c for c in text)

    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        labels = [label.get_text() for label in axis.get_ticklabels()]
        if any(escaped(label) != label for label in labels):
            axis.set_ticklabels([escaped(label) for label in labels])
    for item in texts:
        item.set_text(escaped(item.get_text()))


def _is_drawn(character: str) -> bool:
    """Whether a character needs a glyph: not a space, control or unassigned code."""
    return unicodedata.category(character)[0] not in "ZC"


def _file_of(family: str) -> str:
    need_matplotlib()
    from matplotlib import font_manager

    return str(font_manager.findfont(family))


def _coverage_of(file: str) -> Set[int]:
    """The code points of a font file; none if it cannot be read."""
    need_matplotlib()
    from matplotlib import font_manager

    try:
        return set(font_manager.get_font(file).get_charmap())
    except (OSError, RuntimeError):
        return set()
