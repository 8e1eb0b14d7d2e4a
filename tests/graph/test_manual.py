"""What `help()` says of every public operation is what happens, and a wrong call is one error."""

from __future__ import annotations

import doctest
import inspect
import pydoc
import re

import pytest

import graphgrad as gg
from graphgrad import ops
from graphgrad.errors import DeclarationError

PUBLIC = [name for name in ops.__all__ if name.islower()]
DOCUMENTED = {name: getattr(ops, name) for name in PUBLIC}
DIRECT = {name: each for name, each in DOCUMENTED.items() if isinstance(each, gg.Operation)}


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_of_every_operation_gives_what_it_says(name):
    text = pydoc.plain(pydoc.render_doc(DOCUMENTED[name]))
    found = doctest.DocTestParser().get_doctest(
        inspect.getdoc(DOCUMENTED[name]), {"gg": gg}, name, None, None
    )
    assert any(f"gg.{name}(" in each.source or name == "slice" for each in found.examples)
    assert all(f">>> {each.source}" in text for each in found.examples)
    said: list[str] = []
    result = doctest.DocTestRunner().run(found, out=said.append)
    assert result.attempted >= 2 and result.failed == 0, "".join(said)


@pytest.mark.parametrize("name", DIRECT)
def test_help_shows_formula_delta_formula_and_shapes(name):
    operation, text = DIRECT[name], pydoc.plain(pydoc.render_doc(DOCUMENTED[name]))
    assert f"y = {operation.formula}" in text
    assert (operation.delta_formula or "nothing is sent back") in text
    assert re.search(r"→ (float32|bool|int32)\[", text)


def test_help_of_a_typed_operation_begins_with_its_call():
    text = pydoc.plain(pydoc.render_doc(gg.softmax))
    assert "softmax(x: Node, axis: int = -1, name: str | None = None) -> Node" in text
    assert "y = eˣ / Σ eˣ" in text and "y · (δ - Σ δ · y)" in text
    assert "float32[2, 3, 4] → float32[2, 3, 4]" in text


def test_the_signature_of_an_operation_is_how_it_is_called():
    assert str(inspect.signature(gg.tanh)) == "(x, /, *, name: 'str | None' = None) -> 'Node'"
    assert [*inspect.signature(gg.where).parameters] == ["x1", "x2", "x3", "name"]
    assert gg.tanh.__name__ == "tanh"
    assert [*inspect.signature(gg.softmax).parameters] == ["x", "axis", "name"]
    assert gg.softmax.__name__ == "softmax" and gg.softmax.__module__ == "graphgrad.ops.composite"


X = gg.input("x", (3, 4))
WEIGHTED = gg.Graph({"loss": gg.sum(gg.input("x", ("n",)) * gg.parameter("w"))})
GRAPH = gg.Graph({"loss": gg.sum(X)})

WRONG = {
    "no such keyword": (lambda: gg.tanh(X, axis=1), "tanh.*no argument 'axis'", "name"),
    "a name almost right": (lambda: gg.tanh(X, nme="y"), "no argument 'nme'", "mean 'name'"),
    "an axis almost right": (lambda: gg.softmax(X, axes=1), "softmax.*'axes'", "mean 'axis'"),
    "keepdims almost right": (lambda: gg.sum(X, keepdim=True), "'keepdim'", "mean 'keepdims'"),
    "one too few": (lambda: gg.matmul(X), "matmul.*missing.*'b'", "are a, b, transpose_a"),
    "one too many": (lambda: gg.transpose(X, (1, 0), "y", 3), "too many", "are x, axes, name"),
    "an attribute that has a name": (lambda: gg.cast(X, dtyp="int32"), "'dtyp'", "mean 'dtype'"),
    "of an input": (lambda: gg.input("x", shpe=3), "input.*'shpe'", "mean 'shape'"),
    "of a parameter": (lambda: gg.parameter("w", 3, inital=0.0), "'inital'", "mean 'initial'"),
    "of a state": (lambda: gg.state(nme="s"), "state.*'nme'", "mean 'name'"),
    "of a constant": (lambda: gg.constant(1.0, dtpe="int32"), "'dtpe'", "mean 'dtype'"),
    "of a size": (lambda: gg.extent(3, dtyp="int32"), "extent.*'dtyp'", "mean 'dtype'"),
    "a leaf without a name": (lambda: gg.input(), "input.*missing.*'name'", "are name, shape"),
    "of a layer": (lambda: gg.layers.dense(X, widht=3), "dense.*'widht'", "mean 'width'"),
    "of another layer": (lambda: gg.layers.layer_norm(X, eps=1), "'eps'", "mean 'epsilon'|by name"),
    "of an optimiser": (
        lambda: gg.adam(GRAPH, leaning_rate=1),
        "'leaning_rate'",
        "mean 'lear",
    ),
    "of fit": (lambda: gg.fit(GRAPH, {}, epoch=1), "fit: .*'epoch'", "mean 'epochs'"),
    "of another function": (
        lambda: gg.with_delta(X, (X,), rul=1),
        "'rul'",
        "mean 'rule'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_call_is_an_error_of_the_declaration_with_the_near_name(case):
    call, problem, fix = WRONG[case]
    with pytest.raises(DeclarationError, match=problem) as caught:
        call()
    assert caught.value.where.startswith(__file__)
    assert re.search(fix, caught.value.fix), caught.value.fix


def test_a_fault_inside_a_function_stays_what_it_is():
    with pytest.raises(TypeError, match="has no len"):
        gg.fit(gg.adam(WEIGHTED), {"x": [1.0]}, report=lambda epoch, figures: len(3))


def test_a_fault_inside_a_rule_stays_what_it_is():
    broken = gg.Operation("broken", lambda x: len(3), "x", arity=1)
    with pytest.raises(TypeError, match="has no len"):
        broken(X)
