"""The numbers of the lessons against the lecture's own, and against plain arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest

from graphgrad.errors import ConfigurationError, UnknownNameError
from graphgrad.lecture import Lesson, Request, Table, topic_called
from graphgrad.lecture.descent import descent, surface_losses
from graphgrad.lecture.encoder import normalised
from graphgrad.lecture.heads import heads_of
from graphgrad.lecture.network import heads_and_tails, network_graph, worked
from graphgrad.lecture.neuron import activation
from graphgrad.lecture.values import drawn_state

X, TRUTH = (1.0, 0.5, -1.0), (0.0, 1.0, 0.0)


def lesson(name: str, text: str = "", **options: str) -> Lesson:
    topic = topic_called(name)
    return topic.lesson(Request({**topic.options, **options}, text or topic.text))


def table(found: Lesson, number: int = 0) -> Table:
    return [block for block in found.blocks if isinstance(block, Table)][number]


def sigmoid(a: float) -> float:
    return 1 / (1 + math.exp(-a))


def test_the_lookup_has_the_lectures_numbers() -> None:
    rows = table(lesson("lookup")).rows
    assert [list(row[1:4]) for row in rows] == [["112", "14", "0.88"], ["96", "12", "0.12"]]


def test_the_lookup_takes_numbers_of_ones_own() -> None:
    found = table(lesson("lookup", scores="1, 2, 4", width="4", values="10, 20, 30"))
    weights = np.exp([0.5, 1, 2]) / np.exp([0.5, 1, 2]).sum()
    assert [row[3] for row in found.rows] == [f"{weight:.2g}" for weight in weights]
    with pytest.raises(ConfigurationError, match="3 scores and 2 values"):
        lesson("lookup", scores="1, 2, 4")
    with pytest.raises(ConfigurationError, match="scores must be numbers"):
        lesson("lookup", scores="1; 2")


def test_a_neuron_is_its_formula() -> None:
    found = lesson("neuron", x="2, -1", w="0.25, 3", phi="tanh", truth="0.5")
    a = 2 * 0.25 - 3
    delta = (1 - math.tanh(a) ** 2) * (math.tanh(a) - 0.5)
    slopes = [row[4] for row in table(found).rows]
    assert slopes == [f"{value:.3g}".replace("-", "−") for value in (delta * 2, delta * -1)]
    with pytest.raises(ConfigurationError, match="w must be 3 numbers, and 2 are given"):
        lesson("neuron", w="1, 2")
    with pytest.raises(UnknownNameError, match="phi cannot be 'step'"):
        lesson("neuron", phi="step")


@pytest.mark.parametrize("phi", ["linear", "tanh", "sigmoid", "relu"])
def test_slopes_of_activations_are_differences(phi: str) -> None:
    points = np.array([-2.0, -0.3, 0.4, 3.0])
    _, slopes = activation(phi, points)
    (high, _), (low, _) = (activation(phi, points + change) for change in (1e-6, -1e-6))
    np.testing.assert_allclose(slopes, (high - low) / 2e-6, atol=1e-8)


def test_heads_and_tails_are_those_of_the_slide() -> None:
    near = heads_and_tails(network_graph("tanh"))
    assert near["h2"] == (["x1", "x2", "x3"], ["y1", "y2", "y3"])
    assert near["x1"] == ([], ["h1", "h2", "h3"]) and near["y3"] == (["h1", "h2", "h3"], [])


def test_the_network_is_the_lectures_algorithm() -> None:
    graph = network_graph("sigmoid")
    state = drawn_state(graph, 7)
    found = worked(graph, state, X, TRUTH)
    z = dict(zip(("x1", "x2", "x3"), X, strict=True))
    delta = {}
    for tail, heads in (("h", "x"), ("y", "h")):
        for t in "123":
            a = sum(found.w[f"{heads}{h}->{tail}{t}"] * z[f"{heads}{h}"] for h in "123")
            z[f"{tail}{t}"] = sigmoid(a)
            assert found.a[f"{tail}{t}"] == pytest.approx(a)
    for t, truth in zip("123", TRUTH, strict=True):
        y = z[f"y{t}"]
        delta[f"y{t}"] = (y - truth) * y * (1 - y)
    for h in "123":
        back = sum(delta[f"y{t}"] * found.w[f"h{h}->y{t}"] for t in "123")
        delta[f"h{h}"] = z[f"h{h}"] * (1 - z[f"h{h}"]) * back
    assert found.z == pytest.approx(z) and found.delta == pytest.approx(delta)
    after, losses = descent(graph, state, X, TRUTH, 0.5, 30)
    for pair, old in found.w.items():
        head, tail = pair.split("->")
        assert found.slope[pair] == pytest.approx(delta[tail] * z[head])
        assert after[pair] == pytest.approx(old - 0.5 * delta[tail] * z[head])
    assert losses[0] == pytest.approx(found.loss) and losses[-1] < losses[1] < losses[0]


def test_the_surface_is_the_loss_of_the_neuron() -> None:
    points = np.array([[0.0, 0.0], [1.5, -2.0]])
    x, truth = np.array([[1, 0.5], [-0.5, 1], [-1, -1], [0.5, -1]]), np.array([1, 1, 0, 0])
    expected = [(((1 / (1 + np.exp(-(x @ w)))) - truth) ** 2).sum() / 2 for w in points]
    np.testing.assert_allclose(surface_losses(points), expected)


def test_layer_norm_has_its_1_over_n() -> None:
    x = np.array([1.0, 2.0, 3.0, 6.0])
    found = normalised(x)
    np.testing.assert_allclose(found["with"], (x - 3) / np.sqrt(x.var() + 1e-5))
    np.testing.assert_allclose(found["without"], (x - 3) / np.sqrt(((x - 3) ** 2).sum() + 1e-5))
    assert "The 1/n is missing there" in " ".join(
        getattr(block, "text", "") for block in lesson("encoder").blocks
    )


def test_masked_weights_and_deltas_are_exactly_0() -> None:
    found = lesson("mask", "one two three")
    tables = {block.title[:1]: block.rows for block in found.blocks if isinstance(block, Table)}
    for title in "14δ":
        assert [tables[title][i][1 + j] for i in range(3) for j in range(i + 1, 3)] == ["0"] * 3
    assert tables["3"][0][2:] == ("−∞", "−∞") or list(tables["3"][0][2:]) == ["−∞", "−∞"]
    assert any("exactly 0" in getattr(block, "text", "") for block in found.blocks)


def test_products_of_positions_depend_on_their_distance() -> None:
    found = lesson("positions", length="20", width="8")
    rate = 10000.0 ** (-2 * np.arange(4) / 8)
    products = {d: np.cos(d * rate).sum() for d in (0, 1, 2, 4, 8, 16)}
    shown = dict(zip(table(found, 1).headings[1:], table(found, 1).rows[0][1:], strict=True))
    assert shown == {str(d): f"{value:.3g}".replace("-", "−") for d, value in products.items()}


def test_heads_are_chosen_by_number() -> None:
    assert heads_of("", 3) == (0, 1, 2) and heads_of("2, 0", 3) == (2, 0)
    for wrong in ("3", "a", "-1"):
        with pytest.raises(ConfigurationError, match="the heads are 0 to 2"):
            heads_of(wrong, 3)


@pytest.mark.parametrize("name", ["attention", "heads"])
def test_words_are_counted(name: str) -> None:
    with pytest.raises(ConfigurationError, match="the text must have 2 to"):
        lesson(name, "alone")
