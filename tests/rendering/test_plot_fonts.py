"""Fonts are chosen by the characters they cover: made-up fonts, and those of matplotlib."""

from __future__ import annotations

import unicodedata
import warnings

import pytest

from graphgrad.rendering.plot_fonts import (
    FONT,
    chosen_fonts,
    lacking_note,
    need_matplotlib,
    set_fonts,
    system_families,
)
from graphgrad.rendering.plot_style import encoded, new_figure, styled

FAMILIES = {
    "Half Han": "你好",
    "Han Sans": "你好世界",
    "Han Serif": "你好世界",
    "Hangul": "한국",
    "Kana": "日本語かな",
    "Latin": "abc",
}


@pytest.mark.parametrize(
    ("text", "chosen", "left"),
    [
        ("你好", ("Han Sans",), ""),
        ("你好世界한국", ("Han Sans", "Hangul"), ""),
        ("한국日本語", ("Kana", "Hangul"), ""),
        ("你ก", ("Han Sans",), "ก"),
        ("ก", (), "ก"),
        ("", (), ""),
    ],
)
def test_the_fonts_that_have_most_are_chosen(text: str, chosen: tuple[str, ...], left: str) -> None:
    found = chosen_fonts(
        set(map(ord, text)), reversed(FAMILIES), lambda name: set(map(ord, FAMILIES[name]))
    )
    assert found == (chosen, set(map(ord, left)))


def test_without_any_font_all_is_left() -> None:
    assert chosen_fonts({1, 2}, [], lambda name: set()) == ((), {1, 2})


def test_fonts_of_boxes_and_parts_of_formulas_are_not_used_for_text() -> None:
    families = system_families()
    assert FONT in families and "STIXGeneral" in families
    assert not [name for name in families if name.startswith(("Last Resort", "cm", "STIXSize"))]


def _only_in(family: str) -> str:
    """A visible character that this font of matplotlib's has and DejaVu Sans has not."""
    need_matplotlib()
    from matplotlib import font_manager

    has, lacks = (
        set(font_manager.get_font(font_manager.findfont(name)).get_charmap())
        for name in (family, FONT)
    )
    return next(c for c in map(chr, sorted(has - lacks)) if unicodedata.category(c) in ("So", "Sm"))


def test_a_text_is_drawn_with_the_font_that_has_it() -> None:
    mark = _only_in("STIXGeneral")
    with styled():
        figure = new_figure()
        with_it, without = figure.text(0, 0, f"a{mark}"), figure.text(0, 0.5, "plain")
        assert set_fonts(figure) == ""
        family = with_it.get_fontfamily()
        assert family[0] == FONT and len(family) == 2
        assert without.get_fontfamily() == ["sans-serif"]
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # "Glyph … missing from font(s)"
            figure.canvas.draw()
        svg = encoded(figure, "svg").decode()
        assert f"a{mark}" in svg and family[1] in svg


def test_encoding_a_figure_sets_its_fonts() -> None:
    mark = _only_in("STIXGeneral")
    with styled():
        figure = new_figure()
        text = figure.text(0, 0, mark)
        assert encoded(figure, "png").startswith(b"\x89PNG")
        assert len(text.get_fontfamily()) == 2


def test_characters_without_a_font_are_written_as_their_numbers() -> None:
    with styled():
        figure = new_figure()
        axes = figure.subplots()
        axes.set_xticks([0, 1], ["a", "b\U0001f9ff"])
        title = axes.set_title("\U0001f9ff!")
        assert set_fonts(figure, escape=False) and title.get_text() == "\U0001f9ff!"
        assert "\U0001f9ff" in encoded(figure, "svg").decode()
        assert encoded(figure, "png")
        assert title.get_text() == "U+1F9FF!"
        assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "bU+1F9FF"]


def test_characters_without_a_font_are_reported_in_one_line() -> None:
    nobody = "\U0001f9ff\ufdd0"  # the second is not a character
    with styled():
        figure = new_figure()
        figure.text(0, 0, f"a {nobody}\n")
        lacking = set_fonts(figure)
        assert "\ufdd0" not in lacking and " " not in lacking
        assert encoded(figure, "png")
    assert lacking_note("") == ""
    note = lacking_note("你好" * 5 + "\x1b")
    assert "\n" not in note and "\x1b" not in note and "…" in note
    assert "no font here has 11 of the characters (你好你好你好你好…)" in note
    assert "fonts-noto-cjk" in note
