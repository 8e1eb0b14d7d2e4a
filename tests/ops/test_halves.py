"""Floats of 16 bits: their casts bit by bit beside PyTorch's, and what is computed with them."""

from __future__ import annotations

import numpy as np
import pytest
from half_numbers import NAMES, assert_same_bits, every_half, hard_floats

import graphgrad as gg
from graphgrad import Graph
from graphgrad.errors import DeclarationError
from graphgrad.graph.types import HALVES
from graphgrad.ops import ALL_OPERATIONS

WAYS = [{}, {"fuse": True, "smallest_kernel": 1}]


def cast_of(x: np.ndarray, dtype: str, **way: object) -> np.ndarray:
    y = gg.cast(gg.input("x", x.shape, x.dtype), dtype)
    return gg.compile(Graph({"y": y}), **way)(x=x)["y"]


@pytest.mark.parametrize("way", WAYS, ids=["plain", "kernel"])
@pytest.mark.parametrize("dtype", NAMES)
def test_casts_have_the_bits_of_pytorch(dtype, way):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch, dtype)
    floats, halves = hard_floats(dtype), every_half(dtype)
    rounded = torch.from_numpy(floats).to(theirs).view(torch.int16).numpy().view(dtype)
    assert_same_bits(cast_of(floats, dtype, **way), rounded)
    widened = torch.from_numpy(halves.view(np.int16).copy()).view(theirs).to(torch.float32)
    assert_same_bits(cast_of(halves, "float32", **way), widened.numpy())


@pytest.mark.parametrize("way", WAYS, ids=["plain", "kernel"])
@pytest.mark.parametrize("dtype", NAMES)
def test_a_cast_rounds_to_the_nearest_and_to_the_even_one_of_two(dtype, way):
    digits = {"bfloat16": 8, "float16": 11}[dtype]
    last = 2.0 ** (1 - digits)
    x = np.array([1 + last / 2, 1 + 1.5 * last, 1 + last / 2 + 2.0**-23, -1 - last / 2])
    found = cast_of(x.astype(np.float32), dtype, **way).astype(np.float64)
    assert found.tolist() == [1, 1 + 2 * last, 1 + last, -1]
    limit = float(np.finfo("float16").max) if dtype == "float16" else 255 * 2.0**120
    step = {"float16": 32.0, "bfloat16": 2.0**120}[dtype]
    edges = np.array([limit + step / 2 * 0.99, limit + step / 2, -np.inf, np.nan], np.float32)
    found = cast_of(edges, dtype, **way).astype(np.float64)
    assert found[:3].tolist() == [limit, np.inf, -np.inf] and np.isnan(found[3])


@pytest.mark.parametrize("dtype", NAMES)
@pytest.mark.parametrize("other", ["float64", "int32", "int64", "bool"])
def test_other_dtypes_are_cast_by_way_of_float32_which_the_graph_shows(dtype, other):
    x = gg.input("x", 3, other)
    y = gg.cast(x, dtype)
    assert [y.heads[0].dtype, y.dtype] == ["float32", dtype]
    back = gg.cast(gg.input("y", 3, dtype), other)
    assert back.heads[0].dtype == "float32" or other == "bool"
    for another in HALVES:
        if another != dtype:
            assert gg.cast(gg.input("y", 3, dtype), another).heads[0].dtype == "float32"
    with pytest.raises(DeclarationError, match="by way of float32"):
        gg.cast.node(x, dtype=np.dtype(dtype))


@pytest.mark.parametrize("dtype", NAMES)
def test_a_product_of_halves_is_exact_until_its_result_is_rounded(dtype):
    generator = np.random.default_rng(0)
    a, b = (generator.normal(size=s).astype(dtype) for s in ((2, 5, 40), (40, 3)))
    x, w = gg.input("x", a.shape, dtype), gg.input("w", b.shape, dtype)
    graph = Graph({"narrow": x @ w, "wide": gg.matmul(x, w, dtype="float32")})
    found = gg.compile(graph)(x=a, w=b)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    assert found["wide"].dtype == "float32"
    np.testing.assert_allclose(found["wide"], exact, rtol=0, atol=1e-5)
    assert_same_bits(found["narrow"], found["wide"].astype(dtype))


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_deltas_of_products_of_halves_are_those_of_pytorch(transpose_a, transpose_b):
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(1)
    a = generator.normal(size=(5, 4) if transpose_a else (4, 5)).astype(np.float32)
    b = generator.normal(size=(3, 5) if transpose_b else (5, 3)).astype(np.float32)
    x, w = gg.input("x", a.shape), gg.input("w", b.shape)
    half = gg.cast(x, NAMES[0])
    y = gg.matmul(half, gg.cast(w, NAMES[0]), transpose_a, transpose_b)
    z = gg.matmul(half, half, transpose_b=True)  # its head has several contributions
    loss = gg.sum(gg.cast(y, "float32") ** 2.0) + gg.sum(gg.cast(z, "float32") ** 2.0)
    graph = gg.derive(Graph({"loss": loss}), "loss", [x, w])
    found = gg.compile(graph, fetch=["x.delta", "w.delta"])(x=a, w=b)
    ours = [found["x.delta"], found["w.delta"]]
    leaves = [torch.tensor(each, requires_grad=True) for each in (a, b)]
    one, two = (leaf.to(getattr(torch, NAMES[0])) for leaf in leaves)
    value = ((one.T if transpose_a else one) @ (two.T if transpose_b else two)).float()
    ((value**2).sum() + ((one @ one.T).float() ** 2).sum()).backward()
    for mine, leaf in zip(ours, leaves, strict=True):
        theirs = leaf.grad.numpy()
        assert np.abs(mine - theirs).max() <= 0.02 * np.abs(theirs).max()


@pytest.mark.parametrize("dtype", NAMES)
def test_halves_are_moved_and_their_deltas_moved_back(dtype):
    values = np.arange(24.0).reshape(2, 3, 4)
    x = gg.cast(gg.input("x", values.shape), dtype)
    parts = [x[:, :1], gg.transpose(x, (0, 1, 2))[:, 1:]]
    moved = gg.concatenate([gg.broadcast_to(x[:1], x.shape), *parts, gg.pad(x, [(0, 0)] * 3)], 1)
    y = gg.cast(gg.transpose(moved.reshape((2, 36))), "float32")
    graph = gg.derive(Graph({"loss": gg.sum(y * 3.0, name="loss"), "y": y}), "loss", ["x"])
    plain = gg.compile(graph, fetch="x.delta")(x=values)
    fused = gg.compile(graph, fetch="x.delta", fuse=True, smallest_kernel=1)(x=values)
    rows = [np.broadcast_to(values[:1], values.shape), values, values]
    np.testing.assert_array_equal(plain["y"], np.concatenate(rows, 1).reshape(2, 36).T)
    np.testing.assert_array_equal(plain["x.delta"][0], np.full((3, 4), 12.0))
    np.testing.assert_array_equal(plain["x.delta"][1], np.full((3, 4), 6.0))
    for name, value in plain.items():
        np.testing.assert_array_equal(fused[name], value)


@pytest.mark.parametrize(
    "operation", [each for each in ALL_OPERATIONS if not each.takes_halves], ids=lambda o: o.name
)
def test_what_computes_refuses_halves_and_says_the_cast(operation):
    sample = operation.samples[0]
    heads = [
        gg.input(f"x{place}", draw.shape, "float16" if draw.kind in ("real", "positive") else None)
        for place, draw in enumerate(sample.heads)
    ]
    if not any(head.type.is_half for head in heads):
        return
    with pytest.raises(DeclarationError, match=r"not in float16(.|\n)*cast\(x, 'float32'\)"):
        operation.node(*heads, **sample.attributes)


def test_what_is_kept_between_runs_is_no_half():
    for declare in (gg.parameter, gg.state):
        with pytest.raises(
            DeclarationError, match=r"float32 or float64(.|\n)*cast\(w, 'float16'\)"
        ):
            declare("w", (2, 3), dtype="float16")


def test_a_product_says_what_it_can_give_and_round():
    x, w = gg.input("x", (2, 3)), gg.input("w", (3, 2))
    half = gg.cast(x, "float16")
    with pytest.raises(DeclarationError, match="dtypes float16 and float32 do not mix"):
        half @ w
    with pytest.raises(DeclarationError, match="product of float32 is float32, not float16"):
        gg.matmul(x, w, dtype="float16")
    with pytest.raises(DeclarationError, match="float16 or float32, not float64"):
        gg.matmul(half, gg.cast(w, "float16"), dtype="float64")
    with pytest.raises(DeclarationError, match="'tf32', of float32"):
        gg.matmul(half, gg.cast(w, "float16"), precision="tf32")
    with pytest.raises(DeclarationError, match="precision 'tf23'"):
        gg.matmul(x, w, precision="tf23")
    assert gg.matmul(x, w, dtype="float32") is x @ w  # it asks for nothing


def test_tf32_rounds_operands_to_eleven_digits():
    last = 2.0**-10
    a = np.array([[1 + last / 2, 1 + 1.5 * last, 1 + last / 2 + 2.0**-23, -1 - last, 3e38]]).T
    a = np.vstack([a, [[np.inf]], [[np.nan]], [[1e-45]]]).astype(np.float32)
    bits = np.array([0x7FFFFFFF], np.uint32).view(np.float32)
    x, one = gg.input("x", (9, 1)), gg.input("one", (1, 1))
    graph = Graph({"y": gg.matmul(x, one, precision="tf32")})
    found = gg.compile(graph)(x=np.vstack([a, bits]), one=[[1.0]])["y"][:, 0]
    largest = np.ldexp(np.rint(np.ldexp(np.float64(np.float32(3e38)), -117)), 117)
    wanted = [1, 1 + 2 * last, 1 + last, -1 - last, largest, np.inf, np.nan, 0, np.nan]
    np.testing.assert_array_equal(found.astype(np.float64), wanted)


def test_deltas_of_a_product_in_tf32_are_in_tf32():
    x, w = gg.input("x", (2, 3)), gg.input("w", (3, 2))
    loss = gg.sum(gg.matmul(x, w, precision="tf32") ** 2.0)
    graph = gg.derive(Graph({"loss": loss}), "loss", [x, w])
    products = [node for node in graph.nodes if node.operation is gg.matmul]
    assert len(products) == 3
    assert all(node.attributes["precision"] == "tf32" for node in products)
    assert str(graph).count("precision=tf32") == 3
