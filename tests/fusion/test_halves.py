"""Kernels that read and write floats of 16 bits give what the plain program gives."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="kernels are compiled by LLVM")

from delta_check import feeds_of
from half_numbers import NAMES, SAMPLES, assert_same_bits, assert_within_a_digit, in_halves

import graphgrad as gg
from graphgrad import Graph
from graphgrad.ops.evaluate import evaluate

FUSED = {"fuse": True, "smallest_kernel": 1}


@pytest.mark.parametrize("case", SAMPLES, ids=lambda case: f"{case[0].name}-{case[1]}-{case[2]}")
def test_every_operation_between_casts_has_the_value_of_the_reference(case):
    operation, number, dtype = case
    graph, feeds = in_halves(*case), feeds_of(operation.samples[number], dtype)
    wanted = evaluate(graph, feeds)[graph.outputs["y"]]
    for way in ({}, FUSED):
        assert_within_a_digit(gg.compile(graph, **way)(**feeds)["y"], wanted)


@pytest.mark.parametrize("dtype", NAMES)
def test_a_kernel_reads_widens_computes_and_rounds_once(dtype):
    x, row = gg.input("x", (64, 96), dtype), gg.input("row", 96)
    wide = gg.cast(x, "float32") * 1.5 + row
    narrow = gg.cast(gg.relu(wide), dtype)
    graph = Graph({"y": narrow, "sum": gg.sum(wide, 0), "largest": gg.max(wide, 1)})
    program = gg.compile(graph, **FUSED).program()
    assert len(program.kernels) == 1  # one pass over x for all three
    (text,) = program.kernels.values()
    assert f"{dtype}, rows, columns)" in text and "empty(" not in text
    generator = np.random.default_rng(0)
    feeds = {
        "x": generator.normal(size=(64, 96)).astype(dtype),
        "row": generator.normal(size=96).astype(np.float32),
    }
    found, wanted = program(**feeds), gg.compile(graph)(**feeds)
    assert_same_bits(found["y"], wanted["y"])
    np.testing.assert_array_equal(found["largest"], wanted["largest"])
    np.testing.assert_allclose(found["sum"], wanted["sum"], rtol=1e-5)


def test_what_is_widened_is_widened_where_it_is_read():
    """A value of 16 bits is never stored a second time in 32: each kernel widens what it reads."""
    x = gg.input("x", (128, 64), NAMES[0])
    wide = gg.cast(x, "float32")
    graph = Graph({"a": gg.max(wide * wide, 1), "b": gg.sum(gg.exp(wide), 0)})
    plan = gg.compile(graph, **FUSED).program().plan
    stored = {node.shape for step in plan.steps for node in step.group.outputs}
    assert (128, 64) not in stored
