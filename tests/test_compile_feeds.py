"""Inputs are given by keyword, by their full name or by their node."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.errors import DeclarationError, UnknownNameError

with gg.scope("encoder"):
    X = gg.input("x", ("batch", 2))
SCALE = gg.input("scale")
RUN = gg.compile(gg.Graph({"y": X * SCALE}))
VALUES = np.arange(6.0).reshape(3, 2)


@pytest.mark.parametrize(
    "call",
    [
        lambda: RUN({}, {"encoder.x": VALUES, "scale": 2}),
        lambda: RUN(None, {X: VALUES, SCALE: 2}),
        lambda: RUN({}, {X: VALUES}, scale=2),
        lambda: RUN({}, **{"encoder.x": VALUES}, scale=2),
    ],
)
def test_each_way_gives_the_same(call):
    np.testing.assert_array_equal(call()["y"], VALUES * 2)


@pytest.mark.parametrize(
    ("feeds", "inputs", "error", "reason"),
    [
        ({"scale": 2, X: VALUES}, {"scale": 2}, DeclarationError, "'scale' is given twice"),
        ({X: VALUES, "encoder.x": VALUES}, {}, DeclarationError, "'encoder.x' is given twice"),
        ({X * SCALE: VALUES}, {"scale": 2}, UnknownNameError, "is not an input"),
        ({3: VALUES}, {"scale": 2}, UnknownNameError, "is not an input.*takes encoder.x, scale"),
        ({"x": VALUES}, {"scale": 2}, UnknownNameError, "missing encoder.x"),
        ({X: VALUES, gg.input("other"): 1}, {"scale": 2}, UnknownNameError, "unknown other"),
    ],
)
def test_what_is_fed_wrongly_is_named(feeds, inputs, error, reason):
    with pytest.raises(error, match=f"(?s){reason}"):
        RUN({}, feeds, **inputs)
