"""The source of a program: stable text in which names never become code."""

from __future__ import annotations

import ast
import re

import numpy as np
import pytest
from planned import plan_of

import graphgrad as gg
from graphgrad import Graph, Operation
from graphgrad.backends import Program, lower


def program(graph: Graph, guards: tuple[str, ...] = ()) -> Program:
    """The program of the graph as it is, without passes."""
    return lower(plan_of(graph, [graph.outputs[name] for name in guards]))


HOSTILE = [
    "\"]); __import__('os').system('x')",
    "x\n    raise SystemExit",
    "x\r__import__('os')",
    "#" * 10_000,
    "\u202e\u2066right to left",
    "'''\"\"\"\\",
    "x\u2028y\x00z\x1b[31m",
    "{0}%s{x!r}",
    "κόσμος λ",
    "",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_names_never_become_code(name):
    x = gg.input(f"{name}x", 2)
    with gg.scope(name):
        w = gg.parameter("w", 2)
        y = gg.tanh(x * w, name=name or None)
        z = gg.reshape(y, (1, 2), name=f"{name}z")
    graph = Graph({f"{name}out": gg.exp(z)}, {w: w * 0.5})
    run = program(graph)
    tree = ast.parse(run.source)
    assert max(map(len, run.source.splitlines())) < 400
    allowed = {"np", "op", "view", "constants", "run", "float"}
    symbols = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert all(s in allowed or re.fullmatch(r"[vxwctb]\d+(_\d+)?", s) for s in symbols)
    assert not any(isinstance(node, ast.Import | ast.Raise | ast.Global) for node in ast.walk(tree))
    state = {w.attributes["label"]: np.ones(2, "f4")}
    found = run(state, **{x.attributes["label"]: np.zeros(2)})
    assert found[f"{name}out"].tolist() == [[1, 1]]


@pytest.mark.parametrize("name", ["op", "import os", "lambda", "np", "run", "κ", "ﬁ", "a" * 500])
def test_names_of_operations_and_attributes_never_become_code(name):
    def compute(xp, out, x, **attributes):
        assert attributes == {name: 2.5, "text": "__import__('os')", "pair": (1, (True, None))}
        xp.multiply(x, attributes[name], out=out)

    strange = Operation(
        name, lambda x, **_: x, "x", compute, arity=1, view=None, ufunc="add; import os"
    )
    attributes = {name: 2.5, "text": "__import__('os')", "pair": (1, (True, None))}
    run = program(Graph({"y": strange(gg.input("x", 2), **attributes)}))
    assert not any(isinstance(node, ast.Import) for node in ast.walk(ast.parse(run.source)))
    assert "__import__" not in run.source
    assert run(x=[1.0, 2.0])["y"].tolist() == [2.5, 5.0]


@pytest.mark.parametrize("name", ["ﬁ", "a b", "for"])
def test_names_of_views_never_become_code(name):
    strange = Operation(name, lambda x: x, "x", None, arity=1, view=lambda x: x[:])
    run = program(Graph({"y": gg.exp(strange(gg.exp(gg.input("x", 2))))}))
    assert run(x=[0.0, 0.0])["y"].tolist() == pytest.approx([np.e, np.e])


def test_attributes_are_printed_exactly():
    def compute(xp, out, x, value):
        out[...] = float(value)

    number = Operation("number", lambda x, value: x, "x", compute, arity=1)
    for value in (0.1, -0.0, 1e300, 5e-324, float("inf"), float("-inf"), float("nan"), 2**63, True):
        x = gg.input("x", (), "float64")
        found = program(Graph({"y": number(x, value=value)}))(x=0.0)["y"]
        np.testing.assert_array_equal(found, float(value))
        assert np.signbit(found) == np.signbit(float(value))


def test_the_source_is_stable_text_with_the_names_beside_it():
    x, w = gg.input("x", (2, 2)), gg.parameter("w", (2, 2))
    a = gg.matmul(x, w, name="a")
    y = gg.multiply(a, gg.constant(0.321, name="c"), name="y")
    graph = Graph({"t": gg.transpose(y, name="t"), "loss": gg.sum(y, name="loss")})
    run = program(graph, ("loss",))
    lines = run.source.splitlines()
    assert "x0" in lines[lines.index("def run(x0, w1):") + 1]
    for name, text in (
        ("a", "op.matmul("),
        ("y", "np.multiply("),
        ("t", "op.view_transpose("),
        ("loss", "op.sum("),
    ):
        line = run.line_of(graph[name])
        assert line is not None and text in lines[line - 1] and f"# {name} :" in lines[line - 1]
    assert any(line.strip().startswith("guard(") for line in lines)
    assert run.source == program(graph, ("loss",)).source
    assert run.line_of(gg.input("other")) is None
