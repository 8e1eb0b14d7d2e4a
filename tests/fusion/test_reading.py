"""The values that a kernel can read, compared with NumPy's broadcasting and memory layout."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.fusion.reading import Role, aligned_shape, argument_role, is_readable
from graphgrad.ops.evaluate import evaluate
from graphgrad.schedule import find_layouts

SPACE = (3, 3)


def asked(head: gg.Node, space: tuple[int, ...] = SPACE, roles=None, outer=()) -> bool:
    return is_readable(head, space, roles or {}, find_layouts(gg.Graph({"y": head})), outer)


@pytest.mark.parametrize("space", [(3,), (2, 3), (3, 3), (2, 1, 3), (1, 1), (4, 3, 3)])
@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_shapes_are_aligned_as_numpy_broadcasts_them(rank: int, space: tuple[int, ...]) -> None:
    for shape in product((1, 2, 3), repeat=rank):
        try:
            fits = np.broadcast_shapes(shape, space) == space and rank <= len(space)
        except ValueError:
            fits = False
        found = aligned_shape(gg.input("x", shape), space)
        assert (found is not None) == fits, (shape, space)
        if found is not None:
            assert found == (1,) * (len(space) - rank) + shape


def test_elements_out_of_order_are_not_readable() -> None:
    x = gg.input("x", (3, 3))
    wide = gg.input("wide", (3, 6))
    assert asked(x) and asked(x * 2.0) and asked(gg.reshape(gg.input("flat", (9,)), (3, 3)))
    for view in (gg.transpose(x), wide[:, :3], wide[:, ::2], gg.split(wide, 2)[1]):
        assert not asked(view)
    assert asked(gg.input("tall", (5, 3))[1:4])  # rows in a row do lie in order


def test_what_was_repeated_is_read_and_not_its_repetition() -> None:
    row = gg.input("row", (3,))
    repeated = gg.broadcast_to(row, SPACE)
    assert asked(repeated)
    assert not asked(gg.transpose(repeated))
    assert not asked(gg.broadcast_to(gg.transpose(gg.input("x", (1, 3))[:, ::2]), (2, 3)), (2, 3))


def test_a_mask_of_another_shape_is_not_drawn_element_by_element() -> None:
    seed = gg.state("seed", (), dtype="int64")
    mask = gg.dropout_mask(seed, seed, (3, 1), 0.5, 0)
    assert asked(gg.dropout_mask(seed, seed, SPACE, 0.5, 0))
    assert not asked(mask) and not asked(gg.broadcast_to(mask, SPACE))


@pytest.mark.parametrize(
    ("role", "shape", "right"),
    [
        (Role.FULL, (3, 3), True),
        (Role.ROW, (3, 1), True),
        (Role.ROW, (3,), False),
        (Role.ROW, (1, 3), False),
        (Role.COLUMN, (3,), False),
        (Role.TOTAL, (), False),
    ],
)
def test_what_a_kernel_computes_is_read_where_numpy_would(
    role: str, shape: tuple[int, ...], right: bool
) -> None:
    node = gg.input("x", shape) * 2.0
    assert asked(node, roles={node: role}) == right


def test_an_outer_value_is_readable_as_its_heads_are() -> None:
    column, row = gg.input("column", (3, 1)), gg.input("row", (3,))
    wide = gg.input("wide", (6,))
    good, bad = column + row, column + wide[::2]
    assert asked(good, outer={good}) and not asked(bad, outer={bad})
    mean = gg.mean(gg.input("x", SPACE), 1)  # [3], computed once a row
    misplaced = mean + column
    assert not asked(misplaced, roles={mean: Role.ROW}, outer={misplaced})


def test_forms_say_how_elements_follow_the_rows() -> None:
    space = (2, 3, 4)
    forms = {
        (2, 3, 4): "full",
        (4,): "vector",
        (1, 1, 4): "vector",
        (2, 3, 1): "row",
        (1, 1): "scalar",
        (): "scalar",
        (3, 4): "indexed",
        (2, 1, 4): "indexed",
        (3, 1): "indexed_row",
        (2, 1, 1): "indexed_row",
    }
    for shape, form in forms.items():
        assert argument_role(gg.input("x", shape), space) == form, shape


SQUARES = {
    "sum": lambda x: x * gg.sum(x, -1),
    "max": lambda x: gg.tanh(x) * gg.max(x, -1),
    "variance": lambda x: x - gg.variance(x, -1),
    "mean beside a row": lambda x: x * gg.mean(x, -1) + gg.mean(x, -1, keepdims=True),
    "row by row": lambda x: gg.exp(gg.min(x, -1)) + x * gg.expand_dims(gg.sum(x, -1), x.rank - 1),
    "outer": lambda x: gg.exp(gg.sum(x, -1) + gg.max(x, -1, keepdims=True)) * x,
}


@pytest.mark.parametrize("shape", [(64, 64), (20, 20, 20), (5, 1), (1, 5), (1, 1), (3, 1, 3)])
@pytest.mark.parametrize("name", SQUARES)
def test_in_a_square_a_number_for_each_row_is_not_one_for_each_column(
    name: str, shape: tuple[int, ...]
) -> None:
    x = gg.input("x", shape, "float64")
    graph = gg.derive(gg.Graph({"loss": gg.sum(gg.tanh(SQUARES[name](x)))}), "loss")
    graph = graph.with_outputs({"y": SQUARES[name](x), "delta": graph.delta("x")})
    feeds = {"x": np.random.default_rng(0).normal(size=shape)}
    values = evaluate(graph, feeds)
    for smallest in (1, None):
        found = gg.compile(graph, fuse=True, smallest_kernel=smallest)(**feeds)
        for label, node in graph.outputs.items():
            np.testing.assert_allclose(found[label], values[node], 1e-9, 1e-9, err_msg=label)
