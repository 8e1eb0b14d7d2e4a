"""Figures of values at each index of an axis: recorded in training, and of one batch."""

import numpy as np
import pytest

from graphgrad.backprop import derive
from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.figures.array_figures import figures_of
from graphgrad.figures.evaluation import values_in_order
from graphgrad.figures.node_report import inspect_values
from graphgrad.figures.recording import RECORDED_FIGURES, Recorder, recorded_names
from graphgrad.graph import initial_state
from graphgrad.models import transformer
from graphgrad.passes import sizes_of, specialise
from graphgrad.training.optimisers import training_step


def test_a_value_is_recorded_at_each_index_of_an_axis():
    settings = transformer.Settings(**{**transformer.CHECK, "dropout": 0.0})
    graph = training_step(transformer.training_graph(settings, 9, 9), settings)
    patterns = ("*.scores", "*.weights")
    recorder = Recorder(graph, patterns, by="head")
    assert len(recorder.names) == 3 * 2 * 2 * 2  # attentions, scores and weights, δ too, heads
    rng = np.random.default_rng(0)
    feeds = {
        name: rng.integers(4, 9, (2, {"source": 5}.get(name, 4))).astype(np.int32)
        for name in graph.inputs
    }
    state = initial_state(graph, 0)
    values = reference_values(graph, feeds, {name: value.copy() for name, value in state.items()})
    _, figures = recorder.run(state, feeds)
    for name, row in zip(recorder.names, figures, strict=True):
        whole, _, head = name[:-1].partition("[head=")
        expected = values[whole][:, int(head)].astype(np.float64)
        assert row[RECORDED_FIGURES.index("norm")] == pytest.approx(
            np.sqrt((expected**2).sum()), rel=1e-5
        )
        assert row[RECORDED_FIGURES.index("zeros")] == (expected == 0).mean()
    assert recorder.deltas["decoder.0.attention.scores.delta[head=1]"] == (
        "decoder.0.attention.scores[head=1]"
    )


def reference_values(graph, feeds, state):
    """The value of every node by name, node by node, without passes."""
    known = specialise(graph, sizes_of(graph, feeds))
    return {
        name: np.array(value)
        for node, value in values_in_order(known, feeds, state)
        for name in known.names_of(node)
    }


def test_an_axis_that_cannot_be_recorded_is_refused():
    settings = transformer.Settings(**transformer.CHECK)
    graph = training_step(transformer.training_graph(settings, 9, 9), settings)
    with pytest.raises(UnknownNameError, match="no chosen node has an axis 'heads'"):
        recorded_names(graph, ["*.scores"], "heads")
    with pytest.raises(DeclarationError, match="differs from batch to batch"):
        recorded_names(graph, ["*.scores"], "query")


def test_a_batch_is_reported_at_each_index_of_an_axis():
    graph = derive(
        transformer.training_graph(transformer.Settings(**transformer.CHECK), 9, 9), "loss"
    )
    feeds = {name: np.full((2, 4), 5, np.int32) for name in graph.inputs}
    state = initial_state(graph, 0)
    values = reference_values(graph, feeds, state)
    reports = inspect_values(graph, feeds, state, ["*.scores", "loss"], by="query")
    assert [report.name for report in reports if "encoder" in report.name] == [
        f"encoder.0.attention.scores[query={n}]" for n in range(4)
    ]
    assert reports[-1].name == "loss"
    for report in reports[:-1]:
        whole, _, query = report.name[:-1].partition("[query=")
        expected = figures_of(values[whole][:, :, int(query)])
        assert report.value.norm == pytest.approx(expected.norm, rel=1e-5)
        assert report.delta.shape == (2, 2, 4)
        assert report.delta_name == f"{whole}.delta[query={query}]"
    with pytest.raises(UnknownNameError, match="no chosen node has an axis 'heads'"):
        inspect_values(graph, feeds, state, ["*.scores"], by="heads")
