"""What a GPT of today has in the place of the layers of 2017, in float64: deltas against finite
differences, values and deltas against the same written with PyTorch."""

import math

import numpy as np
import pytest

from graphgrad.backprop import derive
from graphgrad.compile import compile
from graphgrad.errors import DataError, DeclarationError
from graphgrad.graph import Graph, constant, input, normal
from graphgrad.layers import (
    causal_mask,
    gated_feed_forward,
    layer_norm,
    learned_positions,
    multi_head_attention,
    repeat_heads,
    rms_norm,
    rotate,
    sublayer,
)
from graphgrad.ops import sum as total

SHAPE = (2, 5, 8)
"""[batch, position, feature]"""


def attended(x, **options):
    return multi_head_attention(x, x, causal_mask(x.shape[1]), 4, **options)


LAYERS = {
    "rms_norm": lambda x: rms_norm(x, epsilon=0.1),
    "layer_norm without bias": lambda x: layer_norm(x, epsilon=0.1, bias=False),
    "gated": lambda x: gated_feed_forward(x, 6),
    "gated with bias": lambda x: gated_feed_forward(x, 6, bias=True),
    "rotary": rotate,
    "positions": lambda x: x * learned_positions(5, 7, 8, normal(1.0), "float64"),
    "multi-head": attended,
    "grouped": lambda x: attended(x, key_heads=2, bias=False),
    "multi-query rotary": lambda x: attended(x, key_heads=1, rotary=True),
    "pre-norm": lambda x: sublayer(x, "part", lambda h: gated_feed_forward(h, 3), rms_norm),
    "post-norm": lambda x: sublayer(x, "part", attended, rms_norm, "post"),
}


class Case:
    """A layer of x [batch, position, feature], all of its deltas of Σ direction · y, and values."""

    def __init__(self, name):
        generator = np.random.default_rng(3)
        y = LAYERS[name](input("x", SHAPE, "float64"))
        self.direction = generator.normal(size=SHAPE)
        forward = Graph({"loss": total(y * constant(self.direction)), "y": y})
        self.leaves = [*forward.parameters, "x"]
        self.values = {
            key: generator.normal(size=node.shape) for key, node in forward.parameters.items()
        }
        self.values["x"] = generator.normal(size=SHAPE)
        graph = derive(forward, "loss", self.leaves)
        self.program = compile(graph, [f"{leaf}.delta" for leaf in self.leaves])

    def run(self, values):
        state = dict(values)
        x = state.pop("x")
        return self.program(state, x=x)


@pytest.mark.parametrize("name", LAYERS)
def test_every_delta_is_a_slope(name):
    """Along two random directions of every leaf."""
    case, generator = Case(name), np.random.default_rng(4)
    found = case.run(case.values)
    for leaf in case.leaves:
        delta = found[f"{leaf}.delta"]
        for _ in range(2):
            way = generator.normal(size=delta.shape)
            ends = [
                float(case.run({**case.values, leaf: case.values[leaf] + step * way})["loss"])
                for step in (1e-5, -1e-5)
            ]
            expected = pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-8)
            assert float((delta * way).sum()) == expected, leaf


# ---------------------------------------------------------------- the same in PyTorch


class InTorch:
    """The layers of `LAYERS` on PyTorch's functions, with parameters `p` by graphgrad's names."""

    def __init__(self, torch, p):
        self.torch, self.f, self.p = torch, torch.nn.functional, p

    def linear(self, x, name):
        return self.f.linear(x, self.p[f"{name}.w"].T, self.p.get(f"{name}.b"))

    def rms(self, x, name="norm", epsilon=1e-5):
        return self.f.rms_norm(x, (8,), self.p[f"{name}.gain"], epsilon)

    def gated(self, x, name="feed_forward"):
        hidden = self.f.silu(self.linear(x, f"{name}.gate")) * self.linear(x, f"{name}.inner")
        return self.linear(hidden, f"{name}.outer")

    def turned(self, x):
        """Each pair of features as one complex number, times e^(i angle)."""
        half = x.shape[-1] // 2
        rate = 10000.0 ** (-self.torch.arange(half, dtype=self.torch.float64) / half)
        angle = self.torch.arange(x.shape[-2], dtype=self.torch.float64)[:, None] * rate
        pairs = self.torch.complex(x[..., :half], x[..., half:])
        pairs = pairs * self.torch.polar(self.torch.ones_like(angle), angle)
        return self.torch.cat([pairs.real, pairs.imag], -1)

    def attention(self, x, key_heads, rotary=False):
        def heads(part, count):
            return self.linear(x, f"attention.{part}").unflatten(-1, (count, 2)).transpose(1, 2)

        query, key, value = heads("query", 4), heads("key", key_heads), heads("value", key_heads)
        if rotary:
            query, key = self.turned(query), self.turned(key)
        mixed = self.f.scaled_dot_product_attention(
            query, key, value, is_causal=True, enable_gqa=True
        )
        return self.linear(mixed.transpose(1, 2).flatten(2), "attention.output")

    def layer(self, name, x):
        return {
            "rms_norm": lambda: self.rms(x, epsilon=0.1),
            "layer_norm without bias": lambda: self.f.layer_norm(
                x, (8,), self.p["norm.gain"], None, 0.1
            ),
            "gated": lambda: self.gated(x),
            "gated with bias": lambda: self.gated(x),
            "rotary": lambda: self.turned(x),
            "positions": lambda: x * self.p["positions"][:5],
            "multi-head": lambda: self.attention(x, 4),
            "grouped": lambda: self.attention(x, 2),
            "multi-query rotary": lambda: self.attention(x, 1, rotary=True),
            "pre-norm": lambda: x + self.gated(self.rms(x, "part_norm")),
            "post-norm": lambda: self.rms(x + self.attention(x, 4), "part_norm"),
        }[name]()


@pytest.mark.parametrize("name", LAYERS)
def test_values_and_deltas_are_those_of_pytorch(name):
    torch = pytest.importorskip("torch", reason="the oracle of this test is PyTorch (pip: torch)")
    case = Case(name)
    leaves = {key: torch.tensor(value, requires_grad=True) for key, value in case.values.items()}
    y = InTorch(torch, leaves).layer(name, leaves["x"])
    (y * torch.tensor(case.direction)).sum().backward()
    found = case.run(case.values)
    np.testing.assert_allclose(found["y"], y.detach().numpy(), rtol=1e-10, atol=1e-12)
    for key, leaf in leaves.items():
        expected = leaf.grad.numpy()
        np.testing.assert_allclose(found[f"{key}.delta"], expected, rtol=1e-9, atol=1e-11)


# ---------------------------------------------------------------- what they promise


def run(y, state=None, **feeds):
    return compile(Graph({"y": y}))(state or {}, **feeds)["y"]


def test_rotated_products_depend_on_the_distance_only():
    query, key = np.random.default_rng(0).normal(size=(2, 6))
    x = input("x", ("position", 6), "float64")
    turned = [run(rotate(x), x=np.tile(row, (9, 1))) for row in (query, key)]
    scores = turned[0] @ turned[1].T
    for distance in range(-8, 9):
        diagonal = np.diagonal(scores, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], rtol=1e-12)
    assert np.ptp(scores[0]) > 0.1
    np.testing.assert_allclose(scores[3, 3], query @ key)


def test_rotation_takes_its_place_from_the_positions_that_are_given():
    x, places = input("x", ("position", 4), "float64"), input("places", ("position",), "int32")
    value = np.random.default_rng(1).normal(size=(6, 4))
    whole = run(rotate(x), x=value)
    late = run(rotate(x, places), x=value[4:], places=np.array([4, 5], np.int32))
    np.testing.assert_array_equal(late, whole[4:])


@pytest.mark.parametrize("rotary", [False, True])
def test_grouped_queries_are_heads_with_equal_keys_and_values(rotary):
    x = input("x", SHAPE, "float64")
    grouped, plain = attended(x, key_heads=2, rotary=rotary), attended(x, rotary=rotary)
    state = {
        name: np.random.default_rng(len(name)).normal(size=leaf.shape)
        for name, leaf in Graph({"y": grouped}).parameters.items()
    }
    value = np.random.default_rng(2).normal(size=SHAPE)
    wide = dict(state)
    for part in ("key", "value"):  # two heads of 2 features become four
        for kind in ("w", "b"):
            name = f"attention.{part}.{kind}"
            heads = state[name].reshape(*state[name].shape[:-1], 2, 2)
            wide[name] = heads.repeat(2, axis=-2).reshape(*state[name].shape[:-1], 8)
    np.testing.assert_allclose(run(grouped, state, x=value), run(plain, wide, x=value), rtol=1e-12)


def test_heads_are_repeated_one_by_one():
    value = np.random.default_rng(2).normal(size=(1, 2, 3, 4))
    x = input("x", ("batch", 2, "position", 4), "float64")
    np.testing.assert_array_equal(run(repeat_heads(x, 3), x=value), value.repeat(3, axis=1))
    assert repeat_heads(x, 1) is x


def test_a_fresh_rms_norm_has_the_length_of_the_root_of_n():
    y = rms_norm(input("x", (4, 16), "float64"), epsilon=0.0)
    value = np.random.default_rng(5).normal(size=(4, 16))
    found = run(y, {"norm.gain": np.ones(16)}, x=value)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 4.0)
    again = run(y, {"norm.gain": np.ones(16)}, x=-7 * value)
    np.testing.assert_allclose(again, -found)


def test_a_sequence_longer_than_the_table_of_positions_is_refused():
    ids = input("ids", ("batch", "position"), "int32")
    y = learned_positions(ids.shape[1], 4, 3, normal(1.0), "float64") * 1.0
    graph = Graph({"y": y, "ids": ids})
    state = {"positions": np.ones((4, 3))}
    assert compile(graph)(state, ids=np.zeros((1, 4), np.int32))["y"].shape == (4, 3)
    with pytest.raises(DataError, match="4"):
        compile(graph)(state, ids=np.zeros((1, 5), np.int32))


@pytest.mark.parametrize(("heads", "key_heads"), [(3, 3), (4, 3), (4, 0), (0, 1)])
def test_heads_that_do_not_fit_are_refused(heads, key_heads):
    with pytest.raises(DeclarationError, match="8 does not split"):
        x = input("x", SHAPE)
        multi_head_attention(x, x, None, heads, key_heads=key_heads)


def test_rotary_positions_need_pairs():
    with pytest.raises(DeclarationError, match="even number of features, not 3"):
        rotate(input("x", ("position", 3)))


def test_post_norm_ends_with_the_norm_and_pre_norm_with_the_sum():
    value = 3 + np.random.default_rng(6).normal(size=SHAPE)
    x = input("x", SHAPE, "float64")
    post = sublayer(x, "part", lambda h: h * 2.0, lambda h, name: layer_norm(h, name), "post")
    state = {"part_norm.gain": np.ones(8), "part_norm.bias": np.zeros(8)}
    np.testing.assert_allclose(run(post, state, x=value).mean(axis=-1), 0.0, atol=1e-12)
    pre = sublayer(x, "part", lambda h: h * 2.0, lambda h, name: layer_norm(h, name))
    found = run(pre, state, x=value)
    np.testing.assert_allclose(found.mean(axis=-1), value.mean(axis=-1), rtol=1e-12)
    assert math.isclose((found - value).std(), 2.0, rel_tol=1e-3)


def test_an_unknown_placement_of_the_norm_is_refused():
    with pytest.raises(DeclarationError, match="no placement 'behind'"):
        sublayer(input("x", SHAPE), "part", attended, rms_norm, "behind")
