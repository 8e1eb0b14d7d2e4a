"""Formulas with names: values, contributions, sums over tails, and names like formulas."""

import re

import pytest

from graphgrad.backprop import derive
from graphgrad.backprop.formula import (
    contribution_formula,
    delta_formula,
    delta_rule,
    delta_terms,
    factor_text,
    value_formula,
)
from graphgrad.graph import Graph, Operation, alias, constant, input, parameter, scope
from graphgrad.ops import (
    ALL_OPERATIONS,
    add,
    concatenate,
    cross_entropy,
    log_softmax,
    matmul,
    multiply,
    sqrt,
    sum,
    tanh,
    transpose,
)


def network() -> Graph:
    """Two tails for hidden.z, one of them outside its scope."""
    x, w = input("x", (2, 3)), parameter("w", (3, 4))
    with scope("hidden"):
        z = tanh(matmul(x, w, name="a"), name="z")
        doubled = multiply(z, 2.0, name="doubled")
    out = add(doubled, z * z, name="out")
    return derive(Graph({"loss": sum(out, name="loss")}), "loss")


def test_values_and_deltas_bear_the_names_of_their_nodes() -> None:
    graph = network()
    assert value_formula(graph, graph["hidden.z"]) == "tanh a"
    assert value_formula(graph, graph["hidden.doubled"]) == "z · 2"
    assert value_formula(graph, graph["hidden.a"]) == "x w"
    assert delta_formula(graph, graph["hidden.a"]) == "δ[z] · (1 - z²)"
    assert delta_formula(graph, graph["w"]) == "xᵀ δ[hidden.a]"
    assert delta_terms(graph, graph["hidden.z"]) == (
        "δ[doubled] · 2",
        "δ[multiply] · z",
        "δ[multiply] · z",
    )
    assert delta_formula(graph, graph["loss"]) == "1"


def test_leaves_have_no_formula_and_undelivered_deltas_neither() -> None:
    graph = network()
    assert value_formula(graph, graph["x"]) == ""
    assert delta_formula(Graph({"y": graph["hidden.z"]}), graph["hidden.z"]) == ""


def test_a_leaf_that_the_loss_does_not_see_has_the_delta_zero() -> None:
    x, unused = input("x", 2), parameter("unused", 2)
    graph = derive(Graph({"loss": sum(x, name="loss"), "other": unused * 1.0}), "loss")
    assert delta_formula(graph, graph["unused"]) == "0"


def test_names_lose_their_scope_only_where_that_is_unambiguous() -> None:
    with scope("inner"):
        x = input("x", 2)
    y = input("x", 2)
    with scope("inner"):
        graph = Graph({"inner.y": add(x, y, name="y")})
    assert value_formula(graph, graph["inner.y"]) == "inner.x + x"


def test_rules_are_taken_apart_by_place() -> None:
    rules = {operation.name: operation for operation in ALL_OPERATIONS}
    assert delta_rule(rules["matmul"], 0) == "δ x₂ᵀ"
    assert delta_rule(rules["matmul"], 1) == "x₁ᵀ δ"
    assert delta_rule(rules["where"], 2) == "0 where x₁, else δ"
    assert delta_rule(rules["maximum"], 1).startswith("δ where xᵢ is the larger")
    assert delta_rule(rules["cross_entropy"], 0).endswith("0 where x₂ is ignored")
    assert delta_rule(rules["tanh"], 0) == "δ · (1 - y²)"


WITH_HEADS = [operation for operation in ALL_OPERATIONS if operation.arity != 0]


@pytest.mark.parametrize("operation", WITH_HEADS, ids=lambda operation: operation.name)
def test_no_formula_of_an_operation_keeps_a_letter_for_a_name(operation: Operation) -> None:
    dtypes = {"integer": "int32", "boolean": "bool"}
    drawn = operation.samples[0]
    heads = [
        input(f"H{n}", draw.shape, dtypes.get(draw.kind, "float64"))
        for n, draw in enumerate(drawn.heads)
    ]
    t = operation.node(*heads, name="T", **drawn.attributes)
    graph = Graph({"T": t})
    texts = [value_formula(graph, t)]
    texts += [contribution_formula(graph, t, place) for place in range(len(heads))]
    for text in texts:
        assert text or operation.delta is None
        assert not re.search(r"(?<![A-Za-z])[xy](?![A-Za-z])|ˣ|ʸ|x[₁₂₃ᵢ]", text), text


def test_lists_superscripts_and_coefficients() -> None:
    parts = [input(f"p{n}", 1) for n in range(8)]
    t = concatenate(parts, 0, name="t")
    graph = Graph({"t": t})
    assert value_formula(graph, t) == "p0, p1, p2, p3, p4, p5, … one after another"
    root = sqrt(parts[0], name="root")
    assert contribution_formula(Graph({"r": root}), root, 0) == "δ[root] / (2·root)"
    soft = log_softmax(parts[0], name="s")
    assert contribution_formula(Graph({"s": soft}), soft, 0) == "δ[s] - e^s · Σ δ[s]"


def test_the_text_on_an_edge_is_short() -> None:
    with scope("far.away"):
        x, t = input("x", (2, 3)), input("t", 2, "int32")
        loss = cross_entropy(x, t, name="losses")
        scaled = multiply(x, 0.125, name="scaled")
        other = multiply(x, constant([1.0, 2.0, 3.0], "float32", name="table"), name="other")
    graph = Graph({"l": loss, "s": scaled, "o": other})
    assert factor_text(graph, loss, 0) == "δ · (softmax(x) - q), 0 where t is ignored"
    assert factor_text(graph, scaled, 0) == "δ · 0.125"
    assert factor_text(graph, other, 0) == "δ · table"


def test_the_factor_of_attention_is_written_as_it_is_declared() -> None:
    q, k = input("q", (2, 6)), input("k", (5, 6))
    matches = matmul(q, k, transpose_b=True, name="matches")
    scores = multiply(matches, 6**-0.5, name="scores")
    near = multiply(matches, 0.4083, name="near")  # 1/√6 is 0.40825
    turned = multiply(matmul(q, transpose(k), name="m"), 6**-0.5, name="turned")
    graph = Graph({"s": scores, "n": near, "t": turned})
    assert value_formula(graph, scores) == "matches · 1/√D_k"
    assert contribution_formula(graph, scores, 0) == "δ[scores] · 1/√D_k"
    assert value_formula(graph, near) == "matches · 0.4083"
    assert value_formula(graph, turned) == "m · 0.408248", "not known to be Q Kᵀ"


def test_a_parameter_is_called_by_its_alias() -> None:
    x = input("x", (2, 3))
    with scope("query"):
        w = parameter("w", (3, 3))
        alias(w, "W_Q")
        y = matmul(x, w, name="y")
    graph = Graph(y)
    assert value_formula(graph, y) == "x W_Q"
    assert list(graph.parameters) == ["query.w"] and graph["query.W_Q"] is w


def test_hostile_names_stay_one_line_and_short() -> None:
    x = input("δ y x₁\n\x1b[2J\u202e" + "a" * 10_000, 2)
    t = tanh(x, name="x y")
    graph = Graph({"t": t})
    text = contribution_formula(graph, t, 0) + value_formula(graph, t)
    assert "\n" not in text and "\x1b" not in text and "\u202e" not in text and len(text) < 300
    assert contribution_formula(graph, t, 0) == "δ[x y] · (1 - x y²)"


def test_products_say_which_side_is_transposed() -> None:
    a, b = (input(name, (3, 3), "float64") for name in "ab")
    shown = {}
    for left in (False, True):
        for right in (False, True):
            y = matmul(a, b, left, right, name="y")
            graph = derive(Graph({"loss": sum(y, name="loss")}), "loss")
            shown[left, right] = (
                value_formula(graph, y),
                contribution_formula(graph, y, 0),
                contribution_formula(graph, y, 1),
            )
    assert shown == {
        (False, False): ("a b", "δ[y] bᵀ", "aᵀ δ[y]"),
        (False, True): ("a bᵀ", "δ[y] b", "δ[y]ᵀ a"),
        (True, False): ("aᵀ b", "b δ[y]ᵀ", "a δ[y]"),
        (True, True): ("aᵀ bᵀ", "bᵀ δ[y]ᵀ", "δ[y]ᵀ aᵀ"),
    }
