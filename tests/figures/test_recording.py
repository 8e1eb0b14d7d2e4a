"""Recording in a training step: exact figures, and a run that is equal to one without recording."""

import io
from functools import partial

import numpy as np
import pytest

from graphgrad.backprop import derive
from graphgrad.compile import compile
from graphgrad.errors import UnknownNameError
from graphgrad.figures.array_figures import FIGURES
from graphgrad.figures.node_report import inspect_values
from graphgrad.figures.recording import RECORDED_FIGURES, UPDATE_RATIO, Recorder, recorded_names
from graphgrad.graph import Graph, constant, initial_state, input, normal, parameter, scope
from graphgrad.models import BUILTIN
from graphgrad.ops import broadcast_to, matmul, mean, multiply, relu, reshape, transpose
from graphgrad.reports.history import read_history
from graphgrad.training.checkpoint import load_checkpoint
from graphgrad.training.optimisers import training_step
from graphgrad.training.progress import Progress
from graphgrad.training.runs import create_run, first_state, open_run
from graphgrad.training.settings import TrainingSettings, with_values
from graphgrad.training.task import load_model
from graphgrad.training.trainer import train

QUIET = partial(Progress, 12, stream=io.StringIO())
SMALL = {"steps": 12, "checkpoint_every": 4, "evaluate_every": 100, "warmup": 3}
OPTIMISERS = [
    {"optimiser": "sgd"},
    {"optimiser": "momentum"},
    {"optimiser": "adam"},
    {"optimiser": "adamw", "weight_decay": 0.1},
]


def small(name, **values):
    model = load_model(name, BUILTIN)
    return model, with_values(model.settings, {**model.check, **SMALL, **values})


def figures_of(report):
    for name, found in ((report.name, report.value), (f"{report.name}.delta", report.delta)):
        if found is not None:
            values = [getattr(found, figure) for figure in FIGURES]
            size = found.norm / max(np.prod(found.shape), 1) ** 0.5
            yield name, np.array([np.nan if v is None else v for v in values]), size


@pytest.mark.parametrize(
    "name, dtype, fuse",
    [
        ("transformer", "float32", False),
        ("transformer", "float32", True),
        ("feedforward", "float64", False),
        ("feedforward", "float64", True),
    ],
)
def test_figures_are_those_of_the_replayed_batch(name, dtype, fuse):
    model, settings = small(name, dtype=dtype)
    task = model.task(settings, {})
    state = first_state(task, settings)
    recorder = Recorder(training_step(task.graph, settings), fuse=fuse)
    for step in range(1 if name == "transformer" else 2):
        feeds = task.feeds(step)
        before = {key: array.copy() for key, array in state.items()}
        _, values = recorder.run(state, feeds)
        reports = inspect_values(derive(task.graph, task.graph.outputs["loss"]), feeds, before)
        wanted = {
            name: (figures, size)
            for report in reports
            for name, figures, size in figures_of(report)
        }
        # deltas that no parameter needs, those of inputs say, do not exist in a step
        assert len(set(recorder.names) & set(wanted)) > 0.85 * len(wanted)
        rounding, noise = (1e-5, 1e-8) if dtype == "float32" else (1e-12, 1e-17)
        for name_, found in zip(recorder.names, values[:, : len(FIGURES)], strict=True):
            figures, size = wanted[name_]
            close = partial(np.testing.assert_allclose, rtol=rounding, err_msg=name_)
            # kernels that fuse round otherwise: a delta that is 0 but for rounding is other noise
            close(found[:5], figures[:5], atol=rounding * size + noise * fuse)
            close(found[5:], figures[5:], atol=0.05 * fuse)


def test_a_parameter_that_is_zero_has_no_ratio():
    x, w = input("x", ("batch", 4)), parameter("w", (4, 1))
    apart = matmul(x, w) - 1.0
    graph = training_step(Graph({"loss": mean(multiply(apart, apart))}), TrainingSettings())
    recorder, state = Recorder(graph), initial_state(graph)
    place = recorder.names.index("w")
    ratios = [
        recorder.run(state, {"x": np.ones((2, 4), np.float32)})[1][place, -1] for _ in range(2)
    ]
    assert np.isnan(ratios[0]) and ratios[1] > 0


@pytest.mark.parametrize("values", OPTIMISERS, ids=lambda values: values["optimiser"])
def test_the_update_ratio_is_how_far_a_parameter_moves(values):
    model, settings = small("feedforward", dtype="float64", **values)
    task = model.task(settings, {})
    state = first_state(task, settings)
    recorder = Recorder(training_step(task.graph, settings))
    for step in range(3):
        before = {key: array.copy() for key, array in state.items()}
        _, found = recorder.run(state, task.feeds(step))
        ratios = dict(
            zip(recorder.names, found[:, RECORDED_FIGURES.index(UPDATE_RATIO)], strict=True)
        )
        for name in task.graph.parameters:
            norm = np.linalg.norm(before[name])
            moved = np.linalg.norm(state[name] - before[name])
            np.testing.assert_allclose(ratios.pop(name), moved / norm if norm else np.nan, 1e-9)
        assert np.isnan(list(ratios.values())).all()


@pytest.mark.usefixtures("small_kernels")
@pytest.mark.parametrize("name", ["feedforward", "transformer"])
def test_a_recording_step_that_fuses_computes_what_the_fused_one_does(name):
    pytest.importorskip("llvmlite", reason="fused kernels are compiled by LLVM")
    model, settings = small(name)
    task = model.task(settings, {})
    graph = training_step(task.graph, settings)
    plain = compile(graph, guards=("loss", "gradient_norm"), fuse=True)
    recorder = Recorder(graph, fuse=True)
    one, other = first_state(task, settings), first_state(task, settings)
    for step in range(3):
        plain(one, **task.feeds(step))
        recorder.run(other, task.feeds(step))
    assert any(
        not np.array_equal(array, first_state(task, settings)[key]) for key, array in one.items()
    )
    for key, array in one.items():
        if name == "feedforward":
            assert np.array_equal(array, other[key]), key
        elif ".key.b" not in key:
            # a recording keeps the scores of attention, which is one kernel where nobody looks at
            # them; the gradient of the bias of keys is 0, so that Adam follows its rounding alone
            np.testing.assert_allclose(array, other[key], 1e-3, 1e-4, err_msg=key)


@pytest.mark.parametrize(
    "name, values",
    [("transformer", OPTIMISERS[2]), *(("feedforward", values) for values in OPTIMISERS)],
    ids=lambda value: value if isinstance(value, str) else value["optimiser"],
)
def test_the_recording_step_computes_what_the_plain_one_does(name, values):
    model, settings = small(name, **values)
    task = model.task(settings, {})
    graph = training_step(task.graph, settings)
    plain = compile(graph, guards=("loss", "gradient_norm"))
    recorder = Recorder(graph)
    one, other = first_state(task, settings), first_state(task, settings)
    for step in range(3):
        first, (second, _) = plain(one, **task.feeds(step)), recorder.run(other, task.feeds(step))
        assert first.keys() == second.keys()
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def small_graph():
    x = input("x", ("batch", 4))
    with scope("net"):
        w = parameter("w", (4, 4), normal(0.5))
        y = relu(matmul(x, w), name="y")
        turned = transpose(y, (1, 0), name="turned")
        flat = reshape(turned, (-1,), name="flat")
        wide = broadcast_to(y, (3, "batch", 4), name="wide")
        loss = mean(multiply(wide, wide)) + mean(flat) + 0 * constant(1.0)
    return training_step(Graph({"loss": loss}), TrainingSettings())


def test_the_same_elements_are_measured_once():
    recorder = Recorder(small_graph())
    recording = recorder.recording
    rows = dict(zip(recorder.names, recording.rows.tolist(), strict=True))
    assert rows["net.y"] == rows["net.turned"] == rows["net.flat"] != rows["net.wide"]
    assert len(set(rows.values())) < len(rows)


def test_a_value_is_measured_right_behind_where_it_is_computed():
    recorder = Recorder(small_graph())
    nodes = recorder.recording.graph.nodes
    names = [node.operation.name for node in nodes]
    place = names.index("relu")
    assert names[place + 1] == "summary" and nodes[place + 1].heads == (nodes[place],)


def test_patterns_choose_nodes_with_their_deltas():
    graph = small_graph()
    assert recorded_names(graph, ["net.w"]) == {"net.w": "net.w", "net.w.delta": "net.w"}
    assert tuple(recorded_names(graph, ["*.y", "net.f*"])) == (
        "net.y",
        "net.y.delta",
        "net.flat",
        "net.flat.delta",
    )
    with pytest.raises(UnknownNameError, match="no node has a name like 'nett"):
        recorded_names(graph, ["nett.*"])
    assert Recorder(graph, ["net.y"]).names == ("net.y", "net.y.delta")


def test_where_kernels_fuse_values_are_measured_behind_products():
    recorder = Recorder(small_graph(), fuse=True)
    graph = recorder.recording.graph
    names = [node.operation.name for node in graph.nodes]
    first = names.index("summary")
    assert names[first - 1] == "matmul" and len(graph.nodes[first].heads) > 1
    assert names.count("summary") < 8


def test_what_a_step_does_not_compute_cannot_be_recorded():
    graph = small_graph()
    name = next(graph.name_of(node) for node in graph.nodes if node.operation.name == "constant")
    with pytest.raises(UnknownNameError, match="computes no value"):
        Recorder(graph, [name])


# ---------------------------------------------------------------- in a run


def trained(folder, every=0, stop=None, resumed=None, **values):
    """A run; with `stop` its process dies before that step, and `resumed` runs go on."""
    model, settings = small("feedforward", inspect_every=every, **values)
    if resumed is None:
        run = create_run(model, settings, folder)
    else:
        run = open_run(folder, BUILTIN, resumed)
    if stop is not None:
        feeds = run.task.feeds

        def dying(step):
            if step == stop:
                raise OSError("killed")
            return feeds(step)

        object.__setattr__(run.task, "feeds", dying)
    try:
        train(run, progress=QUIET())
    except OSError:
        assert stop is not None
    return run.folder


def test_a_run_ends_with_the_same_bytes_whether_it_records_or_not(tmp_path):
    states = [
        load_checkpoint(trained(tmp_path / f"run{every}", every).checkpoints) for every in (0, 1, 5)
    ]
    for name, array in states[0].arrays.items():
        for other in states[1:]:
            assert array.tobytes() == other.arrays[name].tobytes(), name


@pytest.mark.parametrize("stop", [1, 6, 9])
def test_a_resumed_run_has_the_history_of_one_that_was_not_stopped(tmp_path, stop):
    whole = trained(tmp_path / "whole", every=2)
    broken = trained(tmp_path / "broken", every=2, stop=stop)
    assert max(read_history(broken).steps) <= stop
    trained(tmp_path / "broken", resumed={})
    first, second = read_history(whole), read_history(broken)
    assert (first.names, first.figures) == (second.names, second.figures)
    assert first.values.tobytes() == second.values.tobytes()
    assert read_history(whole).steps == (1, 2, 4, 6, 8, 10, 12)


def test_resuming_without_recording_drops_discarded_steps(tmp_path):
    folder = trained(tmp_path / "run", every=1, stop=7)
    assert read_history(folder).steps == (1, 2, 3, 4, 5, 6, 7)
    trained(tmp_path / "run", resumed={"inspect_every": 0})
    assert read_history(folder).steps == (1, 2, 3, 4)


def test_another_pattern_on_resuming_joins_the_history(tmp_path):
    folder = trained(tmp_path / "run", every=4, stop=9, inspect="hidden.h1.a")
    trained(tmp_path / "run", resumed={"inspect": "hidden.h1.*"})
    history = read_history(folder)
    assert np.isfinite(history.of("hidden.h1.a", "norm")).all()
    fresh = np.isfinite(history.of("hidden.h1.z", "norm"))
    assert fresh.tolist() == [step > 8 for step in history.steps]


def test_asking_for_figures_of_no_node_leaves_nothing_behind(tmp_path):
    model, settings = small("feedforward", inspect_every=3, inspect="hidden.h9.*")
    with pytest.raises(UnknownNameError, match=r"hidden\.h9"):
        create_run(model, settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_resuming_with_a_pattern_that_matches_nothing_leaves_the_run_unchanged(tmp_path):
    folder = trained(tmp_path / "run", every=4, stop=9, inspect="hidden.h1.a")
    before = {file: file.read_bytes() for file in folder.path.rglob("*") if file.is_file()}
    with pytest.raises(UnknownNameError, match="hidden"):
        trained(tmp_path / "run", resumed={"inspect": "hidden.h9.*"})
    assert {f: f.read_bytes() for f in folder.path.rglob("*") if f.is_file()} == before
