"""What is said of each pass: which nodes it removed, merged, folded, rewrote, rebuilt or added."""

from graphgrad.graph import Graph, constant, input, normal, parameter, scope
from graphgrad.ops import exp, log, matmul, softmax, subtract, sum, tanh
from graphgrad.passes import fold_constants, prune, simplify, stabilise
from graphgrad.passes.changes import changes


def network() -> Graph:
    x = input("x", ("batch", 3), "float32")
    w = parameter("w", (3, 4), normal(1.0))
    with scope("layer"):
        a = matmul(x, w, name="a") - 0.0
        z = tanh(a, name="z")
    two = constant(2.0) * constant(3.0)
    losses = log(softmax(z * two, name="p"), name="log_p")
    unused = exp(z, name="unused")
    return Graph({"loss": sum(losses, name="loss")}, names={"unused": unused})


def test_each_pass_says_what_it_did() -> None:
    graph = network()
    pruned = prune(graph)
    found = changes(graph, pruned)
    assert [name for name, *_ in found["removed"]] == ["unused"]
    stable = stabilise(pruned)
    rewritten = {name: (was, now) for name, was, now in changes(pruned, stable)["rewritten"]}
    was, now = rewritten["log_p"]
    assert was.operation is log and now.operation.name == "log_softmax"
    folded = fold_constants(stable)
    values = [now.attributes["value"].array for _, _, now in changes(stable, folded)["folded"]]
    assert [array.item() for array in values] == [6.0]
    simple = simplify(folded)
    merged = changes(folded, simple)["merged"]
    assert [(was.operation, now) for _, was, now in merged] == [(subtract, simple["layer.a"])]
    counts = [len(items) for items in changes(simple, simple).values()]
    assert not any(counts)


def test_nodes_without_a_counterpart_are_added() -> None:
    graph = Graph({"y": tanh(input("x", (2,), "float32"), name="y")})
    after = graph.replaced({graph["y"]: exp(exp(graph["x"], name="new"), name="outer")})
    found = changes(graph, after)
    assert [name for name, *_ in found["added"]] == ["new"]
    assert [item.after for item in found["rewritten"]] == [after["y"]]
