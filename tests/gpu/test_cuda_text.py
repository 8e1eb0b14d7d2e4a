"""Loop nests as kernels in CUDA C, as they are kept in `golden`, and what their threads take on a
device. `python tests/gpu/test_cuda_text.py` writes the texts anew, to read the difference."""

from __future__ import annotations

from pathlib import Path

import pytest
from cpu_device import needs_nvrtc
from device_programs import device_plan, device_program

import graphgrad as gg
from graphgrad import Graph
from graphgrad.backends.cupy.module import module_text, usage_of
from graphgrad.backends.cupy.nest_text import print_nest

GOLDEN = Path(__file__).parent / "golden"
X = gg.input("x", (64, 128))


def graphs() -> dict[str, Graph]:
    """One for each form of kernel, and for what is special in a text."""
    row, scores = gg.input("row", (128,)), gg.input("scores", (8, 4, 16, 300))
    mask, wide = gg.input("mask", (8, 1, 1, 300), "bool"), gg.input("wide", (8, 5000), "float64")
    seed, step = gg.state("seed", (), dtype="int64"), gg.state("step", (), dtype="int64")
    weight, moment = gg.parameter("weight", (128, 127)), gg.state("moment", (128, 127))
    mean = gg.add(0.9 * moment, 0.1 * gg.input("slope", (128, 127)), name="mean")
    drawn = gg.dropout_mask(seed, step, (64, 128), 0.1, 0, "float32")
    normal = gg.derive(Graph({"loss": gg.sum(gg.standardise(X * row) ** 3.0)}), "loss")
    return {
        "elementwise": Graph({"y": gg.tanh(X * 2.0 + row)}),
        "softmax": Graph({"y": gg.softmax(X)}),
        "rows_and_columns": normal.with_outputs({"delta": normal.delta("row")}),
        "sum_of_all": Graph({"loss": gg.sum(gg.exp(X))}),
        "indexed": Graph({"y": gg.softmax(gg.where(mask, scores, -float("inf")))}),
        "block": Graph({"y": gg.max(wide, 1)}),
        "dropout": Graph({"y": gg.relu(X) * drawn}),
        "update": Graph({}, {weight: weight - 0.01 * mean, moment: mean}),
    }


def printed(graph: Graph) -> str:
    """The nests and their texts."""
    parts = []
    for step in device_plan(graph).steps:
        nest = step.group.nest
        assert nest is not None
        number = {node: place for place, node in enumerate(nest.nodes)}
        in_place = {number[output]: number[head] for output, head in step.inherited.items()}
        lines = [f"// {line}" for line in str(nest).splitlines()]
        parts += [*lines, "", print_nest(nest.loops, in_place).text]
    return "\n".join(parts)


@pytest.mark.parametrize("name", graphs())
def test_a_nest_prints_as_before(name: str) -> None:
    text = printed(graphs()[name])
    assert text == (GOLDEN / f"{name}.cu").read_text(encoding="utf-8")


def large() -> Graph:
    """Row work of a Transformer's size: softmax, standardisation with deltas, a cross-entropy."""
    scores, x = gg.input("scores", (256, 1024)), gg.input("x", (4096, 512))
    scale, logits = gg.input("scale", (512,)), gg.input("logits", (4096, 10_000))
    targets = gg.input("targets", (4096,), "int32")
    losses = gg.cross_entropy(logits, targets, smoothing=0.1)
    y = gg.sum(gg.tanh(gg.standardise(x) * scale))
    loss = gg.sum(losses) + y + gg.sum(gg.softmax(scores) ** 2.0)
    graph = gg.derive(Graph({"loss": loss}), loss)
    wanted = ("x", "scale", "scores", "logits")
    return graph.with_outputs({"loss": loss, **{name: graph.delta(name) for name in wanted}})


@needs_nvrtc
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_no_thread_of_a_large_row_spills(architecture: str) -> None:
    kernels = device_program(large()).kernels
    usage = usage_of(module_text(kernels), architecture)
    assert usage.keys() == kernels.keys() and len(usage) > 5
    assert {its.spilled_bytes for its in usage.values()} == {0}
    assert max(its.registers for its in usage.values()) <= 128


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, graph in graphs().items():
        (GOLDEN / f"{name}.cu").write_text(printed(graph), encoding="utf-8")
