"""The data of a page: nodes with everything to be shown of them, scopes, runs, symbolic sizes."""

from typing import Any

import pytest

import graphgrad as gg
from graphgrad.graph import ZEROS, Graph
from graphgrad.models import feedforward
from graphgrad.page.data import page_data
from graphgrad.page.scopes import FORWARD
from graphgrad.passes import specialise
from graphgrad.performance.cost import flops_of


def layered(count: int = 4) -> Graph:
    """A chain of equal layers with a mask that all use, and a loss."""
    x = z = gg.input("x", ("batch", 3))
    mask = gg.less(gg.constant(0.0), x, name="mask")
    for number in range(count):
        with gg.scope(f"layer.{number}"):
            a = gg.matmul(z, gg.parameter("w", (3, 3), gg.normal(0.5)), name="a")
            b = gg.add(a, gg.parameter("b", (3,), ZEROS), name="shifted")
            with gg.scope("gate"):
                c = gg.where(mask, b, 0.0, name="c")
                d = gg.multiply(c, 2.0, name="d")
            for step in range(12):  # enough boxes for parameters to go inside
                with gg.scope(f"inner.{step}"):
                    d = gg.tanh(gg.tanh(d, name="s"), name="t")
            z = gg.tanh(d, name="z")
    return gg.derive(Graph({"loss": gg.sum(z * z, name="loss")}), "loss")


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return page_data(layered(), "layers", {"batch": 5})


def node(data: dict[str, Any], name: str) -> dict[str, Any]:
    return next(item for item in data["nodes"] if item["name"] == name)


def name(data: dict[str, Any], place: int) -> str:
    return data["nodes"][place]["name"]


def test_a_node_says_all_of_itself(data: dict[str, Any]) -> None:
    a = node(data, "layer.1.a")
    assert a["op"] == "matmul" and a["part"] == "forward" and a["kind"] == "operation"
    assert a["label"] == "a" and a["does"] == "matmul"
    assert a["shape"] == ["batch", 3] and a["dtype"] == "float32"
    assert [name(data, head) for head in a["heads"]] == ["layer.0.z", "layer.1.w"]
    assert "layer.1.a.delta" in data["nodes"][a["delta"]]["names"]
    assert [(name(data, tail), place) for tail, place, *_ in a["contributions"]] == [
        ("layer.1.shifted", 0)
    ]
    source = data["sources"][a["source"]]
    assert source["file"] == __file__ and "gg.matmul(z" in source["text"]
    assert data["scopes"][a["scope"]]["path"] == "layer.1"
    assert a["attributes"] == {"transpose_a": "False", "transpose_b": "False"}


def test_formulas_are_sent_once_for_all_nodes(data: dict[str, Any]) -> None:
    a, b = node(data, "layer.1.a"), node(data, "layer.2.a")
    assert a["formula"] == b["formula"]
    assert data["formulas"][a["formula"]] == ["row", ["x", 0], ["x", 1]]
    rule = a["contributions"][0][3]
    assert data["formulas"][rule] == ["δ"]
    w = node(data, "layer.1.w")
    assert data["formulas"][w["contributions"][0][3]][1:] == [["^", ["x", 0], ["o", "⊤"]], ["δ"]]


def test_flops_and_sizes_are_symbolic_and_right(data: dict[str, Any]) -> None:
    assert data["sizes"] == {"batch": 5}
    assert data["dimensions"] == {"batch": [[1, ["batch"]]]}
    (terms,) = node(data, "layer.1.a")["flops"]
    assert terms == [2 * 3 * 3, ["batch"]]
    known = specialise(layered(), {"batch": 5})
    assert terms[0] * 5 == flops_of(known["layer.1.a"])


def test_equal_numbered_scopes_are_runs_the_nested_ones_too(data: dict[str, Any]) -> None:
    paths = [[data["scopes"][scope]["path"] for scope in run] for run in data["runs"]]
    assert [f"layer.{number}" for number in range(4)] in paths
    assert [f"layer.2.inner.{number}" for number in range(12)] in paths
    assert len(paths) == 1 + 4
    assert data["folds"] is True


def test_scopes_are_after_the_scope_around_them(data: dict[str, Any]) -> None:
    for place, scope in enumerate(data["scopes"]):
        assert scope["parent"] < place
        outer = data["scopes"][scope["parent"]]["path"] if place else ""
        assert scope["path"] == ".".join(filter(None, [outer, scope["name"]]))


def test_parameters_are_inside_and_masks_are_shared(data: dict[str, Any]) -> None:
    assert name(data, node(data, "layer.1.w")["inside"]) == "layer.1.a"
    assert node(data, "mask")["shared"] is True
    assert "shared" not in node(data, "layer.0.z")


def test_deltas_and_steps_know_their_owner(data: dict[str, Any]) -> None:
    owners = {item["name"]: name(data, item["owner"]) for item in data["nodes"] if "owner" in item}
    assert owners["layer.1.shifted.delta"] == "layer.1.shifted"
    assert owners["layer.1.z.rule.multiply"] == "layer.1.z"
    assert all(item["part"] != "forward" for item in data["nodes"] if "owner" in item)
    deltas = [item for item in data["nodes"] if item["part"] == "delta" and item["drawn"]]
    assert deltas and all(item["drawn"] != FORWARD for item in deltas)


def test_a_network_of_scalars_has_its_weights_on_edges() -> None:
    x1, x2 = gg.input("x1", ("batch",)), gg.input("x2", ("batch",))
    with gg.scope("h.1"):
        a = x1 * gg.parameter("w.x1->h1", ()) + x2 * gg.parameter("w.x2->h1", ())
        z = gg.sigmoid(gg.add(a, gg.parameter("b", ()), name="a"), name="z")
    data = page_data(gg.derive(Graph({"loss": gg.sum(z, name="loss")}), "loss"))
    assert data["style"] == "neurons" and data["runs"] == []
    product = next(item for item in data["nodes"] if item.get("weight") is not None)
    assert product["weightLabel"] == ["w", "x1→h1"]
    assert data["nodes"][product["into"]]["op"] == "add"


def test_names_like_those_of_objects_are_names() -> None:
    graph = Graph({"__proto__": gg.tanh(gg.input("constructor", 3), name="toString")})
    data = page_data(graph)
    assert {item["name"] for item in data["nodes"]} == {"constructor", "toString"}
    assert list(data["outputs"]) == ["__proto__"]


def test_only_lines_of_programs_are_shown(data: dict[str, Any]) -> None:
    assert all(source["file"].endswith(".py") or not source["text"] for source in data["sources"])


def test_partial_sums_of_a_delta_belong_to_its_node() -> None:
    """h has three tails: the sum of two contributions is a node, and no scope is made of it."""
    settings = feedforward.Settings()
    data = page_data(gg.derive(feedforward.network(settings), "loss"))
    partial = next(node for node in data["nodes"] if node["name"] == "hidden.h1.z.add")
    owner = data["nodes"][partial["owner"]]
    assert owner["name"] == "hidden.h1.z" and partial["scope"] == owner["scope"]
    names = {name for node in data["nodes"] for name in node.get("names", [node["name"]])}
    assert not names & {scope["path"] for scope in data["scopes"]}
