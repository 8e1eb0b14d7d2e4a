"""Nodes are hash-consed: equal is identical, and nothing else is."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Node, Operation
from graphgrad.errors import DeclarationError
from graphgrad.graph import Literal, TensorType
from graphgrad.graph.types import FLOAT32


def test_the_same_declaration_is_the_same_node():
    x, y = gg.input("x", 3), gg.input("y", 3)
    assert x + y is x + y and gg.tanh(x) is gg.tanh(x)
    assert gg.sum(x, 0) is gg.sum(x, -1)  # equal once the axes are counted from the front
    assert x + y is not y + x and x + y is not x - y
    assert gg.sum(x) is not gg.sum(x, keepdims=True)


def test_numbers_that_python_takes_for_equal_are_different_constants():
    values = [1, 1.0, True, 0, 0.0, -0.0, False, float("nan"), float("inf"), np.float64(1), [1.0]]
    nodes = [gg.constant(value) for value in values]
    assert len(set(nodes)) == len(nodes)
    assert nodes == [gg.constant(value) for value in values]


@pytest.mark.parametrize(
    "values",
    [
        (1, 1.0, True),
        (0.0, -0.0),
        ((1, 2), (1.0, 2)),
        (np.float32(0.0), np.float32(-0.0)),
        (gg.dimension("n"), "n"),
        (float("nan"), float("inf")),
    ],
    ids=str,
)
def test_attributes_that_python_takes_for_equal_are_different(values):
    mark = Operation("mark", lambda x, value: x, "x")
    x = gg.input("x", 3)
    nodes = [mark(x, value=value) for value in values]
    assert len(set(nodes)) == len(values)
    assert nodes == [mark(x, value=value) for value in values]


def test_numbers_meet_a_node_as_its_dtype():
    x = gg.input("x", 3)
    assert x + 1 is x + 1.0 and x + 1 is x + gg.constant(1.0)
    assert gg.input("n", 3, "int32") + 1 is not x + 1


def test_leaves_with_data_never_merge():
    assert gg.input("x", 3) is not gg.input("x", 3)
    assert gg.parameter("w", 3) is not gg.parameter("w", 3)
    assert gg.state("s") is not gg.state("s")


def test_a_node_that_is_declared_twice_answers_to_both_names():
    x = gg.input("x", 3)
    first = gg.tanh(x, name="hidden")
    with gg.scope("copy"):
        assert gg.tanh(x, name="z") is first
    assert gg.tanh(x) is first  # a default name adds nothing
    assert first.names == ("hidden", "copy.z") and first.name == "hidden"


def test_a_chosen_name_replaces_the_default():
    x = gg.input("x", 3)
    node = gg.cos(x)
    assert node.names == ("cos",)
    assert gg.cos(x, name="wave").names == ("wave",)


def test_a_constant_is_a_copy_and_cannot_be_written_to():
    array = np.array([1.0, 2.0])
    node = gg.constant(array)
    array[0] = 9
    value = node.attributes["value"].array
    assert value.tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        value[0] = 5
    assert node is gg.constant([1.0, 2.0]) and node is not gg.constant([[1.0, 2.0]])
    assert repr(Literal(np.float32(2))) == "2.0" and repr(Literal(np.zeros(3))) == "<3 numbers>"


def test_constants_have_the_dtypes_of_the_docstring():
    for value, dtype in (
        (1.5, "float32"),
        (2, "int32"),
        (True, "bool"),
        (np.float64(1), "float64"),
        (np.int64(1), "int64"),
        ([1.5], "float64"),
    ):
        assert gg.constant(value).dtype == dtype
    assert gg.constant(2, "float64").dtype == "float64"


@pytest.mark.parametrize("value", ["text", None, 1j, [[1], [2, 3]], object(), 2**40, np.uint8(1)])
def test_what_is_no_constant_is_refused(value):
    with pytest.raises(DeclarationError, match="constant") as caught:
        gg.constant(value)
    assert __file__ in caught.value.where


def test_infix_is_operations():
    a, b = gg.input("a", (2, 2)), gg.input("b", (2, 2))
    for node, name, heads in (
        (a + b, "add", (a, b)),
        (a - b, "subtract", (a, b)),
        (a * b, "multiply", (a, b)),
        (a / b, "divide", (a, b)),
        (a**b, "power", (a, b)),
        (a @ b, "matmul", (a, b)),
        (-a, "negative", (a,)),
        (a < b, "less", (a, b)),
        (a > b, "less", (b, a)),
        (a <= b, "less_equal", (a, b)),
        (a >= b, "less_equal", (b, a)),
    ):
        assert node.operation.name == name and node.heads == heads
    for node, name in ((1 - a, "subtract"), (1 / a, "divide"), (2**a, "power"), (1 + a, "add")):
        assert node.operation.name == name and node.heads[1] is a
    assert a[0].shape == (2,) and a == a and a != b


def test_a_node_is_no_number_and_no_sequence():
    x = gg.input("x", 3)
    with pytest.raises(DeclarationError, match="no truth value"):
        if x < 0:
            pass
    with pytest.raises(TypeError, match="not iterable"):
        iter(x)
    with pytest.raises(TypeError, match="not iterable"):
        sum(x)


def test_serials_grow_from_heads_to_tails():
    x = gg.input("x", 3)
    y = gg.tanh(x) * x
    assert all(head.serial < y.serial for head in y.heads)
    assert repr(y) == "<multiply = multiply : float32[3]>"


def test_nodes_are_freed_with_their_last_user():
    x = gg.input("x", 3)
    alive = weakref.ref(gg.tanh(x))
    gc.collect()
    assert alive() is None
    assert isinstance(gg.tanh(x), Node)


def test_threads_declare_the_same_nodes():
    x = gg.input("x", 3)
    found: list[list[Node]] = [[] for _ in range(8)]
    barrier = threading.Barrier(8)

    def declare(place: int) -> None:
        barrier.wait()
        node = x
        for number in range(300):
            node = node * float(number + 2) + x
            found[place].append(node)

    threads = [threading.Thread(target=declare, args=[place]) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(nodes == found[0] for nodes in found)
    serials = [node.serial for node in found[0]]
    assert serials == sorted(serials)


# ---------------------------------------------------------------- a user's own operation


SQUARE = Operation(
    "square",
    infer=lambda x: x,
    formula="x²",
    compute=lambda xp, out, x: xp.multiply(x, x, out=out),
    delta=lambda delta, y, x: (2.0 * delta * x,),
    delta_formula="2 δ x",
    arity=1,
)


def test_an_operation_of_a_user_is_a_few_lines():
    x = gg.parameter("x", 3, dtype="float64")
    graph = gg.derive(gg.Graph({"loss": gg.sum(SQUARE(x, name="squares"))}), "loss")
    program = gg.compile(graph, ["squares", "x.delta"])
    found = program({"x": np.array([1.0, -2, 3])})
    assert found["squares"].tolist() == [1, 4, 9] and found["x.delta"].tolist() == [2, -4, 6]


def test_a_wrong_shape_names_operation_shapes_line_and_fix():
    a, b = gg.input("left", ("batch", 3)), gg.input("right", (4, 5))
    with pytest.raises(DeclarationError) as caught:
        a @ b
    text = str(caught.value)
    assert "matmul(left: float32[batch, 3], right: float32[4, 5])" in text
    assert "3 and 4 differ" in text and "fix:" in text and "transpose" in text
    assert f"{__file__}:" in caught.value.where


def test_an_operation_without_its_attributes_is_refused():
    with pytest.raises(DeclarationError, match=r"takes 2 head\(s\), not 1"):
        gg.add(gg.input("x", 3))
    assert TensorType((2, gg.dimension("n")), FLOAT32).size == 2 * gg.dimension("n")
