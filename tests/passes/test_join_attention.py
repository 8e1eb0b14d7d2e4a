"""Joining attention: nobody looks, so the scores need not exist; somebody does, so they stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph, Node
from graphgrad.layers import causal_mask, padding_mask
from graphgrad.models import gpt
from graphgrad.ops.evaluate import evaluate
from graphgrad.passes import (
    PASSES,
    SPECIALISED_PASSES,
    join_attention,
    join_attention_from,
    optimise,
    prune,
    specialise,
)

IDS = np.array([[5, 6, 7, 0, 0], [0, 0, 0, 0, 0]], np.int32)
"""A sentence with padding, and one of padding alone: its queries see no key."""
GENERATOR = np.random.default_rng(4)
FEEDS: dict[str, Any] = {
    "ids": IDS,
    "seed": 7,
    "step": 3,
    **{name: GENERATOR.normal(size=(2, 3, 5, 4)) for name in ("q", "k", "v", "goal")},
}


@dataclass(frozen=True)
class Case:
    mask: str = ""
    rate: float = 0.0
    scaled: bool = True

    def mask_node(self) -> Node | None:
        ids = gg.input("ids", (2, 5), "int32")
        causal, padding = causal_mask(5), padding_mask(ids)
        both = gg.logical_and(padding, causal)
        return {"causal": causal, "padding": padding, "both": both, "turned": causal & padding}.get(
            self.mask
        )

    def graph(self, **options: Any) -> Graph:
        """Attention, its loss and the deltas of all that it reads."""
        query, key, value = (gg.input(name, (2, 3, 5, 4), "float64") for name in "qkv")
        values = attention(query, key, value, self.mask_node(), self.rate, self.scaled)
        goal = gg.input("goal", values.shape, "float64")
        graph = gg.derive(Graph({"loss": gg.sum(values * goal)}), "loss", [query, key, value])
        deltas = {f"d{name}": graph.delta(name) for name in options.get("wanted", "qkv")}
        looked = {name: graph[name] for name in options.get("looked", ())}
        return graph.with_outputs({"loss": graph["loss"], "values": values, **deltas, **looked})

    def feeds(self, graph: Graph) -> dict[str, Any]:
        return {name: FEEDS[name] for name in graph.inputs}


def attention(
    query: Node, key: Node, value: Node, mask: Node | None, rate: float, scaled: bool
) -> Node:
    """`layers.attention` with dropout of the weights."""
    scores = gg.matmul(query, key, transpose_b=True)
    if scaled:
        scores = gg.multiply(scores, 0.3, name="scores")
    if mask is not None:
        scores = gg.where(mask, scores, -np.inf, name="masked")
    weights = gg.softmax(scores, name="weights")
    if rate:
        seed, step = (gg.input(name, (), "int64") for name in ("seed", "step"))
        drawn = gg.dropout_mask(seed, step, weights.shape, rate, stream=2, dtype="float64")
        weights = gg.multiply(weights, drawn, name="dropped")
    return gg.matmul(weights, value, name="values")


def specialised(graph: Graph, **sizes: int) -> Graph:
    """The graph as the pass gets it."""
    first, _ = optimise(graph, PASSES)
    return optimise(specialise(first, sizes), SPECIALISED_PASSES)[0]


def counted(graph: Graph) -> Mapping[str, int]:
    names = [node.operation.name for node in graph.nodes]
    return {name: names.count(name) for name in names if "attention" in name or name == "softmax"}


JOINED = {"dot_product_attention": 1, "attention_statistics": 1, "attention_delta": 3}
CASES = [
    Case(mask, rate, scaled)
    for mask in ("", "causal", "padding", "both", "turned")
    for rate in (0.0, 0.4)
    for scaled in (True, False)
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_form_is_joined_and_keeps_its_values(case):
    graph = specialised(case.graph())
    joined = prune(join_attention(graph))
    assert counted(joined) == JOINED
    assert all(node.shape[-2:] != (5, 5) for node in joined.nodes if node.type.is_float)
    feeds = case.feeds(graph)
    before, after = evaluate(graph, feeds), evaluate(joined, feeds)
    for name, node in graph.outputs.items():
        found = after[joined.outputs[name]]
        np.testing.assert_allclose(found, before[node], 1e-12, 1e-13, err_msg=name)
    if case.mask in ("padding", "both", "turned"):
        assert not before[graph["values"]][1].any(), "these queries see no key"


@pytest.mark.parametrize("mask", ["causal", "both", "turned", "padding"])
def test_a_mask_that_hides_later_keys_is_not_read(mask):
    graph = prune(join_attention(specialised(Case(mask).graph())))
    (values,) = [n for n in graph.nodes if n.operation is gg.dot_product_attention]
    assert values.attributes["causal"] == (mask != "padding")
    assert len(values.heads) == (3 if mask == "causal" else 4)
    if mask != "causal":
        assert values.heads[3].shape == (2, 1, 1, 5)


@pytest.mark.parametrize(
    "looked", ["scores", "masked", "weights", "dropped", "weights.delta", "scores.delta"]
)
def test_who_looks_at_a_part_keeps_the_composed_form(looked):
    graph = specialised(Case("both", 0.4).graph(looked=[looked]))
    assert join_attention(graph) is graph


@pytest.mark.parametrize("wanted", ["q", "k", "v", "qv", ""])
def test_deltas_that_nobody_wants_are_not_declared(wanted):
    graph = specialised(Case("causal", 0.4).graph(wanted=wanted))
    joined = prune(join_attention(graph))
    assert counted(joined).get("attention_delta", 0) == len(wanted)
    feeds = {name: FEEDS[name] for name in graph.inputs}
    before, after = evaluate(graph, feeds), evaluate(joined, feeds)
    for name, node in graph.outputs.items():
        np.testing.assert_allclose(after[joined.outputs[name]], before[node], 1e-12, 1e-13)


def test_two_losses_send_deltas_through_one_attention():
    case = Case("causal")
    first = case.graph()
    other = gg.derive(
        first.with_outputs({"other": gg.sum(gg.tanh(first["values"]))}), "other", "q", label="again"
    )
    outputs = {**first.outputs, "other": other["other"], "sent": other.delta("q", "again")}
    graph = specialised(other.with_outputs(outputs))
    joined = prune(join_attention(graph))
    assert counted(joined) == JOINED | {"attention_delta": 4}
    feeds = case.feeds(graph)
    found = evaluate(joined, feeds)[joined.outputs["sent"]]
    np.testing.assert_allclose(found, evaluate(graph, feeds)[graph.outputs["sent"]], 1e-12, 1e-13)


def test_deltas_of_deltas_keep_the_composed_form():
    graph = Case("causal").graph()
    again = gg.derive(
        graph.with_outputs({"n": gg.sum(graph.delta("q") ** 2.0)}), "n", "k", label="again"
    )
    before = specialised(again.with_outputs({"twice": again.delta("k", "again")}))
    assert join_attention(before) is before


def different(what: str) -> Graph:
    query, key, value = (gg.input(name, (2, 3, 5, 4)) for name in "qkv")
    if what == "wide":
        query, key, value = (gg.input(name, (5, 257)) for name in "qkv")
    if what == "broadcast":
        key = gg.input("k", (2, 1, 5, 4))
    scores = gg.matmul(query, key, transpose_b=True)
    if what == "biased":
        scores = scores + gg.input("bias", (5, 5))
    if what == "filled":
        scores = gg.where(causal_mask(5), scores, -1e9)
    weights = gg.softmax(scores, axis=1 if what == "axis" else -1)
    if what == "weighted":
        weights = weights * gg.input("weight", (5, 5))
    return Graph({"o": gg.matmul(weights, value, transpose_a=what == "turned")})


@pytest.mark.parametrize(
    "what", ["wide", "broadcast", "biased", "filled", "axis", "weighted", "turned"]
)
def test_what_is_no_attention_of_ours_stays(what):
    graph = specialised(different(what))
    assert join_attention(graph) is graph


def test_small_attention_stays_where_kernels_pay_from_a_size_on():
    graph = specialised(Case().graph())
    assert join_attention_from(26)(graph) is graph
    assert counted(prune(join_attention_from(25)(graph))) == JOINED
    assert join_attention_from(25).__name__ == join_attention.__name__


def test_the_options_say_from_which_size_on():
    graph = Case("causal", 0.2).graph()
    feeds, found = Case().feeds(graph), {}
    for smallest in (None, 25, 26):
        run = gg.compile(graph, fuse=True, smallest_kernel=1, smallest_attention=smallest)
        found[smallest] = run(**feeds)
        assert ("attention_delta" in run.source) == (smallest == 25)
    for name, value in found[None].items():
        np.testing.assert_allclose(found[25][name], value, 1e-10, 1e-12)
    left = gg.compile(graph, fuse=True, smallest_attention=25, without="join_attention")
    assert "attention_delta" not in left.source


def test_debug_compares_values_before_and_after():
    graph = Case("both", 0.4).graph()
    run = gg.compile(graph, fuse=True, smallest_attention=1, debug=Case().feeds(graph))
    assert "attention_delta" in run.source


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_not_finite_goes_where_it_went(number):
    """A score that is not finite spoils its query, and what that sends back, as before."""
    graph = specialised(Case("causal").graph())
    joined = prune(join_attention(graph))
    feeds = Case().feeds(graph)
    feeds["k"] = feeds["k"].copy()
    feeds["k"][0, 1, 2, 0] = number
    with np.errstate(all="ignore"):
        before, after = evaluate(graph, feeds), evaluate(joined, feeds)
    for name, node in graph.outputs.items():
        np.testing.assert_allclose(after[joined.outputs[name]], before[node], 1e-12, 1e-13)
    assert np.isnan(before[graph.outputs["values"]]).any()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_rounds_what_attention_reads(precision):
    """Matrices are rounded as for products; statistics stay float32, and results stay close."""
    query, key, value = (gg.input(name, (2, 3, 5, 4)) for name in "qkv")
    values = gg.layers.attention(query, key, value, causal_mask(5))
    graph = gg.derive(Graph({"loss": gg.sum(gg.tanh(values))}), "loss", [query, key, value])
    outputs = {"loss": graph["loss"], **{f"d{name}": graph.delta(name) for name in "qkv"}}
    graph = graph.with_outputs(outputs)
    feeds = {name: FEEDS[name].astype("f4") for name in "qkv"}
    exact = gg.compile(graph)(**feeds)
    run = gg.compile(graph, fuse=True, smallest_attention=1, precision=precision)
    found, rounded = run(**feeds), run.program().graph
    half = {"bf16": "bfloat16", "fp16": "float16"}[precision]
    dtypes = {node.operation.name: str(node.dtype) for node in rounded if node.heads}
    assert dtypes["dot_product_attention"] == dtypes["attention_delta"] == half
    assert dtypes["attention_statistics"] == "float32"
    assert len([node for node in rounded if str(node.dtype) == half and "cast" in str(node)]) == 4
    for name, wanted in exact.items():
        assert found[name].dtype == wanted.dtype
        np.testing.assert_allclose(found[name], wanted, 0.05, 0.05, err_msg=name)


def test_to_look_into_one_layer_leaves_the_others_joined():
    """As `inspect --node "*.0.attention.scores*"` does, in the training step of a model."""
    settings = gpt.Settings(layers=2, width=8, heads=2, context=6)
    graph = gg.sgd(gpt.training_graph(settings, vocabulary=9), 0.1)
    ids = np.arange(12, dtype=np.int32).reshape(2, 6) % 9
    wanted = [n for n in graph.names if "0.attention.scores" in n and "<-" not in n]
    wanted = [name for name in wanted if name.endswith(("scores", "scores.delta"))]
    assert len(wanted) == 2
    found = {}
    for smallest in (None, 1):
        run = gg.compile(graph, fetch=wanted, fuse=True, smallest_attention=smallest)
        state = gg.initial_state(graph)
        found[smallest] = run(state, ids=ids, following=ids), state
    operations = counted(run.program(batch=2, position=6).graph)
    assert operations == JOINED  # one layer of two
    for before, after in zip(found[None], found[1], strict=True):
        for name, value in before.items():
            np.testing.assert_allclose(after[name], value, 2e-5, 2e-6, err_msg=name)
