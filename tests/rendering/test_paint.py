"""The contents of pictures: boxes, scopes, weights on edges, deltas beside nodes, folding."""

from typing import Any

import pytest

from graphgrad.backprop import derive
from graphgrad.backprop.selection import parts_of
from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph, input, normal, parameter, scope, state
from graphgrad.layers import dense, layer_norm
from graphgrad.models import feedforward, transformer
from graphgrad.ops import cast, dropout_mask, sum, tanh
from graphgrad.rendering.paint import picture
from graphgrad.rendering.picture import Box, Edge, Picture
from graphgrad.rendering.view import View
from graphgrad.training.optimisers import training_step
from graphgrad.training.settings import TrainingSettings


def neurons() -> Graph:
    return feedforward.neurons(feedforward.Settings())


def layers(count: int) -> Graph:
    """Equal layers in numbered scopes, so many that parameters go inside the boxes."""
    x = input("x", ("batch", 4))
    with scope("encoder"):
        for number in range(count):
            with scope(str(number)):
                x = layer_norm(x + tanh(dense(x, 4, "dense"), name="z"))
    return Graph({"loss": sum(x, name="loss")})


def box(found: Picture, *path: str) -> Box:
    """The box with this label in this scope."""
    *inside, label = path
    return next(
        b
        for b in found.boxes
        if b.scope == tuple(inside) and b.label.text == label and b.kind != "delta"
    )


def delta(found: Picture, of: Box) -> Box:
    return next(b for b in found.boxes if b.beside == of.id)


def edges(found: Picture, kind: str = "value") -> set[tuple[str, str]]:
    return {(edge.head, edge.tail) for edge in found.edges if edge.kind == kind}


def between(found: Picture, head: Box, tail: Box, kind: str = "value") -> Edge:
    return next(e for e in found.edges if (e.head, e.tail, e.kind) == (head.id, tail.id, kind))


# ---------------------------------------------------------------- neurons


def test_weights_are_on_edges_and_sums_are_one_box() -> None:
    found = picture(neurons())
    assert found.style == "neurons" and found.direction == "right"
    a, z = box(found, "hidden", "h2", "a"), box(found, "hidden", "h2", "z")
    assert (a.detail, z.detail, a.round) == ("Σ", "sigmoid", True)
    for number in (1, 2, 3):
        edge = between(found, box(found, f"x{number}"), a)
        assert edge.weight and (edge.label.text, edge.label.index) == ("w", f"x{number}→h2")
    assert not [b for b in found.boxes if b.kind == "parameter" or b.label.text == "from_x1"]
    assert len([b for b in found.boxes if b.scope == ("hidden", "h2")]) == 2
    assert found.titles[("hidden", "h2")] == "h2" and found.titles[("hidden",)] == "hidden"


def test_deltas_mirror_the_edges_of_values() -> None:
    found = picture(derive(neurons(), "loss"))
    a, z = box(found, "hidden", "h2", "a"), box(found, "hidden", "h2", "z")
    labels = [(b.label.text, b.label.index) for b in (a, z, delta(found, a), delta(found, z))]
    assert labels == [("a", "h2"), ("z", "h2"), ("δ", "h2"), ("∂L/∂z", "h2")]
    assert delta(found, a).scope == a.scope
    assert between(found, delta(found, a), delta(found, z), "delta").label.text == "δ · z · (1 - z)"
    out = delta(found, box(found, "output", "y3", "a"))
    weighted = between(found, delta(found, z), out, "delta")
    assert weighted.weight and "w.h2->y3" in weighted.tooltip
    assert edges(found) >= {(a.id, z.id)}
    assert "x1" not in {b.label.index for b in found.boxes}, "an input's delta is not drawn"


def test_the_bias_of_a_neuron_is_inside_its_sum() -> None:
    found = picture(derive(feedforward.neurons(feedforward.Settings(bias=True)), "loss"))
    a = box(found, "output", "y2", "a")
    assert a.tags == ("b.y2",) and delta(found, a).tags == ("δ b.y2",) and a.detail == "Σ"
    assert not [b for b in found.boxes if b.kind == "parameter"]


def test_a_parameter_with_two_uses_stays_a_node() -> None:
    x, w = input("x"), parameter("w")
    graph = Graph({"loss": sum((x * w) + (x * x) * w, name="loss")})
    found = picture(graph, View(parameters="edges"))
    assert box(found, "w").kind == "parameter"
    nodes = picture(neurons(), View(parameters="nodes", fold=False))
    assert len([b for b in nodes.boxes if b.kind == "parameter"]) == 18
    assert nodes.style == "layers"


def test_an_output_is_never_merged_away() -> None:
    x, v, w = input("x"), parameter("v"), parameter("w")
    first = v * x
    graph = Graph({"first": first, "loss": first + w * x})
    found = picture(graph)
    assert len([b for b in found.boxes if b.kind == "output"]) == 2


# ---------------------------------------------------------------- layers


def test_parameters_go_inside_and_equal_layers_are_drawn_once() -> None:
    found = picture(layers(12))
    scopes = {b.scope for b in found.boxes if len(b.scope) > 1}
    assert {path[:2] for path in scopes} == {("encoder", "0")}
    assert found.titles[("encoder", "0")] == "encoder.0 … encoder.11  ×12"
    assert box(found, "encoder", "0", "dense", "a").tags == ("b [4]",)
    assert box(found, "encoder", "0", "dense", "product").tags == ("w [4, 4]",)
    last = box(found, "encoder", "0", "norm", "y")
    assert between(found, last, box(found, "loss"))
    assert between(found, box(found, "x"), box(found, "encoder", "0", "dense", "product"))
    inputs = [edge for edge in found.edges if edge.head == last.id]
    assert len(inputs) == 1, "no edge leads from one repetition back into the next"


def test_folding_can_be_chosen() -> None:
    assert len(picture(layers(2), View(fold=True)).boxes) < len(picture(layers(2)).boxes)
    assert len(picture(layers(12), View(fold=False)).boxes) > 80


def test_layers_that_differ_are_not_folded() -> None:
    x = input("x", ("batch", 4))
    for number, function in enumerate((tanh, tanh, lambda x, name: x * x)):
        with scope(str(number)):
            x = function(x, name="z")
    found = picture(Graph({"loss": sum(x, name="loss")}), View(fold=True))
    assert found.titles == {("0",): "0 … 1  ×2", ("2",): "2"}


def test_deep_scopes_are_one_box() -> None:
    graph = derive(layers(12), "loss")
    found = picture(graph, View(depth=1))
    whole = box(found, "encoder", "encoder.0 … encoder.11  ×12")
    assert (whole.kind, whole.detail) == ("scope", "11 nodes each")
    assert delta(found, whole).kind == "delta"
    assert len(picture(graph, View(depth=0)).boxes) < len(found.boxes) + 2
    assert all(len(b.scope) <= 1 for b in found.boxes)


def test_large_graphs_are_collapsed_by_themselves() -> None:
    x = input("x", 2)
    for outer in range(30):
        for inner in range(15):
            with scope(f"layer{outer}.part{inner}"):
                x = tanh(tanh(x, name="a"), name="b")
    assert len(picture(Graph({"loss": sum(x, name="loss")})).boxes) <= 401


def test_constants_and_counters_are_hidden_by_default() -> None:
    seed, step = (state(name, dtype="int32") for name in ("seed", "step"))
    x = input("x", 2)
    mask = dropout_mask(seed, step, 2, 0.5, 0, name="mask")
    graph = Graph({"loss": sum(x * mask * 0.5, name="loss")})
    found = picture(graph)
    assert [b.label.text for b in found.boxes] == ["x", "mask", "multiply", "multiply 0.5", "loss"]
    assert box(found, "mask").kind == "known" and not box(found, "multiply").named
    shown = {b.label.text for b in picture(graph, View(constants=True)).boxes}
    assert {"seed", "step", "0.5"} <= shown


def test_what_many_scopes_use_is_drawn_in_each() -> None:
    graph = transformer.training_graph(transformer.Settings(layers=1), 7, 9)
    found = picture(graph)
    masks = [b for b in found.boxes if b.label.text == "padding_mask" and b.copy]
    assert len(masks) == 2 and {b.scope[-1] for b in masks} == {"attention", "cross_attention"}
    tied = transformer.training_graph(transformer.Settings(layers=1, tie=True), 7, 9)
    tables = [b for b in picture(derive(tied, "loss")).boxes if "decoder.embedding" in b.tooltip]
    deltas = {b.label.index for b in tables if b.copy and b.kind == "delta"}
    assert deltas == {"embedding←gather", "embedding←product"}


def test_every_node_of_the_deltas_can_be_drawn() -> None:
    x, w = input("x", (2, 3)), parameter("w", (2, 3))
    z = tanh(x * w, name="z")
    graph = derive(Graph({"loss": sum(z * z, name="loss")}), "loss")
    found = picture(graph, View(deltas="nodes"))
    kinds = [b.kind for b in found.boxes]
    assert kinds.count("step") >= 2 and kinds.count("delta") >= 4
    steps = {b.id for b in found.boxes if b.kind in ("step", "delta")}
    assert all({head, tail} <= steps for head, tail in edges(found, "delta"))
    assert all(tail in steps and head not in steps for head, tail in edges(found, "use"))
    assert "z←multiply_1" in {b.label.index for b in found.boxes if b.label.text == "δ"}
    z_delta = delta(found, box(found, "z"))
    assert z_delta.scope == ()
    parts, varying = parts_of(graph), graph.descendants([graph["x"], graph["w"]])
    assert len(steps) >= len([n for n in graph if parts[n] == "delta" and n in varying])


def test_updates_are_drawn_if_the_view_includes_them() -> None:
    x, w = input("x", (2, 3)), parameter("w", (3, 3), normal(1.0))
    graph = training_step(Graph({"loss": sum(tanh(x @ w), name="loss")}), TrainingSettings())
    found = picture(graph, View(updates=True))
    assert "update" in {b.kind for b in found.boxes}
    assert edges(found, "use"), "deltas lead to the updates"
    assert "update" not in {b.kind for b in picture(graph).boxes}


def test_tooltips_have_formulas_and_lines() -> None:
    found = picture(derive(layers(1), "loss"))
    text = box(found, "encoder", "0", "z").tooltip
    assert text.startswith("encoder.0.z\ntanh : float32[batch, 4]\n= tanh dense.a\nδ = δ[add]")
    assert __file__ in text


def test_integers_say_their_type() -> None:
    ids = input("ids", 3, "int32")
    found = picture(Graph({"y": cast(ids, "float32", name="y")}))
    assert box(found, "ids").detail == "int32  [3]"


@pytest.mark.parametrize(
    "wrong", [{"deltas": "all"}, {"parameters": "x"}, {"direction": "left"}, {"depth": -1}]
)
def test_a_view_with_a_wrong_option_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        View(**wrong)
