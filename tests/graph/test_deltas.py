"""Deltas as structure: names are for people, and a node may be called as a delta would be."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import graphgrad as gg
import graphgrad.models
import graphgrad.tools
from graphgrad.backprop import derive
from graphgrad.backprop.formula import delta_formula
from graphgrad.backprop.selection import owner_of, parts_of
from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.figures.recording import Recorder, recorded_names
from graphgrad.figures.statistics import inspect_values
from graphgrad.graph import Graph
from graphgrad.ops.evaluate import evaluate
from graphgrad.page.data import page_data
from graphgrad.passes import PASSES, optimise, prune, specialise
from graphgrad.passes.surgery import clip, scale, surgery
from graphgrad.training.optimisers import training_step
from graphgrad.training.settings import TrainingSettings

ROOT = Path(gg.__file__).parent
V = np.array([0.3, -1.0, 2.0])


def wheel() -> Graph:
    """A node called `wheel`, and another one that is called as its delta would be."""
    x = gg.input("x", 3, "float64")
    u = gg.tanh(x, name="wheel")
    with gg.scope("wheel"):
        d = gg.multiply(u, 2.0, name="delta")
        sent = gg.multiply(d, 1.5, name="delta<-y")
    return Graph({"loss": gg.sum(sent * sent, name="loss")})


def test_a_node_called_like_a_delta_is_a_node() -> None:
    graph = wheel()
    for name in ("wheel", "x", "wheel.delta"):
        with pytest.raises(UnknownNameError, match="has no delta"):
            graph.delta(name)
        assert graph.contributions(name) == {} == dict(graph.deltas)
    assert set(parts_of(graph).values()) == {"forward"}
    assert delta_formula(graph, graph["wheel"]) == ""


def test_a_graph_with_such_a_node_is_derived_and_nothing_changes_its_name() -> None:
    graph = wheel()
    derived = derive(graph, "loss")
    own = derived["wheel.delta"]
    assert own is graph["wheel.delta"] and parts_of(derived)[own] == "forward"
    values = evaluate(derived, {"x": V})
    u = np.tanh(V)  # the loss is Σ (3u)²
    np.testing.assert_allclose(values[own], 2 * u)
    np.testing.assert_allclose(values[derived.delta("wheel")], 18 * u)
    np.testing.assert_allclose(values[derived.delta("wheel.delta")], 9 * u)
    np.testing.assert_allclose(values[derived.delta("x")], 18 * u * (1 - u * u))
    called = derived.delta_name("wheel")
    assert derived[called] is derived.delta("wheel") and called not in graph.names
    assert list(derived.contributions("wheel")) == ["wheel.delta"]
    (sent,) = derived.sent_back("wheel")
    assert (sent.tail, sent.place) == (own, 0)
    data = page_data(derived)
    nodes = {node["name"]: node for node in data["nodes"]}
    assert nodes["wheel"]["delta"] == derived.position(derived.delta("wheel"))
    assert nodes["wheel.delta"]["part"] == "forward" and "owner" not in nodes["wheel.delta"]


def test_such_a_graph_goes_through_every_pass_and_is_recorded() -> None:
    graph = Graph({"loss": wheel()["loss"]})
    w = gg.parameter("w", 3, dtype="float64")
    graph = Graph(
        {
            "loss": gg.sum(gg.tanh(w, name="wheel") * graph["wheel"], name="loss"),
            "other": graph["wheel.delta"],
        }
    )
    step = training_step(graph, TrainingSettings(dtype="float64"))
    optimised, _ = optimise(step, PASSES)
    assert optimised.delta("w") is optimised[step.delta_name("w")]
    names = recorded_names(step)
    assert names["wheel.delta"] == "wheel.delta"
    deltas = Recorder(step).deltas
    assert "wheel.delta" not in deltas and deltas[step.delta_name("w")] == "w"
    reports = {report.name: report for report in inspect_values(derive(wheel(), "loss"), {"x": V})}
    u = np.tanh(V)
    assert reports["wheel"].delta is not None and reports["wheel.delta"].delta is not None
    np.testing.assert_allclose(reports["wheel"].delta.norm, np.linalg.norm(18 * u))
    np.testing.assert_allclose(reports["wheel.delta"].value.norm, np.linalg.norm(2 * u))


def test_products_do_not_care_what_a_leaf_is_called() -> None:
    x = gg.input("wrt.delta", 3, "float64")
    v = gg.input("of.delta", 3, "float64")
    product = gg.vector_jacobian(gg.sin(x, name="of"), x, v)
    found = evaluate(Graph({"p": product}), {"wrt.delta": V, "of.delta": 2 * V})
    np.testing.assert_allclose(found[product], 2 * V * np.cos(V))


# ---------------------------------------------------------------- what the structure says


def fan() -> Graph:
    """u is used by three tails, by one of them twice, and one passes it on as it is."""
    x, w = gg.input("x", ("n", 3), "float64"), gg.parameter("w", 3, dtype="float64")
    u = gg.multiply(x, w, name="u")
    square = gg.multiply(u, u, name="square")
    same = gg.multiply(u, 1.0, name="same")  # simplify makes it u itself
    total = square + gg.tanh(u, name="bent") + gg.sin(same, name="wave")
    return Graph({"loss": gg.sum(total, name="loss")})


def test_contributions_know_their_tails_and_places() -> None:
    graph = derive(fan(), "loss")
    found = [(graph.name_of(item.tail), item.place) for item in graph.sent_back("u")]
    assert found == [("square", 0), ("square", 1), ("same", 0), ("bent", 0)]
    assert set(graph.contributions("u")) == {"square", "square#2", "same", "bent"}
    assert graph.deltas[graph["u"]] is graph.delta("u") is graph["u.delta"]
    assert graph["loss"] in graph.deltas and graph["u.delta"] not in graph.deltas
    assert graph.heads("square") == (graph["u"], graph["u"])
    assert graph.tails("u") == graph.tails(graph["u"])
    for item in graph.sent_back("u"):
        assert item.tail.heads[item.place] is graph["u"] and item.tail in graph.tails("u")


def test_nodes_that_become_one_keep_the_delta_of_each() -> None:
    graph = specialise(derive(fan(), "loss"), {"n": 2})
    feeds, state = {"x": np.stack([V, -V])}, {"w": np.array([1.0, 2, 0.5])}
    u = feeds["x"] * state["w"]
    outputs = {"u": graph.delta("u"), "same": graph.delta("same"), **graph.outputs}
    optimised, _ = optimise(graph.with_outputs(outputs), PASSES)
    assert optimised["u"] is optimised["same"]
    values = evaluate(optimised, feeds, state)
    expected = {"u": 2 * u + 1 - np.tanh(u) ** 2 + np.cos(u), "same": np.cos(u)}
    for name, value in expected.items():
        np.testing.assert_allclose(values[optimised.delta(name)], value)
    assert optimised.delta(optimised["u"]) is optimised.delta("u")


def test_a_delta_outlives_its_node() -> None:
    x = gg.input("x", 3, "float64")
    a = gg.add(x, 1.0, name="a")
    graph = derive(Graph({"loss": gg.sum(gg.multiply(a, 3.0, name="b"), name="loss")}), "loss")
    small = prune(graph.with_outputs({"d": graph.delta("x")}, {}))
    assert "a" not in small.names
    assert small.delta("a") is small["d"] is small.delta("x") and small.sent_back("a") == ()


def test_every_derivation_is_asked_by_its_label() -> None:
    x = gg.input("x", 3, "float64")
    first = derive(Graph({"loss": gg.sum(gg.sin(x), name="loss")}), "loss")
    first = first.with_outputs({"slope": gg.sum(first.delta("x"), name="slope")})
    both = derive(first, "slope", ["x"], label="again")
    values = evaluate(both, {"x": V})
    np.testing.assert_allclose(values[both.delta("x")], np.cos(V))
    np.testing.assert_allclose(values[both.delta("x", "again")], -np.sin(V))
    assert both.delta("x", "again") is both["x.again"]
    assert both.contributions("x", "again").keys() <= {both.name_of(n) for n in both.tails("x")}
    with pytest.raises(UnknownNameError, match="has no delta"):
        both.delta("x", "third")
    with pytest.raises(DeclarationError, match="already has a again of"):
        derive(both, "slope", ["x"], label="again")


def test_steps_of_rules_and_sums_belong_to_a_forward_node() -> None:
    graph = derive(fan(), "loss")
    parts = parts_of(graph)
    backward = [node for node in graph.nodes if parts[node] == "delta"]
    owners = {graph.name_of(node): owner_of(graph, node, parts) for node in backward}
    assert all(owner is not None and parts[owner.node] == "forward" for owner in owners.values())
    assert owners["u.delta"].node is graph["u"] and not owners["u.delta"].tail
    assert owners["u.delta<-bent"].tail == "bent"
    assert "bent" in {owner.name for owner in owners.values() if owner.scope}


# ---------------------------------------------------------------- cuts while deriving


def test_cuts_are_made_while_deriving_and_add_up() -> None:
    cuts = [scale("u<-bent", 3.0), scale("u", 0.5), clip("u", 1.0)]
    at_once = derive(fan(), "loss", cuts=cuts)
    one_by_one = derive(fan(), "loss")
    for cut in cuts:
        one_by_one = surgery(one_by_one, [cut])
    feeds, state = {"x": np.stack([V, -V])}, {"w": np.array([1.0, 2, 0.5])}
    u = feeds["x"] * state["w"]
    whole = 0.5 * (2 * u + 3 * (1 - np.tanh(u) ** 2) + np.cos(u))
    for graph in (at_once, one_by_one):
        values = evaluate(specialise(graph, {"n": 2}), feeds, state)
        known = specialise(graph, {"n": 2})
        np.testing.assert_allclose(values[known.delta("u")], np.clip(whole, -1, 1))
        np.testing.assert_allclose(
            values[known.delta("w")], np.sum(np.clip(whole, -1, 1) * feeds["x"], 0)
        )
        assert [change.kind for change in graph.cuts("u")] == ["scale", "clip"]
        formula = delta_formula(graph, graph["u"])
        assert formula.startswith("clip 1 (scale 0.5 ("), "what was done last stands outside"
        assert graph.cuts("u")[0].before is graph["u.delta.before"]
        sent = {graph.name_of(item.tail): item.changes for item in graph.sent_back("u")}
        assert [change.kind for change in sent["bent"]] == ["scale"] and not sent["same"]


def test_the_page_knows_what_a_delta_was_before_it_was_cut() -> None:
    graph = surgery(derive(fan(), "loss"), [clip("u", 1.0), scale("u", 2.0)])
    nodes = page_data(graph)["nodes"]
    u = nodes[graph.position(graph["u"])]
    assert u["cuts"] == ["clip 1", "scale 2"]
    assert nodes[u["before"]]["name"] == "u.delta.before"
    assert "before" not in nodes[graph.position(graph["w"])]


def test_a_node_named_like_an_edge_is_cut_as_a_node() -> None:
    graph = surgery(derive(wheel(), "loss"), [scale("wheel.delta<-y", 0.0)])
    values = evaluate(graph, {"x": V})
    assert not values[graph.delta("wheel.delta<-y")].any()
    assert [change.kind for change in graph.cuts("wheel.delta<-y")] == ["scale"]


def test_cutting_keeps_what_has_no_delta_and_what_was_made_of_deltas() -> None:
    graph = fan()
    best = gg.argmax(graph["u"], name="best")
    graph = Graph({**graph.outputs}, names={**graph.names, "best": best})
    derived = derive(graph, "loss")
    doubled = gg.multiply(derived.delta("u"), 2.0, name="doubled")
    asked = derived.with_outputs({"doubled": doubled, "d": derived.delta("w")})
    cut = surgery(asked, [scale("u", 0.0)])
    assert cut["best"] is best and cut.outputs["doubled"] is doubled
    assert cut.outputs["d"] is cut.delta("w") is not derived.delta("w")


# ---------------------------------------------------------------- one place for the names


SPELLED = re.compile(r"\.delta(\b(?!_)|$)|\S<-|^<-|\.rule\b")


def spelled(path: Path) -> list[str]:
    """The texts of a program, other than docstrings, that spell the name of a delta."""
    tree = ast.parse(path.read_text())
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = []
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) and id(node) not in prose else None
        if isinstance(text, str) and SPELLED.search(text):
            found.append(f"{path.name}:{node.lineno} {text!r}")
        if isinstance(node, ast.JoinedStr):
            parts = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
            if any(isinstance(part, ast.Name) and part.id in ("DELTA", "ARROW") for part in parts):
                found.append(f"{path.name}:{node.lineno} joins a name with it")
    return found


def test_no_other_file_spells_the_name_of_a_delta() -> None:
    folders = [Path(package.__file__).parent for package in (gg, graphgrad.models, graphgrad.tools)]
    paths = {path for folder in folders for path in folder.rglob("*.py")}
    paths -= {ROOT / "graph" / "deltas.py"}
    assert len(paths) > 150
    assert [text for path in sorted(paths) for text in spelled(path)] == []


def test_the_page_does_not_spell_it_either() -> None:
    scripts = sorted((ROOT / "page" / "assets").rglob("*.js"))
    assert len(scripts) > 20
    quoted = re.compile(r"""["'`}]\.delta\b|\}<-|\.delta\.before""")
    found = [path.name for path in scripts if quoted.search(path.read_text())]
    assert found == []


def test_the_search_finds_what_it_is_for(tmp_path: Path) -> None:
    for text in ('f"{u}.delta"', 'f"{u}.{DELTA}"', 'name.endswith(".delta")', '"a<-b"'):
        path = tmp_path / "module.py"
        path.write_text(f'"""u.delta is prose."""\nx = {text}\n')
        assert spelled(path), text
