"""Attention by its kernels on the processor: formulas in float64, the plain program, who looks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph
from graphgrad.backends import COMPILES
from graphgrad.backends.cupy.attention_cases import STREAM, AttentionCase, exact
from graphgrad.layers import causal_mask
from graphgrad.performance.cost import flops_of
from graphgrad.performance.line_profile import profile
from graphgrad.philox import fill_dropout_mask

pytestmark = pytest.mark.skipif(not COMPILES, reason="kernels need LLVM")

PLAIN = [(1, 1), (2, 3), (17, 31), (32, 32), (33, 256), (64, 257), (5, 523)]
CASES = [
    *(AttentionCase((2,), queries, keys, 8, 5) for queries, keys in PLAIN),
    AttentionCase((2, 2), 35, 530, 8, 16, mask="all", causal=True, rate=0.2),
    AttentionCase((2, 2), 40, 48, 24, 7, mask="keys", rate=0.3),
    AttentionCase((3,), 70, 70, 33, 64, causal=True),
]


def compiled(graph: Graph, **options: Any) -> gg.Compiled:
    return gg.compile(graph, fuse=True, smallest_attention=1, **options)


def kernels_of(run: gg.Compiled) -> list[str]:
    return [text for text in run.program().kernels.values() if "attention_" in text]


def close(found: Any, wanted: Any, size: Any) -> None:
    """Float32 adds up terms of this size; what is not finite is where it should be."""
    assert (abs(found - wanted) <= 3e-6 * size + 1e-6).all(), abs(found - wanted).max()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_deltas_are_those_of_the_formulas(case):
    graph = case.graph()
    feeds, run = case.feeds(graph), compiled(graph)
    found = run(**feeds)
    assert len(kernels_of(run)) == 2 and "scratch" not in run.source
    for name, (wanted, size) in exact(case, feeds).items():
        close(found[name], wanted, size + abs(wanted))
    if case.mask == "all":
        assert not found["o"][..., 0, :].any(), "the first query sees no key"


def test_lengths_and_batches_share_the_code():
    texts = set()
    for queries, keys in PLAIN:
        texts.update(kernels_of(compiled(AttentionCase((2,), queries, keys, 8, 5).graph())))
    assert len(texts) == 2


@pytest.mark.parametrize("keys", [530, 48], ids=["any number of keys", "a multiple of four"])
def test_dropout_keeps_the_weights_of_its_stream(keys):
    """Values that are one-hot show the weights: 0 exactly where the mask of the reference is 0."""
    case = next(each for each in CASES if each.keys == keys)
    features = case.value_width
    graph, expected = case.graph(), np.empty((*case.heads, case.queries, keys), "f4")
    feeds = case.feeds(graph)
    fill_dropout_mask(expected, int(feeds["seed"]), int(feeds["step"]), STREAM, case.rate)
    run, feeds["mask"] = compiled(graph), np.ones_like(feeds["mask"])
    first = min(keys, case.queries) - features
    feeds["v"] = np.zeros_like(feeds["v"])
    feeds["v"][..., first : first + features, :] = np.eye(features)
    seen = slice(first + features - 1, None)  # all of these queries see these keys
    found = run(**feeds)["o"][..., seen, :] != 0
    wanted = expected[..., seen, first : first + features] != 0
    assert np.array_equal(found, wanted) and 0.5 < found.mean() < 0.95


def test_its_operations_are_counted_as_those_of_the_plain_program():
    graph = layer()
    one, many = (compiled(graph, without=each).program().graph for each in ((), "join_attention"))
    assert sum(map(flops_of, one.nodes)) == sum(map(flops_of, many.nodes)) > 0
    program = compiled(graph).program()
    feeds = {"x": np.ones((2, 70, 64), "f4")}
    rates = [each for each in profile(program, {}, lambda step: feeds, 1).lines if each.flops]
    assert len(rates) == 2 and sum(each.flops for each in rates) == sum(map(flops_of, one.nodes))


def test_one_thread_and_many_compute_the_same_bits(monkeypatch):
    monkeypatch.setattr("graphgrad.backends.numpy.call_table.ATTENTION_SHARED_FROM", 1)
    case, results = CASES[-3], []
    graph = case.graph()
    for threads in (1, 2, 5):
        monkeypatch.setattr("graphgrad.backends.numpy.backend.usable_cores", lambda n=threads: n)
        results.append(compiled(graph)(**case.feeds(graph)))
    for other in results[1:]:
        assert all(np.array_equal(results[0][name], other[name]) for name in other)


def layer(queries: int = 70, width: int = 64, dtype: str = "float32", groups: int = 2) -> Graph:
    """Causal attention of four heads, two of which share keys and values, made of projections whose
    heads lie side by side; its loss and deltas."""
    x = gg.input("x", (2, queries, width), dtype)
    size = width // 4
    q, k, v = (
        gg.transpose(gg.reshape(x * s, (2, queries, 4, size)), (0, 2, 1, 3)) for s in (1, 2, 3)
    )
    if groups > 1:
        k = gg.concatenate([k[:, :2], k[:, :2]], 1)
    with gg.scope("self"):
        o = gg.layers.attention(q, k, v, causal_mask(queries))
    o = gg.reshape(gg.transpose(o, (0, 2, 1, 3)), (2, queries, width))
    graph = gg.derive(Graph({"loss": gg.sum(gg.tanh(o))}), "loss", [x])
    return graph.with_outputs({"loss": graph["loss"], "dx": graph.delta("x")})


def test_heads_are_read_and_written_where_they_are():
    graph = layer()
    feeds = {"x": np.random.default_rng(1).normal(size=(2, 70, 64)).astype("f4")}
    run, plain = compiled(graph), compiled(graph, without="join_attention")
    found, wanted = run(**feeds), plain(**feeds)
    for name in found:
        np.testing.assert_allclose(found[name], wanted[name], 1e-4, 1e-5)
    assert len(kernels_of(run)) == 2 and not kernels_of(plain)
    scores = 2 * 4 * 70 * 70 * 4
    assert run.program().plan.arena_bytes < plain.program().plan.arena_bytes - scores


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 3, 2), (1, 69, 63)])
def test_what_is_not_finite_goes_where_it_goes_in_the_plain_program(number, place):
    """But for later keys that a whole block of queries does not read: the plain program multiplies
    their weights, which are 0, with what is not finite."""
    graph = layer()
    x = np.random.default_rng(1).normal(size=(2, 70, 64)).astype("f4")
    x[place] = number
    with np.errstate(all="ignore"):
        found, wanted = compiled(graph)(x=x), compiled(graph, without="join_attention")(x=x)
    for name in found:
        spoilt = np.isnan(found[name])
        assert spoilt.any() == np.isnan(wanted[name]).any()
        if place[1] < 32:
            assert np.array_equal(spoilt, np.isnan(wanted[name])), name
        same = ~np.isnan(wanted[name])
        np.testing.assert_allclose(found[name][same], wanted[name][same], 1e-4, 1e-5)


@pytest.mark.parametrize("wanted", ["self.scores", "self.weights", "self.scores.delta"])
def test_who_asks_for_a_part_by_name_gets_it(wanted):
    graph = layer()
    feeds = {"x": np.random.default_rng(1).normal(size=(2, 70, 64)).astype("f4")}
    run = gg.compile(graph, fetch=wanted, fuse=True)
    assert not kernels_of(run) and kernels_of(gg.compile(graph, fuse=True))
    found = run(**feeds)
    assert found[wanted].shape == (2, 4, 70, 70) and found[wanted].any()
    np.testing.assert_allclose(found["dx"], gg.compile(graph)(**feeds)["dx"], 1e-4, 1e-5)


def test_what_has_no_kernel_or_is_faster_without_stays_as_it_is():
    assert not kernels_of(gg.compile(layer(dtype="float64"), fuse=True))
    assert not kernels_of(gg.compile(layer(), fuse=True, without="join_attention"))
    assert not kernels_of(gg.compile(layer(queries=7), fuse=True)), "few queries"
    assert not kernels_of(gg.compile(layer(), fuse=True, precision="bf16"))


def test_features_that_lie_apart_are_computed_as_the_operations_say():
    q, k, v = (gg.input(name, (4, 40)) for name in "qkv")
    o = gg.dot_product_attention(*(gg.transpose(each, (1, 0)) for each in (q, k, v)))
    run = compiled(Graph({"o": o}))
    feeds = {n: np.random.default_rng(3).normal(size=(4, 40)).astype("f4") for n in "qkv"}
    assert not kernels_of(run) and "op.dot_product_attention(" in run.source
    np.testing.assert_allclose(run(**feeds)["o"], gg.compile(run.graph)(**feeds)["o"], 1e-5, 1e-6)


def test_the_text_of_a_kernel_says_what_it_computes():
    run = compiled(AttentionCase((3,), 70, 70, 33, 64, causal=True).graph())
    values, deltas = kernels_of(run)
    assert values.splitlines()[2].strip().startswith("form = (33, 64, float32(0.17407765595569785)")
    assert "attention_values(first, last, given, form, drawn, (True, True))" in values
    assert "attention_deltas(first, last, given, form, drawn, (True, True, True))" in deltas
