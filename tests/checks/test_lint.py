"""What lint finds and, as important, what it leaves alone."""

import json
from dataclasses import replace

import numpy as np
import pytest

from graphgrad.checks.lint import lint, warnings_of
from graphgrad.checks.ranges import ranges_of
from graphgrad.graph import ONES, Graph, constant, full, input, iota, normal, parameter, scope
from graphgrad.layers import layer_norm
from graphgrad.models import attention, feedforward, transformer
from graphgrad.ops import (
    absolute,
    argmax,
    cast,
    cross_entropy,
    divide,
    exp,
    gather,
    log,
    log1p,
    log_softmax,
    matmul,
    maximum,
    mean,
    multiply,
    power,
    relu,
    rsqrt,
    sigmoid,
    softmax,
    softplus,
    sqrt,
    stop_gradient,
    sum,
    tanh,
    variance,
    where,
)

A = input("a", (4, 3))
W = parameter("w", (4, 3), normal(1.0))
B = input("b", (4, 3), "bool")


def found(node, **more):
    """The findings of a graph whose loss is the sum of the node and of a use of W."""
    loss = sum(node if node.shape == () else sum(node), name="loss") + 0.0 * mean(W)
    return lint(Graph({"loss": loss}, **more))


def rules(node):
    return [item.rule for item in found(node)]


UNGUARDED = {
    "log": log(W),
    "log of square": log(W * W),
    "log1p": log1p(W),
    "sqrt": sqrt(W),
    "sqrt of a square": sqrt(W * W),
    "norm": sqrt(sum(W * W)),
    "rsqrt of variance": rsqrt(variance(W, -1)),
    "division": divide(A, W),
    "one over": 1.0 / W,
    "by relu": A / relu(W),
    "by a difference": A / (W - A),
    "power": W**-1.0,
    "root": W**0.5,
    "by a sigmoid less one half": A / (sigmoid(W) - 0.5),
    "square root of tanh": sqrt(1 - tanh(W)),
}


@pytest.mark.parametrize("name", UNGUARDED)
def test_the_unguarded_is_found(name):
    assert [
        rule for rule in rules(UNGUARDED[name]) if rule in ("log", "sqrt", "division", "power")
    ], name


GUARDED = {
    "log of softmax": log(softmax(W)),
    "log of exp": log(exp(W)),
    "log of ε": log(W * W + 1e-6),
    "log of sigmoid": log(sigmoid(W)),
    "log1p of square": log1p(W * W),
    "log1p of softplus": log1p(softplus(W)),
    "sqrt of ε": sqrt(variance(W, -1) + 1e-5),
    "norm": sqrt(sum(W * W) + 1e-12),
    "rsqrt": rsqrt(mean(W * W, -1) + 1e-5),
    "by exp": A / exp(W),
    "by 1 + x²": A / (1.0 + W * W),
    "by softmax": A / softmax(W),
    "by a sum of exp": exp(W) / sum(exp(W), -1, keepdims=True),
    "by maximum": A / maximum(absolute(W), 1e-3),
    "by a number": W / 7.0,
    "by a count": sum(W) / sum(cast(B, "float32")),
    "chosen": log(where(W > 0.0, W, 1.0)),
    "chosen otherwise": log(where(W <= 0.0, 1.0, W)),
    "norm of a standard deviation": W / sqrt(variance(W, -1, keepdims=True) + 1e-5),
    "square": W**2.0,
    "square root of exp": power(exp(W), 0.5),
    "a layer norm": layer_norm(W),
    "mean": mean(W),
    "log of a table": log(constant([1.0, 2.0], "float32")),
    "cosh": log(exp(W) + exp(-W)),
}


@pytest.mark.parametrize("name", GUARDED)
def test_the_guarded_is_left_alone(name):
    assert not rules(GUARDED[name])


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh", "sigmoid", "linear"])
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_our_own_transformers_are_clean(activation, norm):
    for dropout, tie in ((0.0, False), (0.1, True)):
        settings = replace(
            transformer.Settings(),
            activation=activation,
            norm=norm,
            tie=tie,
            dropout=dropout,
            label_smoothing=dropout,
            layers=3,
        )
        for training in (True, False):
            assert not lint(transformer.training_graph(settings, 50, 40, training))


def test_our_other_models_are_clean():
    for form in ("neurons", "matrices"):
        for bias in (True, False):
            settings = replace(feedforward.Settings(), form=form, bias=bias, activation="relu")
            assert not lint(feedforward.network(settings))
    assert not lint(attention.task(attention.Settings(), {}).graph)


def test_a_choice_that_hides_the_value_but_not_the_delta():
    naive = where(W > 0.0, log(W), 0.0)
    (finding,) = found(naive)
    assert finding.rule == "where" and "0 · ∞ = NaN" in finding.problem
    assert "choose before" in finding.fix and __file__ in finding.origin
    (through,) = found(where(B, 2.0 * (A / W), 0.0))
    assert through.rule == "where"


@pytest.mark.parametrize(
    ("node", "rule"),
    [
        (softmax(input("single", (4, 1)), -1), "one element"),
        (log_softmax(input("single", (4, 1)), -1), "one element"),
        (variance(input("single", (4, 1)), -1), "one element"),
        (layer_norm(parameter("one", (4, 1), normal(1.0))), "one element"),
        (cross_entropy(softmax(W), input("t", 4, "int32")), "twice"),
        (softmax(softmax(W)), "twice"),
        (relu(-exp(W)), "dead branch"),
        (where(B, W, W), "dead branch"),
        (where(constant(np.ones(3, bool)), W, A), "dead branch"),
        (multiply(cast(B, "float32"), constant(-np.inf, "float32")), "infinity"),
        (gather(parameter("table", (3, 2), normal(1.0)), iota(7)), "index"),
        (matmul(A, parameter("ones", (3, 5), ONES)), "symmetry"),
        (cast(input("ids", 4, "int32") * 100_000, "float32"), "overflow"),
    ],
    ids=lambda item: item if isinstance(item, str) else "",
)
def test_what_says_nothing_or_breaks_is_found(node, rule):
    assert rule in rules(node)


def test_parameters_that_no_loss_reaches():
    lost, held = (parameter(name, 3, normal(1.0)) for name in ("lost", "held"))
    chosen = parameter("chosen", 3, normal(1.0))
    loss = sum(W, name="loss") + sum(stop_gradient(held)) + cast(argmax(chosen), "float32")
    findings = lint(Graph({"loss": loss, "aside": sum(lost)}))
    problems = {item.node: item.problem for item in findings if item.rule == "no loss"}
    assert set(problems) == {"lost", "held", "chosen"}
    assert "stop_gradient" in problems["held"] and "stop_gradient" not in problems["lost"]
    assert not [item for item in lint(Graph({"y": sum(lost)})) if item.rule == "no loss"]


def test_what_nothing_uses_and_what_shares_a_name():
    idle, aside = input("idle", 3), tanh(A, name="aside")
    with scope("layer"):
        first = tanh(A * 2.0, name="h")
    with scope("layer"):
        second = tanh(first + W, name="h")
    graph = Graph({"loss": sum(second, name="loss")}, names={"idle": idle, "aside": aside})
    findings = {item.node: item.rule for item in lint(graph)}
    assert findings == {"idle": "unused", "aside": "unused", "layer.h_1": "same name"}


def test_ranges_are_what_can_be_known():
    x = input("x", 3)
    shown = {
        "square": (x * x, 0, True),
        "shifted": (x * x + 0.5, 0.5, False),
        "scaled": (exp(x) * 3.0, 0, False),
        "difference": (1.0 - sigmoid(x), 0, True),
        "sum": (sum(exp(x)), 0, False),
        "largest": (maximum(x, 2.0), 2, False),
        "relu": (relu(x), 0, True),
        "opposite": (-relu(x), -np.inf, True),
    }
    for name, (node, low, zero) in shown.items():
        known = ranges_of(Graph({"y": node}))[node]
        assert (known.low, known.has_zero) == (low, zero), name


@pytest.mark.parametrize("seed", range(5))
def test_ranges_hold_on_random_values(seed):
    from graphgrad.ops.evaluate import evaluate

    x = input("x", (6, 4), "float64")
    y = parameter("y", (6, 4), full(1.0), "float64")
    nodes = [
        x * y,
        relu(x) + exp(y),
        absolute(x) / (1 + y * y),
        maximum(x, y) - 1.0,
        sigmoid(x) * y,
        where(x > y, x, y),
        softmax(x) * softmax(y),
        sqrt(absolute(x)) + log1p(absolute(y)),
        sum(x * x, -1),
        mean(relu(y), 0),
        (1 - tanh(x)) * -2.0,
    ]
    graph = Graph({str(i): node for i, node in enumerate(nodes)})
    generator = np.random.default_rng(seed)
    data = {"x": generator.normal(0, 3, (6, 4))}
    values = evaluate(graph, data, {"y": generator.normal(0, 3, (6, 4))})
    for node, known in ranges_of(graph).items():
        value = np.asarray(values[node], float)
        assert value.min() >= known.low - 1e-12 and value.max() <= known.high + 1e-12, node
        assert known.has_zero or (value != 0).all(), node


def test_findings_are_text_lines_and_json():
    findings = found(log(parameter("x\x1b[31m", 3, normal(1.0)), name="bad\n"))
    (finding,) = findings
    assert "\x1b" not in str(finding) and str(finding).splitlines()[0].startswith("bad\\n (log): ")
    assert "where: " in str(finding) and "fix: " in str(finding)
    assert json.loads(json.dumps(finding.to_dict()))["rule"] == "log"
    lines = warnings_of(Graph({"loss": sum(log(W), name="loss")}))
    assert len(lines) == 1 and "\n" not in lines[0] and "log of what can be" in lines[0]
