"""The style of plots, and the error without matplotlib."""

import builtins

import pytest

from graphgrad.errors import ConfigurationError, EnvironmentLimitError
from graphgrad.rendering.plot_fonts import need_matplotlib
from graphgrad.rendering.plot_style import (
    encoded,
    new_figure,
    power_text,
    styled,
)


@pytest.mark.parametrize(
    "value, text",
    [
        (1, "1"),
        (0.01, "0.01"),
        (0.001, "0.001"),
        (1e-5, "10⁻⁵"),
        (1e12, "10¹²"),
        (2e-7, "2e-07"),
        (1000, "1000"),
        (0, "0"),
    ],
)
def test_powers_of_ten_are_text(value, text):
    assert power_text(value) == text


def test_a_missing_matplotlib_is_a_clear_error(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **keywords):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EnvironmentLimitError, match=r"matplotlib[\s\S]*pip install 'graphgrad\[pl"):
        need_matplotlib()


def test_no_global_state_is_left():
    matplotlib = need_matplotlib()
    before = dict(matplotlib.rcParams)
    with styled():
        assert encoded(new_figure(), "svg")
        assert dict(matplotlib.rcParams) != before
    assert dict(matplotlib.rcParams) == before
    assert not matplotlib._pylab_helpers.Gcf.figs  # pyplot knows of no figure


def test_an_unknown_format_is_refused():
    with pytest.raises(ConfigurationError, match="cannot be written as 'gif'"):
        encoded(new_figure(), "gif")
