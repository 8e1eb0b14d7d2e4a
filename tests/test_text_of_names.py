"""Text from data is harmless where it is shown, and a mistyped name finds its neighbours."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphgrad.text import did_you_mean, displayable, nearest, show_controls, suggestion

EVIL = "[red]Ein Mann[/red] [/] :smile: [link=x]\x1b[31m\x07\r中文 ü"
SHOWN = r"[red]Ein Mann[/red] [/] :smile: [link=x]\x1b[31m\x07\x0d中文 ü"


def test_control_characters_are_written_out():
    assert show_controls("a\x1b[31m\r\x00\x7f\x9b") == r"a\x1b[31m\x0d\x00\x7f\x9b"
    assert show_controls("a\u202eb\u2028\ud800") == r"a\u202eb\u2028\ud800"
    assert show_controls("tab\tline\näöü 中文 👍🏽") == "tab\tline\näöü 中文 👍🏽"


@settings(deadline=None)
@given(st.text(st.characters(codec=None)))
def test_shown_text_is_always_harmless(text):
    shown = show_controls(text)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert all(character in "\n\t" or ord(character) >= 32 for character in shown)
    assert all(not 0x7F <= ord(character) < 0xA0 for character in shown)
    assert show_controls(string.printable[:95]) == string.printable[:95]


def test_text_from_data_is_displayable_in_any_encoding():
    assert displayable(EVIL, "utf-8") == SHOWN
    assert displayable("ü中\ud800", "ascii") == r"\xfc\u4e2d\ud800"
    assert displayable("ü中", "latin-1") == "ü" + r"\u4e2d"
    assert displayable("ü", None) == "ü"


def test_the_nearest_names_are_offered_whatever_their_case():
    known = ["batch_size", "Dropout", "layers", "layer_norm"]
    assert nearest("dropuot", known) == ["Dropout"]
    assert nearest("LAYER", known, 3) == ["layers", "layer_norm"]
    assert nearest("batchsize", iter(known)) == ["batch_size"] and nearest("zzz", known, 3) == []


@pytest.mark.parametrize(
    ("name", "count", "text"),
    [
        ("layer", 1, "did you mean 'layers'?"),
        ("layer", 2, "did you mean 'layers' or 'layer_norm'?"),
        ("zzz", 2, "print the graph"),
    ],
)
def test_the_fix_names_what_is_near_or_something_else(name, count, text):
    assert did_you_mean(name, ["layer_norm", "layers"], "print the graph", count) == text


def test_without_a_near_name_all_are_listed():
    assert suggestion("zzz", ("a", "b"), "settings") == "settings: a, b"
    assert suggestion("alpga", ("alpha", "b"), "settings") == "did you mean 'alpha'?"
