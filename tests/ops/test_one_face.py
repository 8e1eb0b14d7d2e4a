"""An operation is one object: what is called is what nodes, patterns and rules hold."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import ops
from graphgrad.graph import LEAVES
from graphgrad.graph.node import TypedOperation
from graphgrad.passes.pattern import any_node, pattern

ROOT = Path(__file__).parent.parent.parent
X = gg.input("x", (3, 4))
PUBLIC = [each for each in map(gg.__dict__.get, gg.__all__) if isinstance(each, gg.Operation)]
CALLS = {
    gg.cast: lambda: gg.cast(X, "int32"),
    gg.slice: lambda: X[1:],
    gg.reshape: lambda: gg.reshape(X, (4, 3)),
    gg.broadcast_to: lambda: gg.broadcast_to(X, (2, 3, 4)),
    gg.concatenate: lambda: gg.concatenate([X, X]),
    gg.gather: lambda: gg.gather(X, np.array([1, 0])),
    gg.scatter_add: lambda: gg.scatter_add(gg.iota(3), X, 5),
    gg.take_along_axis: lambda: gg.take_along_axis(X, gg.argmax(X, keepdims=True)),
    gg.put_along_axis: lambda: gg.put_along_axis(gg.iota(3)[:, None], X[:, :1], 5),
    gg.write_rows: lambda: gg.write_rows(X, X[:, :1], gg.iota(3)[:, None]),
    gg.top: lambda: gg.top(X, 2),
    gg.cross_entropy: lambda: gg.cross_entropy(X, np.array([0, 3, 1])),
    gg.all_reduce: lambda: gg.all_reduce(X),
    gg.all_gather: lambda: gg.all_gather(X[0], 4),
    gg.dropout_mask: lambda: gg.dropout_mask(1, 2, (3,), 0.5, 1),
    gg.matmul: lambda: X @ X.T,
    gg.constant: lambda: gg.constant(1.0),
    gg.extent: lambda: gg.extent("n"),
    gg.iota: lambda: gg.iota(3),
    gg.input: lambda: gg.input("y"),
    gg.parameter: lambda: gg.parameter("w"),
    gg.state: lambda: gg.state("s"),
    gg.where: lambda: gg.where(X > 0, X, 0.0),
    gg.dot_product_attention: lambda: gg.dot_product_attention(X, X, X),
    gg.logical_and: lambda: (X > 0) & (X < 1),
    gg.logical_or: lambda: (X > 0) | (X < 1),
    gg.logical_not: lambda: ~(X > 0),
}
"""Calls of those that do not take floats only."""


@pytest.mark.parametrize("operation", PUBLIC, ids=lambda operation: operation.name)
def test_the_operation_of_a_node_is_what_was_called(operation):
    assert getattr(gg, operation.name) is operation
    call = CALLS.get(operation, lambda: operation(*[X] * (operation.arity or 1)))
    assert call().operation is operation


def test_every_operation_is_public_or_used_inside_only():
    inside = {operation.name for operation in {*ops.ALL_OPERATIONS, *LEAVES} - {*PUBLIC}}
    attention = {"attention_delta", "attention_statistics"}
    ranks = {"dropout_mask_of_part", "sum_of_lower_ranks", "all_reduce_start", "wait"}
    ranks |= {"rank_number", "share", "share_sums", "reduce_scatter_start", "all_gather_start"}
    assert inside == {"checked", "copy", "unslice", "unslice_all"} | attention | ranks


def test_its_block_is_its_attributes_and_patterns_are_written_with_it():
    assert gg.softmax.delta_formula == "y · (δ - Σ δ · y)" and gg.softmax.samples
    y = gg.log(gg.softmax(X))
    assert pattern(gg.log, pattern(gg.softmax, any_node("x"))).match(y, {}) == {"x": X}
    assert pattern(gg.log, pattern(gg.exp, any_node("x"))).match(y, {}) is None


def test_a_changed_copy_declares_by_its_attributes():
    """`replace` changes what is held, and `node` is the way round the arguments of the function."""
    wrong = replace(gg.softmax, name="wrong", delta=lambda delta, y, x: (delta,))
    y = wrong.node(X, axis=1, name="y")
    assert isinstance(wrong, TypedOperation) and y.operation is wrong
    assert y.operation.delta is not gg.softmax.delta


def test_arguments_are_brought_to_one_form():
    assert gg.softmax(X) is gg.softmax(X, axis=1) is gg.softmax(x=X, axis=np.int64(-1))
    assert gg.softmax(X) is gg.softmax.node(X, axis=1)
    assert gg.reshape(X, (3, 4)) is X and gg.cast(X, "float32") is X


def compared(tree: ast.AST) -> Iterator[ast.Name]:
    """The names that the operations of nodes are compared with."""
    for part in ast.walk(tree):
        if isinstance(part, ast.Compare) and getattr(part.left, "attr", "") == "operation":
            for side in part.comparators:
                yield from (each for each in ast.walk(side) if isinstance(each, ast.Name))


def test_no_builtin_is_taken_for_an_operation():
    """`sum` is an operation only where it was imported; elsewhere it is Python's, equal to none."""
    seen = 0
    for file in (*ROOT.glob("graphgrad/**/*.py"), *ROOT.glob("[mt]o*/**/*.py")):
        tree = ast.parse(file.read_text())
        bound = {
            alias.asname or alias.name
            for part in ast.walk(tree)
            if isinstance(part, ast.ImportFrom)
            for alias in part.names
        }
        for name in compared(tree):
            seen += 1
            assert not hasattr(builtins, name.id) or name.id in bound, f"{file}:{name.lineno}"
    assert seen > 100
