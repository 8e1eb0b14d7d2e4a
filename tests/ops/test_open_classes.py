"""Cross-entropy where the classes are the examples of the batch, whose number is open."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg


def logits_of(a, b):
    return a @ b.T


def expected(a, b, smoothing):
    """The mean loss and its derivative by a, with NumPy."""
    scores = a @ b.T
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    count = len(a)
    goal = (1 - smoothing) * np.eye(count) + smoothing / count
    return -(goal * np.log(shares)).sum() / count, (shares - goal) @ b / count


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_each_example_is_told_from_all_others(smoothing, fuse):
    with gg.default_dtype("float64"):
        a, b = gg.input("a", ("batch", 3)), gg.input("b", ("batch", 3))
    each = gg.cross_entropy(logits_of(a, b), gg.iota(a.shape[0]), smoothing)
    graph = gg.derive(gg.Graph({"loss": each.mean(name="loss")}), "loss")
    run = gg.compile(graph, ["a.delta"], fuse=fuse, smallest_kernel=1)
    for count in (1, 4, 7):  # one program for each
        left, right = np.random.default_rng(count).normal(size=(2, count, 3))
        found = run(a=left, b=right)
        loss, delta = expected(left, right, smoothing)
        np.testing.assert_allclose(found["loss"], loss, 1e-10, 1e-12)
        np.testing.assert_allclose(found["a.delta"], delta, 1e-9, 1e-12)


def test_the_mean_over_targets_needs_no_ignored_one():
    losses, targets = gg.input("losses", "batch", "float64"), gg.input("targets", "batch", "int32")
    run = gg.compile(gg.Graph({"y": gg.mean_over_targets(losses, targets)}))
    assert run(losses=[1.0, 2.0, 0.0], targets=[0, 3, -1])["y"] == 1.5
