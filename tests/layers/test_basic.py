"""The layers against their formulas in plain NumPy, and their deltas against finite differences."""

import itertools
import math

import numpy as np
import pytest

from graphgrad.backprop import derive
from graphgrad.compile import compile
from graphgrad.errors import DeclarationError
from graphgrad.graph import Graph, constant, initial_state, input, scope
from graphgrad.graph import state as state_leaf
from graphgrad.layers import (
    ACTIVATIONS,
    Randomness,
    attention,
    causal_mask,
    dense,
    dropout,
    embed,
    embedding_table,
    feed_forward,
    join_heads,
    layer_norm,
    multi_head_attention,
    padding_mask,
    sinusoidal_positions,
    split_heads,
)
from graphgrad.ops import logical_and
from graphgrad.ops import sum as total


def draw(*shapes, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=shape) for shape in shapes]


def random_state(graph, seed=1):
    """A value for every parameter, none of them 0 or 1, so that no term hides."""
    generator = np.random.default_rng(seed)
    return {name: generator.normal(size=leaf.shape) for name, leaf in graph.parameters.items()}


def assert_close(found, expected, tolerance=1e-12):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def run(y, state=None, **feeds):
    return compile(Graph({"y": y}))(state or {}, **feeds)["y"]


def softmax(scores):
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def check_deltas(y, feeds, moved=()):
    """Deltas of all parameters, and of the inputs in `moved`, against central differences of a
    random sum of y."""
    graph = Graph({"y": y})
    (direction,) = draw(run(y, random_state(graph), **feeds).shape, seed=9)
    loss = total(y * constant(direction))
    graph = derive(Graph({"loss": loss}), "loss")
    leaves = [*graph.parameters, *moved]
    compiled = compile(graph, [f"{name}.delta" for name in leaves])
    state = random_state(graph)
    feeds = {name: np.array(value) for name, value in feeds.items()}
    deltas = compiled(state, **feeds)
    for name in leaves:
        value = state[name] if name in state else feeds[name]
        for place in np.ndindex(value.shape):
            kept, ends = value[place], []
            for change in (1e-6, -1e-6):
                value[place] = kept + change
                ends.append(float(compiled(state, **feeds)["loss"]))
            value[place] = kept
            assert_close(deltas[f"{name}.delta"][place], (ends[0] - ends[1]) / 2e-6, 2e-7)
    assert leaves


# ---------------------------------------------------------------- basic layers


@pytest.mark.parametrize("bias", [False, True])
def test_dense_is_a_matrix_product(bias):
    (x,) = draw((2, 4, 3))
    leaf = input("x", ("batch", "position", 3), "float64")
    y = dense(leaf, 5, "layer", bias)
    state = random_state(Graph({"y": y}))
    assert set(state) == ({"layer.w", "layer.b"} if bias else {"layer.w"})
    expected = np.zeros((2, 4, 5)) + state.get("layer.b", 0.0)
    for i, j in itertools.product(range(3), range(5)):
        expected[..., j] += x[..., i] * state["layer.w"][i, j]
    assert_close(run(y, state, x=x), expected)


def test_dense_starts_small_and_without_offset():
    y = dense(input("x", ("batch", 400), "float64"), 300, "layer")
    state = initial_state(Graph({"y": y}), seed=0)
    assert abs(state["layer.w"].std() * math.sqrt(400) - 1) < 0.02
    assert not state["layer.b"].any()


def test_layer_norm_divides_by_the_mean_square():
    """σ² = (1/n) Σ (x_i - μ)², with the 1/n that the lecture's slide leaves out."""
    (x,) = draw((2, 3, 4))
    y = layer_norm(input("x", (2, 3, 4), "float64"), epsilon=0.1)
    state = random_state(Graph({"y": y}))
    expected = np.empty_like(x)
    for row in np.ndindex(2, 3):
        mean = sum(x[row]) / 4
        variance = sum((value - mean) ** 2 for value in x[row]) / 4
        standard = (x[row] - mean) / math.sqrt(variance + 0.1)
        expected[row] = state["norm.gain"] * standard + state["norm.bias"]
    assert_close(run(y, state, x=x), expected)


def test_a_fresh_layer_norm_has_mean_0_and_variance_1():
    y = layer_norm(input("x", (5, 64), "float64"))
    found = run(y, initial_state(Graph({"y": y})), x=3.0 + 2.0 * draw((5, 64))[0])
    assert_close(found.mean(axis=1), 0.0)
    assert_close(found.var(axis=1), 1.0, 1e-5)


PHI = {
    "linear": lambda a: a,
    "tanh": np.tanh,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "relu": lambda a: np.maximum(a, 0),
    "gelu": lambda a: a * (1 + np.vectorize(math.erf)(a / math.sqrt(2))) / 2,
    "gelu_tanh": lambda a: a / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3))),
    "silu": lambda a: a / (1 + np.exp(-a)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    (a,) = draw((3, 4))
    leaf = input("a", (3, 4), "float64")
    assert_close(run(ACTIVATIONS[name](leaf, name="z") + 0.0, a=a), PHI[name](a))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_feed_forward_is_two_maps_with_an_activation_between(activation):
    (x,) = draw((2, 3, 4))
    y = feed_forward(input("x", (2, 3, 4), "float64"), 5, activation)
    state = random_state(Graph({"y": y}))
    w1, b1, w2, b2 = (
        state[f"feed_forward.{part}"] for part in ("inner.w", "inner.b", "outer.w", "outer.b")
    )
    assert_close(run(y, state, x=x), PHI[activation](x @ w1 + b1) @ w2 + b2)


def test_layers_in_one_scope_have_the_same_names_again():
    """A decoder for use is declared anew: its parameters must fit the state of the training."""

    def declared():
        x = input("x", ("batch", 3, 4))
        with scope("encoder.0"):
            y = layer_norm(feed_forward(multi_head_attention(x, x, None, 2), 8))
        return Graph({"y": y})

    first, second = declared(), declared()
    assert list(first.parameters) == list(second.parameters)
    assert all(name.startswith("encoder.0.") for name in first.parameters)
    assert not set(first.parameters.values()) & set(second.parameters.values())
    state = initial_state(first, 3)
    (x,) = draw((1, 3, 4))
    np.testing.assert_array_equal(compile(first)(state, x=x)["y"], compile(second)(state, x=x)["y"])


# ---------------------------------------------------------------- dropout


def randomness():
    return Randomness(state_leaf("seed", dtype="int64"), state_leaf("step", dtype="int64"))


def at(seed, step):
    return {"seed": np.array(seed), "step": np.array(step)}


def test_dropout_keeps_the_mean_and_drops_its_share():
    y = dropout(input("x", (200, 200), "float64"), 0.25, randomness())
    found = run(y, at(seed=1, step=2), x=np.ones((200, 200)))
    np.testing.assert_array_equal(np.unique(found), [0.0, 1 / 0.75])
    assert abs((found == 0).mean() - 0.25) < 0.01
    assert abs(found.mean() - 1) < 0.02


def test_dropout_is_a_function_of_seed_step_and_place():
    x = input("x", (50, 50), "float64")
    source = randomness()
    graph = Graph({"one": dropout(x, 0.5, source, "one"), "two": dropout(x, 0.5, source, "two")})
    compiled, ones = compile(graph), np.ones((50, 50))
    first = compiled(at(seed=1, step=2), x=ones)
    again = compiled(at(seed=1, step=2), x=ones)
    np.testing.assert_array_equal(first["one"], again["one"])
    for other in (
        first["two"],
        compiled(at(seed=2, step=2), x=ones)["one"],
        compiled(at(seed=1, step=3), x=ones)["one"],
    ):
        assert 0.4 < (first["one"] == other).mean() < 0.6


def test_dropout_sends_back_through_the_mask_it_used():
    leaf = input("x", (20, 20), "float64")
    y = dropout(leaf, 0.5, randomness())
    graph = derive(Graph({"loss": total(y), "y": y}), "loss", ["x"])
    found = compile(graph, ["x.delta"])(at(seed=3, step=4), x=np.ones((20, 20)))
    np.testing.assert_array_equal(found["x.delta"], found["y"])
    assert set(np.unique(found["y"])) == {0.0, 2.0}


@pytest.mark.parametrize(("rate", "source"), [(0.0, randomness()), (0.5, None)])
def test_dropout_without_rate_or_randomness_is_nothing(rate, source):
    x = input("x", (3,))
    assert dropout(x, rate, source) is x


# ---------------------------------------------------------------- attention


def leaves_of(*arrays):
    """The inputs q, k and v with the shapes of these arrays."""
    return [input(name, array.shape, "float64") for name, array in zip("qkv", arrays, strict=True)]


def attention_oracle(query, key, value, mask, scale):
    """Attention of one head for one example, a query and a key at a time."""
    scores = np.full((len(query), len(key)), -np.inf)
    for i, j in itertools.product(range(len(query)), range(len(key))):
        if mask[i, j]:
            scores[i, j] = scale * sum(query[i] * key[j])
    return softmax(scores) @ value


@pytest.mark.parametrize("scaled", [False, True])
def test_attention_over_heads_and_batch(scaled):
    query, key, value = draw((2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 6, 2))
    allowed = np.random.default_rng(1).random((2, 3, 4, 6)) < 0.6
    allowed[..., 0] = True
    mask = input("mask", allowed.shape, "bool")
    found = run(
        attention(*leaves_of(query, key, value), mask, scaled),
        q=query,
        k=key,
        v=value,
        mask=allowed,
    )
    for place in np.ndindex(2, 3):
        expected = attention_oracle(
            query[place], key[place], value[place], allowed[place], 5**-0.5 if scaled else 1.0
        )
        assert_close(found[place], expected)


def test_weights_are_a_distribution_and_masked_ones_are_0():
    query, key, value = draw((3, 4), (5, 4), (5, 2))
    allowed = np.ones((3, 5), bool)
    allowed[0, 1:] = allowed[1, 3] = False
    y = attention(*leaves_of(query, key, value), input("mask", (3, 5), "bool"))
    graph = derive(Graph({"loss": total(y * y)}), "loss")
    compiled = compile(graph, ["weights", "scores.delta"])
    found = compiled(q=query, k=key, v=value, mask=allowed)
    assert_close(found["weights"].sum(axis=1), 1.0)
    assert_close(found["scores.delta"].sum(axis=1), 0.0)
    for name in ("weights", "scores.delta"):
        assert np.all(found[name][~allowed] == 0.0)
    assert np.all(found["weights"][allowed] > 0.0)
    assert np.abs(found["scores.delta"][1:][allowed[1:]]).min() > 0.0


def test_a_query_that_may_look_nowhere_gets_zeros():
    query, key, value = draw((2, 4), (3, 4), (3, 2))
    allowed = np.array([[True, True, True], [False, False, False]])
    y = attention(*leaves_of(query, key, value), input("mask", (2, 3), "bool"))
    graph = derive(Graph({"loss": total(y * y), "y": y}), "loss")
    compiled = compile(graph, ["q.delta", "k.delta", "v.delta"])
    found = compiled(q=query, k=key, v=value, mask=allowed)
    assert np.all(found["y"][1] == 0.0)
    assert np.all(found["q.delta"][1] == 0.0)
    assert all(np.isfinite(values).all() for values in found.values())
    assert np.abs(found["y"][0]).min() > 0.0


@pytest.mark.parametrize("cross", [False, True])
def test_multi_head_attention(cross):
    """Concat(head₁, …, head_h) W^O with each head's own columns of W^Q, W^K and W^V."""
    x, memory = draw((2, 3, 6), (2, 4, 6))
    heads, width = 3, 2
    queries = input("x", ("batch", "query", 6), "float64")
    source = input("memory", ("batch", "key", 6), "float64") if cross else queries
    mask = input("mask", ("batch", 1, "query", "key" if cross else "query"), "bool")
    y = multi_head_attention(queries, source, mask, heads)
    state = random_state(Graph({"y": y}))
    assert len(state) == 8
    feeds = {"x": x, **({"memory": memory} if cross else {})}
    seen = memory if cross else x
    allowed = np.random.default_rng(2).random((2, 1, 3, seen.shape[1])) < 0.7
    allowed[..., 0] = True
    found = run(y, state, mask=allowed, **feeds)

    def mapped(what, values):
        return values @ state[f"attention.{what}.w"] + state[f"attention.{what}.b"]

    for n in range(2):
        query, key, value = mapped("query", x[n]), mapped("key", seen[n]), mapped("value", seen[n])
        joined = [
            attention_oracle(query[:, part], key[:, part], value[:, part], allowed[n, 0], 2**-0.5)
            for part in (slice(i * width, (i + 1) * width) for i in range(heads))
        ]
        assert_close(found[n], mapped("output", np.concatenate(joined, axis=1)))


def test_splitting_and_joining_heads_are_inverse():
    (x,) = draw((2, 3, 8))
    leaf = input("x", (2, 3, 8), "float64")
    split = run(split_heads(leaf, 4), x=x)
    assert split.shape == (2, 4, 3, 2)
    np.testing.assert_array_equal(split[1, 2, 0], x[1, 0, 4:6])
    np.testing.assert_array_equal(run(join_heads(split_heads(leaf, 4)), x=x), x)


def test_padding_mask_hides_padding_keys():
    ids = input("ids", ("batch", "key"), "int32")
    found = run(padding_mask(ids), ids=np.array([[5, 3, 0], [7, 0, 0]]))
    assert found.shape == (2, 1, 1, 3)
    np.testing.assert_array_equal(found[:, 0, 0], [[True, True, False], [True, False, False]])
    other = run(padding_mask(ids, padding=3), ids=np.array([[5, 3, 0]]))
    np.testing.assert_array_equal(other[0, 0, 0], [True, False, True])


def test_causal_mask_forbids_the_upper_triangle():
    found = run(causal_mask(4))
    np.testing.assert_array_equal(found, np.tril(np.ones((4, 4), bool)))
    ids = input("ids", ("batch", "target"), "int32")
    both = logical_and(padding_mask(ids), causal_mask(ids.shape[1]))
    found = run(both, ids=np.array([[4, 4, 0]]))
    np.testing.assert_array_equal(
        found[0, 0], [[True, False, False], [True, True, False], [True, True, False]]
    )


# ---------------------------------------------------------------- deltas and errors


def _layer(kind, x, other):
    return {
        "dense": lambda: dense(x, 3),
        "layer_norm": lambda: layer_norm(x),
        "feed_forward": lambda: feed_forward(x, 3, "gelu"),
        "tanh feed_forward": lambda: feed_forward(x, 3, "tanh"),
        "self-attention": lambda: multi_head_attention(x, x, causal_mask(x.shape[1]), 2),
        "cross-attention": lambda: multi_head_attention(x, other, None, 2),
        "post-norm sublayer": lambda: layer_norm(x + multi_head_attention(x, x, None, 2)),
    }[kind]()


@pytest.mark.parametrize(
    "kind",
    [
        "dense",
        "layer_norm",
        "feed_forward",
        "tanh feed_forward",
        "self-attention",
        "cross-attention",
        "post-norm sublayer",
    ],
)
def test_deltas_of_layers_are_slopes(kind):
    x, memory = draw((2, 3, 4), (2, 2, 4), seed=7)
    leaf = input("x", (2, 3, 4), "float64")
    other = input("memory", (2, 2, 4), "float64")
    feeds = {"x": x, **({"memory": memory} if kind == "cross-attention" else {})}
    check_deltas(_layer(kind, leaf, other), feeds, moved=feeds)


def test_deltas_of_embeddings_add_up_over_repeated_tokens():
    ids = input("ids", (2, 3), "int32")
    x = embed(ids, embedding_table(4, 2, "float64")) + sinusoidal_positions(3, 2, "float64")
    check_deltas(x * x, {"ids": np.array([[1, 1, 3], [1, 0, 3]], "int32")})


def test_widths_that_do_not_fit_are_refused():
    x = input("x", ("batch", 3, 6))
    with pytest.raises(DeclarationError, match="6 does not split into 4 heads"):
        multi_head_attention(x, x, None, 4)
    unknown = input("x", (3, "feature"))
    with pytest.raises(DeclarationError, match="known size"):
        attention(unknown, unknown, unknown)
