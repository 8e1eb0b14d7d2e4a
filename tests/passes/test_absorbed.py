"""What became of removed nodes: the users that compute without them, and since which pass."""

from graphgrad.graph import Graph, constant, input
from graphgrad.ops import exp, log, softmax, sum
from graphgrad.passes import PASSES, optimise
from graphgrad.passes.absorbed import Absorption, Users


def watched(graph: Graph) -> tuple[Users, Graph]:
    users = Users()
    after, _ = optimise(graph, PASSES, lambda name, before, after: users.see(name, before))
    return users, after


def test_a_removed_node_names_what_computes_without_it() -> None:
    x = input("x", ("batch", 3), "float32")
    # numbers of this test alone: a number is one node in all graphs, and keeps its first name
    left, right, zero = constant(2.0625, name="left"), constant(3.0625, name="right"), constant(0.0)
    p = softmax(x * (left * right), name="p")
    y = log(p, name="y") - zero
    unused = exp(x, name="unused")
    graph = Graph({"loss": sum(y, name="loss")}, names={"unused": unused})
    users, after = watched(graph)
    assert not {"left", "right", "p", "unused"} & after.names.keys() and zero not in after
    product = graph.name_of(graph.tails(left)[0])
    assert users.absorbed("left", after) == Absorption((product,), "fold_constants", True)
    assert users.absorbed("p", after) == Absorption(("y",), "stabilise", False)
    found = users.absorbed(graph.name_of(zero), after)
    assert found is not None and found.since == "simplify" and not found.folded
    assert users.absorbed("unused", after) is None


def test_users_that_are_gone_too_lead_to_theirs() -> None:
    a, b, c = (constant(number, name=f"n{number}") for number in (2.125, 3.125, 4.125))
    x = input("x", (2,), "float32")
    graph = Graph({"y": x * ((a * b) * c)})
    users, after = watched(graph)
    found = users.absorbed("n2.125", after)
    assert found is not None and found.folded
    (into,) = found.into
    assert after.names[into].attributes["value"].array.item() == 2.125 * 3.125 * 4.125
