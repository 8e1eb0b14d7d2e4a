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
    two, three = constant(2.0, name="two"), constant(3.0, name="three")
    p = softmax(x * (two * three), name="p")
    y = log(p, name="y") - constant(0.0, name="zero")
    unused = exp(x, name="unused")
    graph = Graph({"loss": sum(y, name="loss")}, names={"unused": unused})
    users, after = watched(graph)
    assert not {"two", "three", "p", "zero", "unused"} & after.names.keys()
    product = graph.name_of(graph.tails(two)[0])
    assert users.absorbed("two", after) == Absorption((product,), "fold_constants", True)
    assert users.absorbed("p", after) == Absorption(("y",), "stabilise", False)
    found = users.absorbed("zero", after)
    assert found is not None and found.since == "simplify" and not found.folded
    assert users.absorbed("unused", after) is None


def test_users_that_are_gone_too_lead_to_theirs() -> None:
    a, b, c = (constant(float(number), name=name) for number, name in enumerate("abc", 2))
    x = input("x", (2,), "float32")
    graph = Graph({"y": x * ((a * b) * c)})
    users, after = watched(graph)
    found = users.absorbed("a", after)
    assert found is not None and found.folded
    (into,) = found.into
    assert after.names[into].attributes["value"].array.item() == 24.0
