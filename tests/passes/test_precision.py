"""Mixed precision: what is cast, what is not, and the numbers that follow."""

from __future__ import annotations

import numpy as np
import pytest
from half_numbers import NAMES
from random_graphs import grow_case
from small_transformer import batch, graph_of, small, state_of

import graphgrad as gg
from graphgrad import Graph, Node
from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.graph.types import FLOAT32
from graphgrad.ops.evaluate import evaluate, evaluate_node
from graphgrad.passes import PASSES, SPECIALISED_PASSES, optimise, sizes_of, specialise
from graphgrad.training.optimisers import training_step

SHORT = {"bfloat16": "bf16", "float16": "fp16"}
HALF = [(SHORT[name], name) for name in NAMES]
MOVES = ("reshape", "transpose", "broadcast_to", "concatenate", "slice")
FEEDS = batch([4, 3], [5, 2])


@pytest.fixture(scope="module")
def step() -> Graph:
    """The training step of a small Transformer without named sizes, as the passes leave it."""
    settings = small(dtype="float32", optimiser="adamw", weight_decay=0.1)
    graph = training_step(graph_of(settings), settings)
    first, _ = optimise(graph, PASSES)
    second, _ = optimise(specialise(first, sizes_of(first, FEEDS)), SPECIALISED_PASSES)
    return second


@pytest.fixture(scope="module")
def state(step):
    return state_of(step)


def products(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if node.operation is gg.matmul]


@pytest.mark.parametrize(("precision", "dtype"), HALF)
def test_every_product_reads_halves_and_nothing_else_does(step, precision, dtype):
    mixed = gg.mixed_precision(step, precision)
    gg.verify(mixed)
    assert len(products(mixed)) == len(products(step)) > 50
    for node in products(mixed):
        assert [head.dtype for head in node.heads] == [dtype, dtype]
    for node in mixed.nodes:
        if node.type.is_half:
            assert node.operation.name in ("cast", "matmul", "constant", *MOVES)
            tails = {tail.operation.name for tail in mixed.tails(node)}
            assert tails <= {"matmul", "cast", *MOVES}
    assert {node.dtype for node in (*mixed.outputs.values(), *mixed.updates.values())}.isdisjoint(
        NAMES
    )
    assert {leaf.dtype for leaf in mixed.parameters.values()} == {FLOAT32}


@pytest.mark.parametrize(("precision", "dtype"), HALF)
def test_a_weight_is_cast_once_and_read_forward_and_backward(step, precision, dtype):
    mixed = gg.mixed_precision(step, precision)
    twice = 0
    for weight in mixed.parameters.values():
        casts = [tail for tail in mixed.tails(weight) if tail.operation is gg.cast]
        assert len(casts) <= 1
        twice += bool(casts) and len(mixed.tails(casts[0])) > 1
    assert twice > 10
    name = "encoder.0.feed_forward.inner.w"
    assert mixed[f"{name}.{dtype}"].heads == (mixed[name],)


@pytest.mark.parametrize("precision", ["tf32", *(precision for precision, _ in HALF)])
def test_names_stay(step, precision):
    mixed = gg.mixed_precision(step, precision)
    assert step.names.keys() <= mixed.names.keys()
    for name, node in step.names.items():
        assert mixed[name].shape == node.shape
        assert mixed[name].operation.name in (node.operation.name, "cast", "constant")


def test_tf32_marks_every_product_and_adds_no_node(step):
    marked = gg.mixed_precision(step, "tf32")
    gg.verify(marked)
    assert len(marked) == len(step) and len(products(marked)) == len(products(step))
    assert all(node.attributes["precision"] == "tf32" for node in products(marked))
    assert gg.mixed_precision(marked, "tf32") is marked


def read_by_products(graph: Graph) -> set[Node]:
    """The values that products read, moved or as they are; a product that is chosen or zero is
    rounded before."""
    found: set[Node] = set()
    for node in reversed(graph.nodes):
        for tail in graph.tails(node):
            passes = tail.operation.name in MOVES or (
                tail.operation is gg.where and node.operation is gg.matmul
            )
            if tail.operation is gg.matmul or (passes and tail in found):
                found.add(node)
    return found


def biases_of_products(graph: Graph, read: set[Node]) -> dict[Node, Node]:
    """By its sum with a product, the bias of each whose sum, or ReLU of it, products read."""
    return {
        node: node.heads[1]
        for node in graph.nodes
        if node.operation is gg.add
        and node.heads[0].operation is gg.matmul
        and node.heads[1] in graph.parameters.values()
        and not read.isdisjoint(
            (node, *(tail for tail in graph.tails(node) if tail.operation is gg.relu))
        )
    }


def by_hand(graph: Graph, state: dict[str, np.ndarray], dtype: str) -> dict[Node, np.ndarray]:
    """The values of a graph of float32, where each product rounds what it reads by PyTorch and is
    computed in float64."""
    torch = pytest.importorskip("torch")

    def rounded(x: np.ndarray) -> np.ndarray:
        return torch.from_numpy(np.array(x)).to(getattr(torch, dtype)).to(torch.float32).numpy()

    again, values = read_by_products(graph), {}
    biases = biases_of_products(graph, again)
    assert len(biases) > 10
    leaves = {leaf: name for name, leaf in graph.inputs.items()}
    states = {leaf: name for name, leaf in graph.states.items()}
    for node in graph.nodes:
        if node.operation.name == "constant":
            values[node] = node.attributes["value"].array
        elif node in leaves or node in states:
            given = FEEDS[leaves[node]] if node in leaves else state[states[node]]
            values[node] = np.asarray(given, node.dtype)
        elif node.operation is gg.matmul:
            a, b = (rounded(values[head]).astype(np.float64) for head in node.heads)
            a = a.swapaxes(-1, -2) if node.attributes["transpose_a"] else a
            b = b.swapaxes(-1, -2) if node.attributes["transpose_b"] else b
            whole = (a @ b).astype(np.float32)
            values[node] = rounded(whole) if node in again else whole
        else:
            heads = [values[head] for head in node.heads]
            if node in biases:
                heads[1] = rounded(heads[1])
            values[node] = evaluate_node(node, heads)
    return values


def differences(found: dict, wanted: dict) -> float:
    """The mean difference of two sets of arrays, relative to their mean."""
    names = [name for name, value in wanted.items() if value.dtype == FLOAT32]
    apart = sum(np.abs(found[name] - wanted[name]).sum(dtype=float) for name in names)
    return apart / sum(np.abs(wanted[name]).sum(dtype=float) for name in names)


@pytest.mark.parametrize(("precision", "dtype"), HALF)
def test_all_values_are_those_that_pytorchs_rounding_gives(step, state, precision, dtype):
    mixed = gg.mixed_precision(step, precision)
    values = evaluate(mixed, FEEDS, state)
    reference = by_hand(step, state, dtype)
    found = {gg.graph.leaf_name(leaf): values[node] for leaf, node in mixed.updates.items()}
    wanted = {gg.graph.leaf_name(leaf): reference[node] for leaf, node in step.updates.items()}
    for name in ("loss", "gradient_norm"):
        np.testing.assert_allclose(
            values[mixed.outputs[name]], reference[step.outputs[name]], rtol=1e-4
        )
    moments = {name: value for name, value in found.items() if "first_moment" in name}
    gradients = {name: wanted[name] for name in moments}
    assert differences(moments, gradients) < 3e-4
    exact = evaluate(step, FEEDS, state)
    plain = {
        name: exact[node]
        for leaf, node in step.updates.items()
        if (name := gg.graph.leaf_name(leaf)) in moments
    }
    rounding = differences(moments, plain)
    assert (
        {"bf16": 2e-3, "fp16": 2e-4}[precision] < rounding < {"bf16": 3e-2, "fp16": 4e-3}[precision]
    )


@pytest.mark.parametrize("precision", [precision for precision, _ in HALF[:1]])
def test_kernels_and_the_plain_program_agree(precision):
    settings = small(dtype="float32")
    graph = training_step(graph_of(settings), settings)
    ways = [{}, {"fuse": True, "smallest_kernel": 1}]
    ends, losses = [], []
    for way in ways:
        run, state = gg.compile(graph, precision=precision, **way), state_of(graph)
        losses.append([float(run(state, **FEEDS)["loss"]) for _ in range(3)])
        ends.append(state)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    assert differences(*ends) < 1e-3


@pytest.mark.parametrize("precision", [precision for precision, _ in HALF])
def test_to_ask_for_values_changes_no_other(precision):
    settings = small(dtype="float32")
    graph = training_step(graph_of(settings), settings)
    names = ["encoder.0.attention.scores", "decoder.0.cross_attention.value.w.delta"]
    names += [name for name in graph.names if name.endswith("attention.values.delta")]
    found = []
    for fetch in ([], names, list(graph.names)[:400]):
        run = gg.compile(graph, precision=precision, fetch=fetch)
        state = state_of(graph)
        loss = run(state, **FEEDS)["loss"]
        found.append({**state, "loss": loss})
    for other in found[1:]:
        for name, value in found[0].items():
            np.testing.assert_array_equal(other[name], value, err_msg=name)


def test_fp32_is_the_default_and_changes_nothing():
    settings = small(dtype="float32")
    graph = training_step(graph_of(settings), settings)
    plain, asked = gg.compile(graph), gg.compile(graph, precision="fp32")
    sizes = sizes_of(graph, FEEDS)
    assert asked.program(**sizes).source == plain.program(**sizes).source
    assert gg.mixed_precision(graph, "fp32") is graph


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs_are_in_order_and_give_what_their_nodes_say(seed):
    case = grow_case(seed, 14, "float32")
    graph, _ = optimise(case.graph, PASSES)
    for precision, _ in HALF:
        mixed = gg.mixed_precision(graph, precision)
        gg.verify(mixed)
        assert {name: node.type for name, node in mixed.outputs.items()} == {
            name: node.type for name, node in graph.outputs.items()
        }
        assert all(head.type.is_half for node in products(mixed) for head in node.heads), (
            "a product was missed"
        )


def test_a_view_is_cast_before_it_is_made_and_a_window_after():
    x, w = gg.input("x", (4, 6)), gg.parameter("w", (3, 2))
    halves = [gg.matmul(part, w) for part in gg.split(x, 2)]  # all of x is read
    mixed = gg.mixed_precision(Graph({"y": gg.concatenate(halves)}), "fp16")
    assert [tail.operation.name for tail in mixed.tails("x")] == ["cast"]
    window = Graph({"y": gg.matmul(x[:, :3], w), "rest": gg.tanh(x)})
    mixed = gg.mixed_precision(window, "fp16")
    assert {tail.operation.name for tail in mixed.tails("x")} == {"slice", "tanh"}


def test_what_no_precision_fits_is_refused():
    x, w = gg.input("x", (4, 3), "float64"), gg.parameter("w", (3, 2), dtype="float64")
    graph = Graph({"y": gg.matmul(x, w, name="y")})
    for precision in ("tf32", "bf16", "fp16"):
        with pytest.raises(
            DeclarationError, match=r"'y' is a product of float64(.|\n)*dtype=float32"
        ):
            gg.compile(graph, precision=precision)
        with pytest.raises(DeclarationError, match="'y' is a product of float64"):
            gg.mixed_precision(graph, precision)
    assert gg.compile(graph, precision="fp32").options.precision == "fp32"
    with pytest.raises(UnknownNameError, match="no precision 'bf61'") as caught:
        gg.compile(graph, precision="bf61")
    assert "bf16" in caught.value.fix
    with pytest.raises(UnknownNameError, match="no precision 'half'"):
        gg.mixed_precision(graph, "half")


def test_debug_still_compares_the_passes_that_keep_values():
    settings = small(dtype="float32")
    graph = training_step(graph_of(settings), settings)
    run = gg.compile(graph, precision="fp16", fuse=True, debug=FEEDS, state=state_of(graph))
    assert np.isfinite(run(state_of(graph), **FEEDS)["loss"])


def test_attention_is_joined_before_its_products_are_rounded():
    settings = small(dtype="float32")
    graph = training_step(graph_of(settings), settings)
    run = gg.compile(graph, precision="fp16", fuse=True, smallest_attention=1)
    joined = run.program(**sizes_of(graph, FEEDS)).graph
    attention = [node for node in joined.nodes if node.operation is gg.dot_product_attention]
    assert len(attention) == 6 and all(node.dtype == "float16" for node in attention)
    statistics = [n for n in joined.nodes if n.operation.name == "attention_statistics"]
    assert statistics and all(node.dtype == FLOAT32 for node in statistics)
    composed = gg.compile(graph, precision="fp16", fuse=True)
    states = [state_of(graph) for _ in range(2)]
    losses = [
        float(each(state, **FEEDS)["loss"])
        for each, state in zip((run, composed), states, strict=True)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-3)
