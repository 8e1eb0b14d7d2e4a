"""Pictures of attention: every head, white for 0, tokens on the axes."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from graphgrad.errors import ConfigurationError
from graphgrad.figures.attention_maps import AttentionMap
from graphgrad.rendering.plot_attention import SIDE, plot_attention
from graphgrad.rendering.plot_style import encoded, styled


def attention(name="net.0.weights", heads=2, queries=3, keys=4):
    weights = np.random.default_rng(0).dirichlet(np.ones(keys), (heads, queries))
    weights[:, 0, 1:] = 0
    return AttentionMap(
        name, weights, tuple("abcdefgh"[:queries]) or ("q",), ("x", " ", "<eos>", "y")[:keys]
    )


@pytest.fixture(autouse=True)
def style():
    with styled():
        yield


def test_every_head_is_drawn_with_its_weights():
    maps = [attention(), attention("net.1.weights", heads=1)]
    figure = plot_attention(maps, "run")
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert len(images) == 3
    (bar,) = (axes for axes in figure.axes if axes.get_ylabel() == "weight α")
    assert list(bar.get_yticks()) == [0, 0.5, 1]
    np.testing.assert_array_equal(images[1].get_array(), maps[0].weights[1])
    assert images[0].get_clim() == (0, 1)
    assert tuple(images[0].to_rgba(np.array([[0.0]]))[0, 0]) == (1, 1, 1, 1)  # 0 is white
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["x", "␣", "<eos>", "y"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    assert axes.get_title(loc="left") == "net.0\n" and axes.get_title(loc="right") == "head 0"
    assert encoded(figure, "svg") == encoded(plot_attention(maps, "run"), "svg")


def first_line(text):
    """The place of a text, without the empty line below a name."""
    place = text.get_window_extent().padded(-1)
    empty = place.height / 2 if text.get_text().endswith("\n") else 0
    return Bbox.from_extents(place.x0, place.y0 + empty, place.x1, place.y1)


def test_no_text_is_printed_over_another():
    maps = [attention(f"decoder.{n}.cross_attention.weights", heads=4) for n in range(2)]
    figure = plot_attention(maps, "a run")
    for _ in range(2):  # the second time with the layout that the first has found
        figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_text().strip()]
    places = [(text, first_line(text)) for text in texts if text.get_visible()]
    assert len(places) > 20
    for (one, place), (other, its) in combinations(places, 2):
        assert not place.overlaps(its), (one, other)


def test_a_long_sequence_is_cut():
    count = 3 * SIDE
    weights = np.full((1, count, count), 1 / count)
    tokens = tuple(str(place) for place in range(count))
    figure = plot_attention([AttentionMap("w", weights, tokens, tokens)], "run")
    assert figure.axes[0].images[0].get_array().shape == (SIDE, SIDE)
    assert max(figure.get_size_inches()) < 10


def test_too_many_maps_are_refused():
    with pytest.raises(ConfigurationError, match=r"9 attentions of 8 heads[\s\S]*--node"):
        plot_attention([attention(heads=8)] * 9, "run")
