"""What the documentation of operations of one's own shows, works: declared, derived, compiled."""

from __future__ import annotations

import re
import textwrap

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.ops import custom
from graphgrad.ops.evaluate import evaluate

VALUES = np.array([[-2.0, -0.3, 0.4], [0.1, 1.5, 3.0]])


@pytest.fixture(scope="module")
def shown():
    """What the examples of the module's documentation declare, with x as an input."""
    blocks = re.findall(r"((?:^    .*\n(?:\n(?=    ))?)+)", custom.__doc__, re.MULTILINE)
    names = {"gg": gg, "x": gg.input("x", (2, 3), "float64")}
    for text in blocks:
        exec(textwrap.dedent(text), names)
    return names


def difference(function, x, step=1e-6):
    """The derivative of Σ f(x)² by central differences."""
    found = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        moved = [x.copy(), x.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        found[place] = np.subtract(*[(function(each) ** 2).sum() for each in moved]) / (2 * step)
    return found


ORACLES = {"softsign": lambda x: x / (1 + abs(x)), "row_sum": lambda x: x.sum(1)}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("fuse", [False, True])
def test_an_operation_of_ones_own_is_one_like_any_other(shown, name, fuse):
    x = shown["x"]
    y = shown[name](x, name="y")
    graph = gg.derive(gg.Graph({"loss": gg.alias((y * y).sum(), "loss")}), "loss")
    run = gg.compile(graph, ["y", "x.delta"], fuse=fuse, smallest_kernel=1)
    found = run(x=VALUES)
    np.testing.assert_allclose(found["y"], ORACLES[name](VALUES), 1e-12)
    np.testing.assert_allclose(found["x.delta"], difference(ORACLES[name], VALUES), 1e-6)
    assert graph["y"].operation is shown[name] and name in str(graph)


def test_a_shape_rule_of_ones_own_refuses_with_its_reason(shown):
    with pytest.raises(gg.DeclarationError, match=r"row_sum.*needs a matrix, not float32"):
        shown["row_sum"](gg.input("v", 3))
    with pytest.raises(gg.DeclarationError, match=r"row_sum.*no argument 'axis'"):
        shown["row_sum"](shown["x"], axis=0)


def test_with_delta_keeps_the_value_and_replaces_the_delta(shown):
    graph = gg.derive(gg.Graph({"loss": gg.alias((shown["y"] * 3.0).sum(), "loss")}), "loss")
    values = evaluate(graph, {"x": VALUES})
    np.testing.assert_array_equal(values[shown["y"]], np.sign(VALUES))
    np.testing.assert_array_equal(values[graph.delta("x")], 3.0)
