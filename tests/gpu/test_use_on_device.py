"""Evaluation, decoding, recording and fitting on a device that is this processor."""

from __future__ import annotations

import numpy as np
import pytest
from cpu_device import needs_compiler
from decoded import Plain, settings_of
from device_steps import feeds_of, initial, step_of

import graphgrad as gg
from graphgrad.backends import read_only
from graphgrad.decoding import Decoder, Options, Sentence
from graphgrad.figures.recording import RECORDED_FIGURES, Recorder
from graphgrad.figures.summary import SUMMARY

pytestmark = needs_compiler


def test_figures_of_values_are_measured_by_kernels(device):
    """Of many parts, views, dtypes, and numbers that are not finite."""
    generator = np.random.default_rng(0)
    big = generator.normal(3, 1e-3, (70_000, 2)).astype("f4")
    big[5, 1] = 0
    odd = np.array([np.nan, np.inf, 1, 0, -2, -np.inf, 7], "f4")
    feeds = {
        "big": big,
        "odd": odd,
        "none": np.array([np.nan, np.inf]),
        "whole": np.arange(-3, 9, dtype=np.int32),
        "truth": np.array([True, False, True]),
        "wide": generator.normal(1e3, 1, (33, 5)),
        "huge": generator.normal(-1, 1, 40_000) * 1e300,
        "tiny": generator.normal(-1, 1, 700) * 1e-250,
        "uneven": np.array([1e-300, 3e200, np.inf, 0, -4e200, 1]),
    }
    nodes = {name: gg.input(name, value.shape, str(value.dtype)) for name, value in feeds.items()}
    nodes["turned"] = gg.transpose(nodes["wide"] * 1.0)
    graph = gg.Graph({"figures": SUMMARY(*nodes.values())})
    found = gg.compile(graph, backend="cupy")(**feeds)["figures"]
    wanted = gg.compile(graph)(**feeds)["figures"]
    np.testing.assert_allclose(found, wanted, 1e-6, 1e-12)


def test_a_recorded_step_on_the_device_has_the_figures_of_the_processor(device):
    graph = step_of("transformer", "float64")
    plain, placed = initial(graph), gg.compile(graph, backend="cupy").on_device(initial(graph))
    on_cpu, on_device = Recorder(graph), Recorder(graph, fuse=True, backend="cupy")
    assert on_cpu.names == on_device.names
    for step in range(3):
        feeds = feeds_of("transformer", step)
        (results, figures), (found, measured) = (
            on_cpu.run(plain, feeds),
            on_device.run(placed, feeds),
        )
        np.testing.assert_allclose(found["loss"], results["loss"], 1e-9)
        # a delta that is 0 but for rounding is another 0 here than there, and so is its update
        rows = {name: row for row, name in enumerate(on_cpu.names)}
        norm = RECORDED_FIGURES.index("norm")
        noise = [d for d, name in on_cpu.deltas.items() if figures[rows[d], norm] < 1e-12]
        left_out = [rows[name] for d in noise for name in (d, on_cpu.deltas[d])]
        assert len(noise) < 20
        measured[left_out] = figures[left_out]
        np.testing.assert_allclose(measured, figures, 1e-6, 1e-9)
    assert device.captures == 1
    for name, value in plain.items():
        np.testing.assert_allclose(placed[name], value, 1e-9, 1e-9)


@pytest.mark.parametrize("options", [Options(scores=True), Options(beam=3, n_best=2)])
def test_decoding_on_the_device_is_that_of_the_processor(device, options):
    """Keys, values and what was encoded stay there, through growth and through smaller batches."""
    model = Plain(settings_of(layers=1), seed=5, spread=1.0)
    sentences = [
        Sentence([1], 30 if number == 7 else 5, list(range(4, 4 + number % 5 + 1)), number)
        for number in range(11)
    ]
    wanted = Decoder(model.decodable, rows=4)(model.state, sentences, options)
    found = Decoder(model.decodable, rows=4, backend="cupy")(model.state, sentences, options)
    for ours, theirs in zip(found, wanted, strict=True):
        assert [each.tokens for each in ours] == [each.tokens for each in theirs]
        np.testing.assert_allclose(
            [each.score for each in ours], [each.score for each in theirs], 1e-6
        )


def line() -> gg.Graph:
    x, y = gg.input("x", ("batch", 1)), gg.input("y", ("batch", 1))
    loss = gg.mean((gg.layers.dense(x, 1, "line") - y) ** 2.0, name="loss")
    return gg.sgd(gg.Graph(loss), 0.1)


DATA = {"x": np.linspace(0, 1, 10)[:, None], "y": np.linspace(1, 3, 10)[:, None]}


def test_fit_trains_on_the_device_and_gives_back_a_state_of_arrays(device):
    seen: list[dict[str, float]] = []
    fits = [
        gg.fit(line(), DATA, epochs=4, batch_size=3, report=lambda n, f: seen.append(f), backend=b)
        for b in ("numpy", "cupy")
    ]
    for name, value in fits[0].items():
        assert type(fits[1][name]) is np.ndarray and fits[1][name].flags.writeable
        np.testing.assert_allclose(fits[1][name], value, 1e-5)
    np.testing.assert_allclose([f["loss"] for f in seen[4:]], [f["loss"] for f in seen[:4]], 1e-5)


def test_what_fit_has_learned_is_given_back_where_a_step_fails(device):
    broken = {**DATA, "y": DATA["y"].copy()}
    broken["y"][:] = np.nan
    state = gg.fit(line(), DATA, backend="cupy")
    before = {name: value.copy() for name, value in state.items()}
    with pytest.raises(gg.NonFiniteError):
        gg.fit(line(), broken, state=state, backend="cupy")
    for name, value in before.items():
        assert state[name].tobytes() == value.tobytes()


def test_a_state_that_is_only_read_cannot_be_trained(device):
    graph = line()
    compiled = gg.compile(graph, backend="cupy")
    state = read_only(compiled.on_device(gg.initial_state(graph)))
    with pytest.raises(gg.DeclarationError, match="cannot be written to"):
        compiled(state, **DATA)
    evaluation = graph.with_outputs(graph.outputs, {})
    loss = gg.compile(evaluation, backend="cupy")(state, **DATA)["loss"]
    assert loss == pytest.approx(float(gg.compile(evaluation)(state, **DATA)["loss"]), rel=1e-5)
