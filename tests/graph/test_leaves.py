"""Leaves: what they refuse, and how parameters get their first values."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.errors import DeclarationError
from graphgrad.graph import leaf_name
from graphgrad.graph.initial import BLOCK
from graphgrad.graph.node import extent
from graphgrad.graph.types import FLOAT32


def test_leaves_have_shape_and_dtype():
    x = gg.input("x", ("batch", 3), "int64")
    assert str(x.type) == "int64[batch, 3]" and x.rank == 2
    assert gg.input("s").shape == () and gg.parameter("w", 4).shape == (4,)
    with gg.scope("layer"):
        assert leaf_name(gg.state("s")) == "layer.s"


@pytest.mark.parametrize(
    ("shape", "dtype"), [((2, -1), "float32"), ((2.5,), "float32"), (3, "float16"), (3, "x")]
)
def test_what_is_no_type_is_refused_with_the_leafs_name(shape, dtype):
    with pytest.raises(DeclarationError, match="parameter 'w'") as caught:
        gg.parameter("w", shape, dtype=dtype)
    assert __file__ in caught.value.where


def test_what_lives_between_runs_has_integer_sizes():
    for declare in (gg.parameter, gg.state):
        with pytest.raises(DeclarationError, match="unknown size"):
            declare("w", ("batch", 3))


def test_iota_and_extent():
    n = gg.dimension("n")
    assert gg.iota("n").shape == (n,) and gg.iota(4).dtype == "int32"
    assert extent(4, "int32") is gg.constant(4, "int32")
    assert extent(n * 2).shape == () and extent(n * 2).attributes["size"] == 2 * n
    for bad in (-1, (2, 3), 1.5):
        with pytest.raises(DeclarationError, match="iota"):
            gg.iota(bad)


def test_first_values_depend_on_seed_and_name_only():
    initial, shape = gg.glorot_uniform(30, 20), (30, 20)
    draw = initial.draw(shape, FLOAT32, 1, "w")
    assert draw.dtype == FLOAT32 and draw.shape == shape
    np.testing.assert_array_equal(draw, initial.draw(shape, FLOAT32, 1, "w"))
    assert not np.array_equal(draw, initial.draw(shape, FLOAT32, 2, "w"))
    assert not np.array_equal(draw, initial.draw(shape, FLOAT32, 1, "v"))


def test_distributions():
    wide = (200, 100)
    limit = (6 / 300) ** 0.5
    drawn = gg.glorot_uniform(200, 100).draw(wide, FLOAT32, 0, "w")
    assert np.abs(drawn).max() <= limit and abs(float(drawn.std()) - limit / 3**0.5) < 1e-3
    drawn = gg.normal(0.5).draw(wide, FLOAT32, 0, "w")
    assert abs(float(drawn.std()) - 0.5) < 0.01 and abs(float(drawn.mean())) < 0.02
    assert (gg.full(3.0).draw((2,), FLOAT32, 0, "w") == 3).all()


@pytest.mark.parametrize("size", [0, 1, BLOCK, 2 * BLOCK + 7])
def test_drawing_in_blocks_is_drawing_at_once(size):
    key = int.from_bytes(hashlib.sha256(b"3:layer.w").digest()[:16], "little")

    def generator():
        return np.random.Generator(np.random.Philox(key=key))

    for initial, whole in (
        (gg.normal(0.3), generator().standard_normal(size) * 0.3),
        (gg.uniform(0.7), generator().uniform(-0.7, 0.7, size)),
    ):
        drawn = initial.draw((size, 1), FLOAT32, 3, "layer.w")
        np.testing.assert_array_equal(drawn[:, 0], whole.astype("float32"), strict=True)


def test_zeros_keep_their_sign():
    assert not np.signbit(gg.full(0.0).draw((2,), FLOAT32, 0, "w")).any()
    assert np.signbit(gg.full(-0.0).draw((2,), FLOAT32, 0, "w")).all()


def test_a_state_is_what_its_initial_values_draw():
    """Also where memory is zero from the start, and in whatever order threads draw."""
    values = [gg.full(0.0), gg.full(-0.0), gg.full(2.0), gg.normal(0.3), gg.uniform(0.7)]
    sizes = (3, 2 * BLOCK + 5, 40)
    leaves = {
        f"w{place}.{size}": gg.parameter(f"w{place}.{size}", (size, 2), initial)
        for size in sizes
        for place, initial in enumerate([*values, gg.normal(0.3, zero_row=1)])
    }
    state = gg.initial_state(gg.Graph(leaves), seed=5)
    assert list(state) == list(leaves)
    for name, leaf in leaves.items():
        drawn = leaf.attributes["initial"].draw(leaf.shape, FLOAT32, 5, name)
        assert state[name].tobytes() == drawn.tobytes() and state[name].flags.writeable
        state[name][0] = 1  # each array has memory of its own
    assert not np.any(state["w0.3"][1:])


@pytest.mark.parametrize("initial", [gg.full(1.0), gg.normal(1.0), gg.uniform(1.0)])
def test_a_scalar_is_an_array_that_can_be_written_to(initial):
    value = initial.draw((), FLOAT32, 0, "w")
    assert isinstance(value, np.ndarray) and value.flags.writeable and value.dtype == FLOAT32
    value[...] = 5
