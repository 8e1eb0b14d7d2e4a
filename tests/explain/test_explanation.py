"""Derivations: the closed form is that of a textbook, every line agrees with numbers, and a wrong
rule is the line that does not."""

import json
from dataclasses import replace

import numpy as np
import pytest

from graphgrad.backprop import derive
from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.explain.derivation import find_derivation
from graphgrad.explain.explanation import Explanation, explain
from graphgrad.explain.explanation_text import text_lines
from graphgrad.explain.expression import Writer
from graphgrad.graph import (
    Graph,
    constant,
    initial_state,
    input,
    normal,
    parameter,
    scope,
)
from graphgrad.layers import layer_norm
from graphgrad.models import feedforward, transformer
from graphgrad.ops import (
    add,
    cross_entropy,
    half_squared_error,
    log,
    matmul,
    mean_over_targets,
    multiply,
    relu,
    softmax,
    sum,
    tanh,
    where,
    with_delta,
)

SMALL = {**transformer.CHECK, "dtype": "float64"}


def transformer_explained(node: str, **settings: object) -> Explanation:
    chosen = replace(transformer.Settings(), **{**SMALL, **settings})
    graph = transformer.training_graph(chosen, 11, 9)
    generator = np.random.default_rng(0)
    feeds = {name: generator.integers(0, 9, (2, 5), dtype=np.int32) for name in graph.inputs}
    return explain(graph, node, feeds, initial_state(graph, 0))


def neuron_explained(node: str) -> Explanation:
    graph = feedforward.network(replace(feedforward.Settings(), dtype="float64"))
    generator = np.random.default_rng(1)
    feeds = {name: generator.standard_normal(4) for name in graph.inputs}
    return explain(graph, node, feeds, initial_state(graph, 0))


def text(explanation: Explanation) -> str:
    return "\n".join(text_lines(explanation))


# ---------------------------------------------------------------- what a student should read


def test_the_delta_of_logits_is_p_minus_y_over_n() -> None:
    found = transformer_explained("decoder.output.logits")
    (line,) = found.closed_forms
    assert line.form.text == "(p - y) / N where target_output ≠ 0, else 0"
    meanings = {item.symbol: item.text for item in line.form.definitions}
    assert meanings == {
        "p": "softmax(logits)",
        "y": "one_hot(target_output) · 0.9 + 0.0111111",
        "N": "tokens",
    }
    definitions = line.form.definitions
    at = {item.symbol: item.example for item in definitions if item.example is not None}
    assert (at["p"] - at["y"]) / at["N"] == pytest.approx(line.form.example)
    assert found.complete and found.agrees and line.agreement.elements == 2 * 5 * 9
    assert [step.node for step in found.steps] == ["logits", "losses", "total"]


def test_a_neuron_has_the_lectures_formula() -> None:
    found = neuron_explained("hidden.h2.a")
    first, second = found.closed_forms
    assert first.form.text == (
        "(δ[output.y1.a] · w.h2->y1 + δ[output.y2.a] · w.h2->y2 + δ[output.y3.a] · w.h2->y3)"
        " · z · (1 - z)"
    )
    assert second.form.text == "(output.y1.z - truth.y1) · output.y1.z · (1 - output.y1.z)"
    assert (second.first, second.last) == (3, 4)
    assert found.steps[2].similar == ("output.y2.a", "output.y3.a") and found.agrees
    assert found.value == "w.x1->h2 · x1 + w.x2->h2 · x2 + w.x3->h2 · x3"


def test_attention_scores_have_the_delta_of_a_softmax() -> None:
    found = transformer_explained("decoder.0.attention.scores")
    assert found.value == "matches · 1/√D_k"
    assert found.agrees and not found.complete and found.given
    second = found.steps[1]
    assert second.lines[0].formulas == ("weights · (δ[weights] - Σ δ[weights] · weights)",)
    assert "where decoder.target_mask, else 0" in found.closed_forms[0].form.text


def test_the_input_of_a_layer_normalisation_has_the_delta_of_the_textbooks() -> None:
    found = transformer_explained("encoder.0.attention_residual")
    said = found.closed_forms[0].form
    assert said.text == (
        "(δ - mean(δ) - x̂ · mean(δ · x̂)) / √(variance(attention_residual) + 1e-05)"
    )
    assert {item.symbol: item.text for item in said.definitions} == {
        "δ": "δ[attention_norm.standard]",
        "x̂": "attention_norm.standard",
    }
    assert found.agrees


def by_hand() -> Graph:
    """The cross-entropy of a softmax as a beginner writes it."""
    x, y = input("x", ("batch", 3), "float64"), input("y", ("batch", 3), "float64")
    w = parameter("w", (3, 3), normal(1.0), "float64")
    logits = matmul(x, w, name="logits")
    p = softmax(logits, name="p")
    losses = sum(multiply(y, log(p, name="log_p"), name="terms"), name="total")
    return Graph({"loss": multiply(losses, -0.25, name="loss")})


def test_the_missing_1_over_n_is_said_where_the_formula_is() -> None:
    x, t = (input(name, ("batch", 6), "float64") for name in "xt")
    y = layer_norm(x, "norm")
    graph = Graph({"loss": half_squared_error(y, t, name="loss")})
    generator = np.random.default_rng(1)
    feeds = {name: generator.normal(size=(2, 6)) for name in "xt"}
    state = {name: np.ones(6) for name in graph.parameters}
    found = explain(graph, "norm.standard", feeds, state)
    lines = "\n".join(text_lines(found))
    assert "standard = (x - μ) / √(σ² + ε)\n    with μ = 1/n Σ x, σ² = 1/n Σ (x - μ)²" in lines
    assert "leaves out the 1/n" in found.note
    assert not explain(graph, "norm.scaled", feeds, state).note


def test_rewrites_of_the_passes_are_on_record() -> None:
    graph = by_hand()
    x = np.random.default_rng(0).standard_normal((4, 3))
    feeds = {"x": x, "y": np.eye(3)[[0, 2, 1, 0]]}
    found = explain(graph, "logits", feeds, initial_state(graph, 0))
    rules = [item.rule for line in found.closed_forms for item in line.form.rewrites]
    assert "p · (δ/p - s) → δ - p · s" in rules and found.agrees and found.complete
    shown = text(found)
    assert "The passes rewrite" in shown and "→" in shown


def test_a_sum_over_tails_is_a_line_for_each_tail() -> None:
    x = input("x", 4, "float64")
    w = parameter("w", 4, normal(1.0), "float64")
    z = tanh(multiply(w, x, name="a"), name="z")
    graph = Graph(
        {"loss": sum(add(multiply(z, x, name="left"), tanh(z, name="right")), name="loss")}
    )
    found = explain(graph, "z", {"x": np.arange(1.0, 5.0)}, initial_state(graph, 0))
    assert [line.tail for line in found.steps[0].lines] == ["left", "right"]
    shown = text(found)
    assert "z is used twice:" in shown and "the sum of these" in shown and "✗" not in shown


# ---------------------------------------------------------------- what it must not hide


def wrong(delta_of_z: object) -> Graph:
    bad = replace(tanh, name="bad", delta=delta_of_z)
    x, w = input("x", 3, "float64"), parameter("w", 3, normal(1.0), "float64")
    middle = bad(tanh(multiply(x, w, name="a"), name="first"), name="middle")
    return Graph({"loss": sum(multiply(middle, middle, name="square"), name="loss")})


def test_a_planted_wrong_rule_is_the_line_that_differs() -> None:
    graph = wrong(lambda delta, y, x: (delta * (1.0 - y),))
    found = explain(graph, "a", {"x": np.array([0.4, -1.2, 2.0])}, initial_state(graph, 0))
    lines = {line.tail: line.agreement for step in found.steps for line in step.lines}
    assert [tail for tail, item in lines.items() if item and not item.agrees] == ["middle"]
    assert not found.agrees and found.verdict.suspect == "middle"
    shown = text(found)
    assert "✗" in shown and "to blame: middle, bad: δ · (1 - y²)" in shown
    assert f"{__file__}:" in shown.split("to blame")[1]


def test_a_rule_of_the_users_own_is_not_compared() -> None:
    x, w = input("x", 3, "float64"), parameter("w", 3, normal(1.0), "float64")
    a = multiply(x, w, name="a")
    y = with_delta(relu(a), (a,), lambda delta, y, x: (delta,), name="own")
    graph = Graph({"loss": sum(multiply(y, y), name="loss")})
    found = explain(graph, "a", {"x": np.ones(3)}, {"w": np.array([1.0, -2.0, 3.0])})
    assert found.steps[0].lines[0].agreement is None and found.agrees
    assert "the model's own" in text(found)


def test_what_has_no_delta_is_refused() -> None:
    x, ids = input("x", 3, "float64"), input("ids", 3, "int32")
    aside = tanh(x, name="aside")
    graph = Graph({"loss": sum(x * x, name="loss"), "aside": aside}, names={"ids": ids})
    feeds = {"x": np.ones(3), "ids": np.ones(3, np.int32)}
    with pytest.raises(UnknownNameError, match="does not depend on 'aside'"):
        explain(graph, "aside", feeds)
    with pytest.raises(UnknownNameError, match="only floats"):
        explain(graph, "ids", feeds)
    with pytest.raises(UnknownNameError, match="did you mean 'aside'"):
        explain(graph, "asid", feeds)
    single = Graph({"loss": sum(input("x", 3), name="loss")})
    with pytest.raises(DeclarationError, match="float64"):
        explain(single, "x", {"x": np.ones(3)})


def test_hostile_names_stay_text() -> None:
    x = input("x\x1b[31m\n", 3, "float64")
    graph = Graph({"loss": sum(tanh(x, name="<script>\u202e"), name="loss")})
    found = explain(graph, "<script>\u202e", {x.attributes["label"]: np.ones(3)})
    shown = text(found)
    assert "\x1b" not in shown and "\u202e" not in shown


def test_an_explanation_is_strict_json() -> None:
    found = neuron_explained("hidden.h1.z").to_dict()
    read = json.loads(json.dumps(found, allow_nan=False))
    assert read["steps"][0]["lines"][0]["formulas"] == ["δ[output.y1.a] · w.h1->y1"]
    assert read["agrees"] is True


def test_a_mask_and_the_loss_itself_can_be_explained() -> None:
    x = input("x", 4, "float64")
    kept = where(x > 0.0, x, constant(-np.inf, "float64"), name="kept")
    weights = softmax(kept, name="weights")
    graph = Graph({"loss": sum(weights * x, name="loss")})
    feeds = {"x": np.array([1.0, -1.0, 2.0, 0.5])}
    assert explain(graph, "kept", feeds).agrees
    loss = explain(graph, "loss", feeds)
    assert loss.complete and not loss.steps and "δ[loss]" in text(loss)


def test_a_derivation_ends_after_its_steps() -> None:
    x = input("x", 3, "float64")
    y = x
    for number in range(30):
        y = tanh(y, name=f"{'abcdefghijklmnopqrstuvwxyzABCD'[number]}")
    graph = derive(Graph({"loss": sum(y, name="loss")}), "loss")
    found = find_derivation(graph, graph["c"], graph["loss"], "", 4)
    assert len(found.steps) == 4 and found.given == (graph["g"],) and not found.complete


def test_layer_norm_and_cross_entropy_agree_on_open_sizes() -> None:
    x = input("x", ("batch", "n", 4), "float64")
    targets = input("targets", ("batch", "n"), "int32")
    with scope("norm_scope"):
        logits = layer_norm(x)
    losses = cross_entropy(logits, targets, 0.0, 0, name="losses")
    graph = Graph({"loss": mean_over_targets(losses, targets, 0, name="loss")})
    feeds = {
        "x": np.random.default_rng(2).standard_normal((2, 3, 4)),
        "targets": np.array([[1, 2, 0], [3, 0, 1]], np.int32),
    }
    assert explain(graph, "x", feeds, initial_state(graph, 0)).agrees


# ---------------------------------------------------------------- expressions


def test_parentheses_are_written_only_if_needed() -> None:
    a, b, c = (input(name, 3, "float64") for name in "abc")
    shown = {
        "a - (b - c)": a - (b - c),
        "a - b - c": a - b - c,
        "(a + b) · c": (a + b) * c,
        "a / (b · c)": a / (b * c),
        "a · b / c": a * b / c,
        "-(a + b)": -(a + b),
        "a²": a * a,
        "(a + b)²": (a + b) * (a + b),
        "a · (Σ b)": a * sum(b),
        "tanh(a + b)": tanh(a + b),
        "a where b > 0, else c": where(b > 0.0, a, c),
    }
    for wanted, node in shown.items():
        graph = Graph({"y": node}, names={"a": a, "b": b, "c": c})
        assert Writer(graph, "", known=frozenset((a, b, c))).text(node, opened=True) == wanted


def test_every_node_of_our_models_can_be_explained() -> None:
    """One in nine nodes of the Transformer, each with all its steps, and what only cancels."""
    chosen = replace(transformer.Settings(), **SMALL)
    graph = transformer.training_graph(chosen, 11, 9)
    generator = np.random.default_rng(0)
    feeds = {name: generator.integers(0, 9, (2, 4), dtype=np.int32) for name in graph.inputs}
    state = initial_state(graph, 0)
    names = [graph.name_of(node) for node in graph.nodes[::9] if node.type.is_float]
    number = next(node for node in graph if node.operation is constant and node.type.is_float)
    count = 0
    for name in [*names, graph.name_of(number)]:
        try:
            found = explain(graph, name, feeds, state, steps=3)
        except UnknownNameError as problem:
            assert "does not depend" in str(problem), name
            continue
        assert found.agrees, name
        assert list(text_lines(found))
        count += 1
    assert count > 12
