"""Prune, fold constants, specialise, decompose: each before and after, to the letter."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph, Node
from graphgrad.errors import DataError, DeclarationError, UnknownNameError
from graphgrad.graph import CONSTANT
from graphgrad.ops.evaluate import evaluate
from graphgrad.passes import (
    decompose,
    fold_constants,
    free_dimensions,
    prune,
    specialise,
)

# ---------------------------------------------------------------- prune


def test_prune_keeps_what_outputs_and_updates_need_and_all_inputs():
    x, unused = gg.input("x", 3), gg.input("unused", 3)
    w, idle = gg.parameter("w", 3), gg.parameter("idle", 3)
    kept = gg.exp(x, name="kept")
    extra = {"lost": gg.sin(x * idle, name="lost"), "unused": unused}
    graph = Graph({"y": kept}, {w: gg.tanh(w, name="next")}, extra)
    after = prune(graph)
    assert [after.name_of(node) for node in after] == ["x", "unused", "w", "kept", "next"]
    assert "lost" not in after.names and "idle" not in after.names
    assert prune(after).nodes == after.nodes


def test_prune_keeps_the_order_and_the_names():
    x = gg.input("x", 3)
    b, a = gg.exp(x, name="b"), gg.tanh(x, name="a")
    graph = Graph({"a": a, "b": b}, names={"alias": a}, order=[a, b])
    assert prune(graph).nodes == (x, a, b) and prune(graph)["alias"] is a


# ---------------------------------------------------------------- fold_constants


def test_fold_constants_to_the_letter():
    x = gg.input("x", 3, "float64")
    half = gg.multiply(gg.constant(0.75, "float64"), 0.5, name="half")
    places = gg.cast(gg.iota(3), "float64", name="places")
    y = gg.add(x * half, gg.sin(places), name="y")
    assert (
        str(prune(fold_constants(Graph({"y": y}))))
        == """\
%0 = input() : float64[3]    # x
%1 = constant(0.375) : float64[]    # half
%2 = multiply(%0, %1) : float64[3]    # multiply
%3 = constant(<3 numbers>) : float64[3]    # sin
%4 = add(%2, %3) : float64[3]    # y
output y = %4"""
    )


def test_folding_keeps_what_it_cannot_or_need_not_compute():
    n = gg.dimension("n")
    x = gg.input("x", ("n", 2))
    for node in (
        gg.tanh(x), gg.iota(n), gg.broadcast_to(gg.constant(1.0), (1000, 1000)),
        gg.mean(x), gg.parameter("w", 2), gg.broadcast_to(gg.constant(1.0), (n,)),
    ):  # fmt: skip
        graph = Graph({"y": node})
        assert fold_constants(graph).outputs["y"] is node
    big = gg.iota(3_000_000) + gg.iota(3_000_000)
    assert fold_constants(Graph({"y": big * 1})).outputs["y"].operation is CONSTANT
    bigger = gg.expand_dims(gg.iota(3_000), 1) + gg.iota(3_000)
    assert fold_constants(Graph({"y": bigger})).outputs["y"].operation is not CONSTANT


def test_a_causal_mask_becomes_one_constant():
    places = gg.iota(4)
    mask = gg.less_equal(places, gg.expand_dims(places, 1))
    folded = fold_constants(Graph({"mask": mask})).outputs["mask"]
    np.testing.assert_array_equal(folded.attributes["value"].array, np.tril(np.ones((4, 4))) == 1)


def test_folding_that_fails_says_why():
    wrong = gg.gather(gg.constant(np.ones(3)), gg.constant(np.array([3], "int32")))
    with pytest.raises(DataError, match=r"outside \[0, 3\)"):
        fold_constants(Graph(wrong))


# ---------------------------------------------------------------- specialise


def sized() -> Graph:
    x = gg.input("x", ("batch", "length", 2), "float64")
    w = gg.parameter("w", (2, 4), dtype="float64")
    y = gg.reshape(x, (-1, 2)) @ w
    tail = gg.slice(x, (slice(None), -1), name="tail")
    loss = gg.add(gg.mean(y), gg.sum(tail), name="loss")
    return gg.derive(Graph({"loss": loss}), "loss")


def test_specialise_puts_integers_everywhere():
    graph = specialise(sized(), {"batch": 3, "length": 5})
    assert free_dimensions(graph) == ()
    text = str(graph)
    assert "batch" not in text and "length" not in text
    assert graph["x"].shape == (3, 5, 2) and graph["tail"].shape == (3, 2)
    assert graph.delta("x").shape == (3, 5, 2)
    assert list(graph.outputs) == ["loss"] and graph.name_of(graph["loss"]) == "loss"


@pytest.mark.parametrize("sizes", [{"batch": 1, "length": 1}, {"batch": 2, "length": 3}], ids=str)
def test_the_specialised_graph_is_the_one_declared_with_integers(sizes):
    x = gg.input("x", (*sizes.values(), 2), "float64")
    value = np.random.default_rng(0).normal(size=x.shape)
    w = np.random.default_rng(1).normal(size=(2, 4))
    graph = specialise(sized(), sizes)
    found = evaluate(graph, {"x": value}, {"w": w})
    loss = (value.reshape(-1, 2) @ w).mean() + value[:, -1].sum()
    np.testing.assert_allclose(found[graph["loss"]], loss)
    delta = np.zeros_like(value) + w.sum(1) / (value.size * 2)
    delta[:, -1] += 1
    np.testing.assert_allclose(found[graph.delta("x")], delta)


def test_sizes_that_are_missing_or_do_not_fit_are_named():
    graph = sized()
    assert free_dimensions(graph) == ("batch", "length")
    with pytest.raises(UnknownNameError, match=r"dimension\(s\) length") as caught:
        specialise(graph, {"batch": 3})
    assert "'batch'" in caught.value.fix and "'length'" in caught.value.fix
    halves = Graph(gg.input("x", "n")[2:])
    with pytest.raises(DeclarationError, match="slice"):
        specialise(halves, {"n": 1})


def test_a_graph_of_integers_stays_as_it_is():
    graph = Graph(gg.tanh(gg.input("x", 3)))
    assert specialise(graph, {}) is graph and specialise(graph, {"n": 3}) is graph


def test_a_dimension_that_only_an_attribute_holds_is_free():
    """extent(n) is a scalar: its shape alone does not tell that it waits for n."""
    from graphgrad.graph.leaves import extent

    graph = Graph({"n": extent("n", "int32")})
    assert free_dimensions(graph) == ("n",)
    known = fold_constants(specialise(graph, {"n": 7}))
    assert known.outputs["n"] is gg.constant(7)


# ---------------------------------------------------------------- decompose

X = gg.input("x", (2, 3), "float64")
TARGETS = gg.input("targets", 2, "int32")
COMPOSITES = {
    "softmax": lambda: gg.softmax(X),
    "log-softmax": lambda: gg.log_softmax(X),
    "standardise": lambda: gg.standardise(X, 0.1),
    "variance": lambda: gg.variance(X, 1),
    "variance, kept": lambda: gg.variance(X, 1, keepdims=True),
    "mean": lambda: gg.mean(X, 1),
    "cross-entropy": lambda: gg.cross_entropy(X, TARGETS),
    "cross-entropy, smoothed": lambda: gg.cross_entropy(X, TARGETS, 0.1, ignored=0),
}


@pytest.mark.parametrize("name", COMPOSITES)
def test_what_is_written_out_has_the_same_value(name):
    graph = Graph({"y": COMPOSITES[name]()})
    after = decompose(graph)
    operation = graph.outputs["y"].operation
    assert operation not in {node.operation for node in after if node.name != "x"}
    feeds = {"x": np.random.default_rng(0).normal(size=(2, 3)) * 4,
             "targets": np.array([0, 2], "int32")}  # fmt: skip
    old, new = (evaluate(g, feeds)[g.outputs["y"]] for g in (graph, after))
    np.testing.assert_allclose(new, old, 1e-12, 1e-14)
    assert decompose(after).nodes == after.nodes


@pytest.mark.parametrize("declare", [gg.softmax, gg.log_softmax], ids=["softmax", "log_softmax"])
def test_masked_rows_written_out_have_no_nan(declare):
    infinite = np.array([[0.0, -np.inf, 1.0], [-np.inf] * 3])
    graph = Graph({"y": declare(X)})
    after = decompose(graph)
    with np.errstate(all="ignore"):
        old, new = (evaluate(g, {"x": infinite})[g.outputs["y"]] for g in (graph, after))
    np.testing.assert_allclose(new, old)
    assert not np.isnan(new).any()


def test_other_axes_stay_whole():
    def stays(node: Node) -> bool:
        return decompose(Graph({"y": node})).outputs["y"] is node

    assert stays(gg.softmax(X, 0)) and stays(gg.mean(X, 0)) and stays(gg.variance(X, (0, 1)))
