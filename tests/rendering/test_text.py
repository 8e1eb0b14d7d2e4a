"""The tree of scopes as text."""

from graphgrad.backprop import derive
from graphgrad.graph import Graph, constant, input, parameter, scope
from graphgrad.ops import matmul, sum, tanh
from graphgrad.rendering.text import tree_text
from graphgrad.rendering.view import View
from graphgrad.training.optimisers import training_step
from graphgrad.training.settings import TrainingSettings


def network() -> Graph:
    x = input("x", ("batch", 3))
    with scope("hidden"):
        w = parameter("w", (3, 3))
        z = tanh(matmul(x, w, name="a"), name="z")
        with scope("deep.inner"):
            y = z * 2.0
    return Graph({"loss": sum(y * z, name="loss")})


FORWARD = """\
7 forward nodes, 1 constant; 1 parameter of 9 numbers

x         input : float32[batch, 3]
hidden
├─ w  parameter : float32[3, 3]
├─ a  x w : float32[batch, 3]
├─ z  tanh a : float32[batch, 3]
└─ deep.inner
   └─ multiply  hidden.z · 2 : float32[batch, 3]
multiply  hidden.deep.inner.multiply · hidden.z : float32[batch, 3]
loss      Σ multiply : float32[]

output loss = loss
"""


def test_the_tree_of_a_forward_graph() -> None:
    assert tree_text(network()) == FORWARD
    assert tree_text(network()) == tree_text(network())


def test_deltas_are_below_their_nodes_a_line_for_each_tail() -> None:
    graph = derive(network(), "loss")
    lines = tree_text(graph).splitlines()
    assert lines[0].startswith("7 forward nodes, ")
    place = lines.index("├─ z  tanh a : float32[batch, 3]")
    assert lines[place + 1] == "│     δ = δ[deep.inner.multiply] · 2"
    assert lines[place + 2] == "│       + δ[multiply] · deep.inner.multiply"
    assert "│     δ = δ[z] · (1 - z²)" in lines
    without = tree_text(graph, View(deltas="none"))
    assert without.splitlines()[2:] == FORWARD.splitlines()[2:]


def test_names_cannot_disturb_the_tree() -> None:
    hostile = "a\n├─ b\x1b[2J\u202e"
    x = input(hostile, 2)
    with scope(hostile):
        y = tanh(x, name="y")
    text = tree_text(Graph({hostile: sum(y, name="loss")}))
    assert "\x1b" not in text and "\u202e" not in text
    assert len(text.splitlines()) == 8


def test_thousands_of_scopes_do_not_recurse() -> None:
    x = input(".".join(["s"] * 5000) + ".x", 2)
    assert ".s.s.s" in tree_text(Graph({"y": tanh(x, name="y")}))


def test_constants_and_updates_are_shown_if_the_view_includes_them() -> None:
    x, table = input("x", 2), constant([1.0, 2.0], "float32", name="table")
    graph = Graph({"y": (x * table) + 3.0})
    assert "constant <2 numbers> : float32[2]" in tree_text(graph)
    assert "constant 3.0" in tree_text(graph, View(constants=True))
    assert "constant 3.0" not in tree_text(graph)
    training = training_step(network(), TrainingSettings())
    assert "next_first_moment" in tree_text(training, View(updates=True))
    assert "next_first_moment" not in tree_text(training)
