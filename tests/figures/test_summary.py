"""The operation `summary`: figures of a value as a node, for every memory layout."""

import numpy as np
import pytest

from graphgrad.compile import compile
from graphgrad.figures import summary as module
from graphgrad.figures.array_figures import FIGURES, figures_of
from graphgrad.figures.summary import SUMMARY, write_summary
from graphgrad.graph import Graph, input
from graphgrad.ops import broadcast_to, transpose


def wanted(x):
    found = figures_of(x)
    return [np.nan if getattr(found, name) is None else getattr(found, name) for name in FIGURES]


def summary_of(x):
    out = np.full(len(FIGURES), -1.0)
    write_summary(out, x)
    return out


VALUES = np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32)
VALUES[0, :2] = 0
VALUES[1, 1] = np.nan


@pytest.mark.parametrize(
    "x",
    [
        VALUES,
        VALUES.transpose(2, 0, 1),
        VALUES[::2, 1:, ::-1],
        np.broadcast_to(VALUES[:, None], (6, 3, 5, 4)),
        np.broadcast_to(VALUES[0, 3, 0], (7, 3)),
        VALUES[0, 3, 3],
        np.float32(2) + np.zeros((), np.float32),
        np.empty((0, 3), np.float32),
        np.arange(12).reshape(3, 4),
        np.array([True, False, True]),
        np.array([1e300, -2e300]),
    ],
    ids=lambda x: f"{x.dtype}{list(x.shape)}{list(x.strides)}",
)
@pytest.mark.parametrize("compiled", [True, False])
def test_figures_of_any_array(x, compiled, monkeypatch):
    monkeypatch.setattr(module, "COMPILED", compiled and module.COMPILED)
    np.testing.assert_allclose(summary_of(np.asarray(x)), wanted(x), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("scale", [1e300, 1e-200, 5e-324])
def test_squares_that_float64_does_not_hold_are_taken_of_scaled_elements(scale):
    x = scale * np.array([3, -4, 0])
    mean, deviation, norm, *_ = summary_of(x)
    np.testing.assert_allclose([mean, norm], [scale * -1 / 3, scale * 5], 1e-9, scale / 2)
    np.testing.assert_allclose(deviation, scale * np.std([3, -4, 0]), 1e-9, scale / 2)


def test_it_is_a_node_like_any_other():
    x = input("x", ("batch", 3))
    turned, wide = transpose(x, (1, 0)), broadcast_to(x, (2, "batch", 3))
    outputs = {"plain": SUMMARY(x), "turned": SUMMARY(turned), "wide": SUMMARY(wide)}
    program = compile(Graph(outputs))
    for batch in (1, 4):
        value = np.random.default_rng(batch).normal(size=(batch, 3)).astype(np.float32)
        found = program(x=value)
        np.testing.assert_allclose(found["plain"], wanted(value), rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(found["turned"], found["plain"])
        repeated = np.broadcast_to(value, (2, batch, 3))
        np.testing.assert_allclose(found["wide"], wanted(repeated), rtol=1e-6, atol=1e-7)
