"""Fonts for what is written in a plot: tokens of every script, as far as a font here has them.

DejaVu Sans, which comes with matplotlib, has no Chinese, Japanese or Korean. Where a text needs
characters that it lacks, the fonts of this machine are asked which of them has most, until none has
any more; each text is then drawn with the fonts that it needs, one for what the other lacks. What
no font has is said by `give_fonts`, and drawn as an empty box.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from graphgrad.errors import EnvironmentLimitError
from graphgrad.text import printable

FONT = "DejaVu Sans"
"""Comes with matplotlib."""

Coverage = Callable[[str], Set[int]]
"""The code points that the font of a family has."""

_NO_TEXT_FONTS = ("Last Resort", "cm", "STIXNonUnicode", "STIXSize")
"""Beginnings of families that have boxes, or parts of formulas, in the places of characters."""
_REGULAR = range(300, 501)  # weights


def need_matplotlib() -> Any:
    """The library; EnvironmentLimitError with the command that installs it where it is missing."""
    try:
        import matplotlib
    except ImportError:
        raise EnvironmentLimitError(
            "plots are drawn by matplotlib, which is not installed",
            "",
            "pip install 'graphgrad[plot]'",
        ) from None
    return matplotlib


def give_fonts(figure: Any) -> str:
    """Gives each text of a figure the fonts that it needs; the characters that no font has."""
    need_matplotlib()
    from matplotlib.text import Text

    texts = [item for item in figure.findobj(Text) if item.get_text()]
    needed = {ord(mark) for item in texts for mark in item.get_text() if _is_drawn(mark)}
    lacking = needed - _coverage_of(_file_of(FONT))
    if not lacking:
        return ""
    families = system_families()
    chosen, left = chosen_fonts(lacking, families, lambda name: _coverage_of(families[name]))
    for item in texts:
        if any(ord(mark) in lacking for mark in item.get_text()):
            item.set_fontfamily([FONT, *chosen])
    return "".join(map(chr, sorted(left)))


def chosen_fonts(
    needed: Set[int], families: Iterable[str], coverage: Coverage
) -> tuple[tuple[str, ...], Set[int]]:
    """The families that together have as many of the characters as can be, and what is left.

    The first is the one that has most; of equal ones a font without serifs, then the first by name.
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
    """One line about characters that no font of this machine has; empty where there are none."""
    if not lacking:
        return ""
    shown = printable("".join(lacking[:8])) + ("…" if len(lacking) > 8 else "")
    return (
        f"no font here has {len(lacking)} of the characters ({shown}): they are empty boxes; "
        "install one that has (Debian, Ubuntu: apt install fonts-noto-cjk)"
    )


def system_families() -> Mapping[str, str]:
    """The upright fonts of usual weight by family, with their files: those that matplotlib knows,
    and those that were installed since it last looked."""
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


def _is_drawn(mark: str) -> bool:
    """Whether a character needs a glyph: no space, control or unassigned code."""
    return unicodedata.category(mark)[0] not in "ZC"


def _file_of(family: str) -> str:
    need_matplotlib()
    from matplotlib import font_manager

    return str(font_manager.findfont(family))


def _coverage_of(file: str) -> Set[int]:
    """The code points that a font file has; none where it cannot be read."""
    need_matplotlib()
    from matplotlib import font_manager

    try:
        return set(font_manager.get_font(file).get_charmap())
    except (OSError, RuntimeError):
        return set()
