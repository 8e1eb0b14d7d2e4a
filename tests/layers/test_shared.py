"""A layer that is declared once and applied twice has one set of weights."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.errors import DeclarationError
from graphgrad.layers import dense, shared


def twins():
    left, right = gg.input("left", ("batch", 3), "float64"), gg.input("right", (2, 3), "float64")
    with gg.scope("twins"):
        tower = shared(lambda x: gg.tanh(dense(x, 4, "tower"), name="z"))
    with gg.scope("elsewhere"):
        return tower(left), tower(right)


def test_both_applications_use_the_same_parameters():
    a, b = twins()
    graph = gg.Graph({"a": a, "b": b, "loss": gg.alias(a.sum() + (b * b).sum(), "loss")})
    assert set(graph.parameters) == {"twins.tower.w", "twins.tower.b"}
    state = gg.initial_state(graph, 1)
    x, y = np.random.default_rng(0).normal(size=(2, 2, 3))
    run = gg.compile(gg.derive(graph, "loss"), ["twins.tower.w.delta"])
    found = run(state, left=x, right=y)
    w, bias = state["twins.tower.w"], state["twins.tower.b"]
    za, zb = np.tanh(x @ w + bias), np.tanh(y @ w + bias)
    np.testing.assert_allclose(found["a"], za)
    np.testing.assert_allclose(found["b"], zb)
    expected = x.T @ (1 - za**2) + y.T @ (2 * zb * (1 - zb**2))
    np.testing.assert_allclose(found["twins.tower.w.delta"], expected)


def test_two_models_share_nothing():
    (a, _), (b, _) = twins(), twins()
    w = [gg.Graph(node).parameters["twins.tower.w"] for node in (a, b)]
    assert w[0] is not w[1]


def test_without_it_a_second_application_is_refused():
    x = gg.input("x", (2, 3))
    with pytest.raises(DeclarationError, match="two leaves"):
        gg.Graph(dense(x, 4, "tower") + dense(x, 4, "tower"))


def test_states_are_shared_too_and_inputs_are_not():
    def layer(x):
        return x * gg.state("scale", (), 2.0)

    twice = shared(layer)
    assert twice.__name__ == "layer"
    x = gg.input("x")
    assert list(gg.Graph(twice(twice(x))).states) == ["scale"]
    fed = shared(lambda: gg.input("x"))
    assert {fed().name, fed().name} == {"x", "use_2.x"}


def test_nodes_of_each_use_have_names_of_their_own():
    a, b = twins()
    assert (a.name, b.name) == ("twins.z", "twins.use_2.z")
    names = set(gg.Graph({"a": a, "b": b}).names)
    assert {"twins.tower.a", "twins.use_2.tower.a"} <= names and "twins.tower.a_1" not in names


def test_layers_that_share_may_be_part_of_layers_that_share():
    def inner(x):
        return x * gg.parameter("w", (), 2.0)

    def outer(x):
        twice = shared(inner)
        with gg.scope("more"):
            return twice(twice(x)) + gg.parameter("offset", (), 1.0)

    x = gg.input("x", (), "float32")
    with gg.scope("outer"):
        both = shared(outer)
    graph = gg.Graph({"y": both(both(x))})
    assert list(graph.parameters) == ["outer.w", "outer.more.offset"]
    state = gg.initial_state(graph)
    assert gg.compile(graph)(state, x=1.0)["y"] == 4 * (4 * 1 + 1) + 1


def test_what_only_a_second_use_declares_has_its_place_in_the_first():
    layer = shared(lambda x, more: x * gg.parameter("w") + (gg.parameter("b") if more else 0.0))
    x = gg.input("x")
    graph = gg.Graph({"y": layer(layer(x, False), True)})
    assert sorted(graph.parameters) == ["b", "w"]
    assert all(leaf.name == name for name, leaf in graph.parameters.items())


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (lambda: gg.parameter("w", 4), "another shape"),
        (lambda: gg.parameter("w", 3, dtype="float64"), "another dtype"),
        (lambda: gg.parameter("w", 3, 1.0), "another initial"),
        (lambda: gg.state("w", 3), "as state with another kind"),
    ],
)
def test_what_would_be_another_parameter_is_refused(second, reason):
    declare = shared(lambda what: what())
    declare(lambda: gg.parameter("w", 3))
    with pytest.raises(DeclarationError, match=f"'w' is shared as parameter.*{reason}"):
        declare(second)
