"""What a node answers to by dot means what NumPy's arrays mean by it."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.graph.methods import Methods
from graphgrad.ops.evaluate import evaluate

VALUES = np.random.default_rng(0).normal(size=(2, 1, 3))
X = gg.input("x", (2, 1, 3), "float64")

CALLS = {
    "T": lambda x: x.T,
    "sum": lambda x: x.sum(1),
    "sum of all": lambda x: x.sum(),
    "mean": lambda x: x.mean(axis=(0, 2), keepdims=True),
    "var": lambda x: x.var(-1),
    "max": lambda x: x.max(0),
    "min": lambda x: x.min(axis=2),
    "argmax": lambda x: x.argmax(2),
    "reshape": lambda x: x.reshape(3, -1),
    "reshape to a tuple": lambda x: x.reshape((3, 2)),
    "reshape to a row": lambda x: x.reshape(-1),
    "transpose": lambda x: x.transpose(),
    "transpose by places": lambda x: x.transpose(1, 2, 0),
    "transpose by a tuple": lambda x: x.transpose((1, 2, 0)),
    "squeeze": lambda x: x.squeeze(),
    "squeeze one": lambda x: x.squeeze(1),
    "clip": lambda x: x.clip(-0.5, 0.5),
    "astype": lambda x: x.astype("int32"),
    "ndim": lambda x: x * x.ndim,
    "size": lambda x: x * x.size,
}


@pytest.mark.parametrize("case", CALLS)
def test_a_method_is_numpys(case):
    node = CALLS[case](X)
    expected = CALLS[case](VALUES)
    found = evaluate(gg.Graph({"y": node}), {"x": VALUES})[node]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, 1e-12)


def test_every_method_is_tried_and_takes_a_name():
    own = {name for name in vars(Methods) if not name.startswith("_")}
    described = {"shape", "dtype", "rank", "ndim", "size"}  # of the type, which is tested elsewhere
    assert own - described == {case.split()[0] for case in CALLS} - {"ndim", "size"}
    for name in own - described - {"T"}:
        assert "name" in inspect.signature(getattr(Methods, name)).parameters
        assert inspect.getdoc(getattr(Methods, name))
    assert X.mean(name="average").name == "average"
