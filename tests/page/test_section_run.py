"""The section `run`: its numbers against NumPy, contributions, stuck units, what is not finite."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from graphgrad.backprop import derive
from graphgrad.figures.batch import ValueFigures, histogram_of
from graphgrad.figures.statistics import FIGURES, statistics_of
from graphgrad.graph import Graph, initial_state, input, normal, parameter, scope
from graphgrad.models import BUILTIN
from graphgrad.ops import log, matmul, relu, sigmoid, sqrt, subtract, sum, tanh
from graphgrad.ops.evaluate import evaluate
from graphgrad.page.section_run import COLUMNS, row_of, run_section
from graphgrad.passes import sizes_of, specialise
from graphgrad.training.optimisers import training_step
from graphgrad.training.runs import first_state
from graphgrad.training.settings import TrainingSettings, with_values
from graphgrad.training.task import load_model

Arrays = Mapping[str, np.ndarray]


def figures(section: Mapping[str, Any], name: str, of: str = "value") -> dict[str, Any]:
    return dict(zip(section["columns"], section["rows"][section["nodes"][name][of]], strict=True))


def residual() -> tuple[Graph, Arrays, Arrays]:
    """z = h + tanh(h w), h = x v: two contributions to the delta of h."""
    x = input("x", ("batch", 3), "float64")
    w = parameter("w", (4, 4), normal(0.7), "float64")
    v = parameter("v", (3, 4), normal(1.0), "float64")
    h = matmul(x, v, name="h")
    with scope("branch"):
        z = tanh(matmul(h, w, name="a"), name="z")
    total = h + z
    graph = derive(Graph({"loss": sum(total * total, name="loss")}), "loss")
    feeds = {"x": np.random.default_rng(3).standard_normal((5, 3))}
    return graph, feeds, initial_state(graph, 2)


def test_figures_and_contributions_are_those_of_numpy() -> None:
    graph, feeds, state = residual()
    section = run_section(graph, feeds, state, "a run", 7, 8)
    h = feeds["x"] @ state["v"]
    z = np.tanh(h @ state["w"])
    direct = 2 * (h + z)
    branch = (direct * (1 - z * z)) @ state["w"].T
    delta = direct + branch
    found = figures(section, "h", "delta")
    assert found["norm"] == pytest.approx(np.linalg.norm(delta), rel=1e-8)
    assert found["mean"] == pytest.approx(delta.mean(), rel=1e-7, abs=1e-9)
    assert found["minimum"] == pytest.approx(delta.min(), rel=1e-8)
    assert figures(section, "branch.z")["std"] == pytest.approx(z.std(), rel=1e-8)
    assert found["size"] == 20

    sent = {item["tail"]: item for item in section["nodes"]["h"]["contributions"]}
    for tail, value in (("add", direct), ("branch.a", branch)):
        item = sent[tail]
        norms = np.linalg.norm(direct) + np.linalg.norm(branch)
        cosine = np.sum(value * delta) / np.linalg.norm(value) / np.linalg.norm(delta)
        assert item["share"] == pytest.approx(np.linalg.norm(value) / norms, rel=1e-7)
        assert item["cosine"] == pytest.approx(cosine, rel=1e-7)
        assert item["along"] == pytest.approx(np.sum(value * delta) / np.sum(delta**2), rel=1e-7)
        assert section["rows"][item["row"]][FIGURES.index("norm")] == pytest.approx(
            np.linalg.norm(value), rel=1e-8
        )
    between = np.sum(direct * branch) / np.linalg.norm(direct) / np.linalg.norm(branch)
    assert section["nodes"]["h"]["pairs"] == [[], [pytest.approx(between, rel=1e-6)]]
    assert math.isclose(math.fsum(item["along"] for item in sent.values()), 1.0, rel_tol=1e-8)
    assert (section["run"], section["step"], section["batch"]) == ("a run", 7, 8)
    assert section["sizes"] == {"batch": 5}


def test_every_node_of_a_transformer_has_the_figures_of_its_value() -> None:
    model = load_model("transformer", BUILTIN)
    settings = with_values(model.settings, dict(model.check) | {"dtype": "float64"})
    task = model.task(settings, {})
    feeds, state = task.feeds(0), first_state(task, settings)
    declared = training_step(task.graph, settings)
    graph = specialise(declared, sizes_of(declared, feeds))
    section = run_section(declared, feeds, state)
    json.dumps(section, allow_nan=False)
    values = evaluate(graph, feeds, state)
    checked = 0
    for node in graph.nodes:
        entry = section["nodes"].get(graph.name_of(node))
        if entry is None:
            continue
        expected = statistics_of(values[node])
        found = dict(zip(COLUMNS, section["rows"][entry["value"]], strict=True))
        for name in FIGURES:
            wanted = getattr(expected, name)
            tolerance = 1e-9 * max(expected.norm, 1e-3)
            assert found[name] == (
                None if wanted is None else pytest.approx(wanted, rel=1e-6, abs=tolerance)
            ), (graph.name_of(node), name)
        assert math.fsum(found["positive"] + found["negative"]) == pytest.approx(
            found["size"] * (1 - found["zeros"]) - found["non_finite"]
        )
        checked += 1
    assert checked > 300 and section["non_finite"] is None
    entry = section["nodes"]["decoder.0.attention.query.w"]
    leaf = graph.parameters["decoder.0.attention.query.w"]
    change = np.linalg.norm(values[graph.updates[leaf]] - values[leaf])
    assert entry["update"]["norm"] == pytest.approx(change, rel=1e-6)
    assert entry["update"]["ratio"] == pytest.approx(
        change / np.linalg.norm(values[leaf]), rel=1e-6
    )


def test_a_row_of_nothing_has_no_figures() -> None:
    array = np.array([math.nan, math.inf])
    found = ValueFigures(statistics_of(array), array.size, histogram_of(array))
    row = dict(zip(COLUMNS, row_of(found), strict=True))
    assert row["mean"] is None and row["non_finite"] == 2 and row["positive"] == []


def test_dead_and_saturated_units_are_named() -> None:
    x = input("x", ("batch", 4), "float64")
    one = input("one", ("batch",), "float64")
    w = parameter("w", (4,), dtype="float64")
    z = relu(x * 1.0 + w, name="z")
    loss = sum(z) + sum(sigmoid(one, name="s")) + sum(tanh(x * 10.0, name="t"))
    graph = derive(Graph({"loss": loss}), loss)
    values = np.array([[1.0, -1, -2, 0], [2, 3, -3, -0.5]])
    feeds = {"x": values, "one": np.array([9.0, -9.0])}
    section = run_section(graph, feeds, {"w": np.zeros(4)})
    assert section["nodes"]["z"]["unit"] == {
        "kind": "relu",
        "units": 4,
        "stuck": 2,
        "first": [2, 3],
        "share": 0.625,
    }
    assert section["nodes"]["s"]["unit"] == {
        "kind": "sigmoid",
        "units": 1,
        "stuck": 1,
        "first": [0],
        "share": 1.0,
    }
    saturated = 1 - np.abs(np.tanh(10 * values)) < section["saturated"]
    assert section["nodes"]["t"]["unit"]["share"] == pytest.approx(saturated.mean())
    assert section["nodes"]["t"]["unit"]["stuck"] == int(saturated.all(axis=0).sum())


def test_the_update_of_a_parameter_is_that_of_its_optimiser() -> None:
    x = input("x", ("batch", 3), "float64")
    w = parameter("w", (3, 2), normal(1.0), "float64")
    loss = sum(tanh(matmul(x, w)), name="loss")
    settings = TrainingSettings(
        optimiser="sgd", learning_rate=0.1, schedule="constant", warmup=0, clip_norm=0.0
    )
    graph = training_step(Graph({"loss": loss}), settings)
    state = initial_state(graph, 0)
    feeds = {"x": np.random.default_rng(0).standard_normal((4, 3))}
    section = run_section(graph, feeds, state)
    gradient = feeds["x"].T @ (1 - np.tanh(feeds["x"] @ state["w"]) ** 2)
    step = 0.1 * np.linalg.norm(gradient)
    assert section["nodes"]["w"]["update"]["norm"] == pytest.approx(step)
    ratio = section["nodes"]["w"]["update"]["ratio"]
    assert ratio == pytest.approx(step / np.linalg.norm(state["w"]))


def test_the_first_value_that_is_not_finite_is_named_with_its_ancestry() -> None:
    x, w = input("x", ("batch", 3), "float64"), parameter("w", (3,), dtype="float64")
    with scope("layer"):
        shifted = subtract(x, w, name="shifted")
        z = log(shifted, name="bad")
    graph = derive(Graph({"loss": sum(z * z, name="loss")}), "loss")
    feeds = {"x": np.array([[1.0, 2.0, -3.0]])}
    with np.errstate(all="ignore"):
        section = run_section(graph, feeds, {"w": np.zeros(3)})
    found = section["non_finite"]
    assert (found["name"], found["part"], found["nan"]) == ("layer.bad", "forward", 1)
    assert "computed by log from layer.shifted" in found["text"]
    distances = {item["name"]: item["distance"] for item in found["ancestry"]}
    assert distances == {"layer.bad": 0, "layer.shifted": 1, "x": 2, "w": 2}
    json.dumps(section, allow_nan=False)


def test_a_delta_that_is_not_finite_is_named_too() -> None:
    x, w = input("x", ("batch", 2), "float64"), parameter("w", (2, 2), dtype="float64")
    root = sqrt(matmul(x, w, name="a"), name="root")
    graph = derive(Graph({"loss": sum(root, name="loss")}), "loss")
    settings = TrainingSettings(optimiser="sgd", dtype="float64")
    step = training_step(Graph({"loss": graph["loss"]}), settings)
    for declared in (graph, step):
        state = initial_state(declared)
        section = run_section(declared, {"x": np.ones((3, 2))}, {**state, "w": np.zeros((2, 2))})
        found = section["non_finite"]
        assert (found["part"], found["infinite"], found["nan"]) == ("delta", 6, 0)
        assert "root" in {item["name"] for item in found["ancestry"]}
        assert figures(section, "a", "delta")["non_finite"] == 6
