"""Ten regions as data, as the text of a kernel and as a line of the program, compared with the
files in `golden`: `python tests/fusion/test_regions.py` writes them, to review the difference."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from planned import plan_of

import graphgrad as gg
from graphgrad import Graph, Node
from graphgrad.backends.numpy.program_text import render_program
from graphgrad.passes import FUSING_PASSES, PASSES, SPECIALISED_PASSES, optimise

GOLDEN = Path(__file__).parent / "golden"
X = gg.input("x", (64, 128))


def with_deltas(loss: Node, *names: str) -> Mapping[str, Node]:
    graph = gg.derive(Graph({"loss": loss}), "loss")
    return {f"{name}.delta": graph.delta(name) for name in names}


def regions() -> dict[str, Graph]:
    """By what is special about them."""
    row, column = gg.input("row", (128,)), gg.input("column", (64, 1))
    scores, mask = gg.input("scores", (8, 4, 16, 32)), gg.input("mask", (8, 1, 1, 32), "bool")
    long, targets = gg.input("long", (8, 3000)), gg.input("targets", (64, 1), "int32")
    seed, step = gg.state("seed", (), dtype="int64"), gg.state("step", (), dtype="int64")
    weight, moment = gg.parameter("weight", (128, 128)), gg.state("moment", (128, 128))
    mean = gg.add(0.9 * moment, 0.1 * gg.input("slope", (128, 128)), name="mean")
    drawn = gg.dropout_mask(seed, step, (64, 128), 0.1, 0, "float32")
    product = gg.matmul(X, gg.input("square", (128, 128)), name="product")
    hits = gg.cast(gg.equal(gg.cast(X, "int32"), targets), "float32")
    outputs: dict[str, Mapping[str, Node]] = {
        "elementwise": {"y": gg.tanh(X * 2.0 + row, name="y")},
        "in_place": {"y": gg.multiply(gg.exp(product), column, name="y")},
        "softmax": {"y": gg.softmax(X, name="y")},
        "rows_and_columns": with_deltas(gg.sum(gg.standardise(X * row) ** 3.0), "row", "x"),
        "long_rows": {"loss": gg.sum(gg.exp(long), name="loss"), "means": gg.mean(gg.exp(long), 1)},
        "indexed": {"y": gg.softmax(gg.where(mask, scores, -float("inf")), name="y")},
        "dropout": {"y": gg.multiply(gg.relu(X), drawn, name="y")},
        "sine": {"y": gg.add(gg.sin(X), gg.cos(row * X), name="y")},
        "truth_values": {"hits": gg.sum(hits, name="hits")},
    }
    graphs = {name: Graph(given) for name, given in outputs.items()}
    graphs["update"] = Graph({}, {weight: gg.subtract(weight, 0.01 * mean), moment: mean})
    return graphs


def printed(graph: Graph) -> str:
    """The line of the program that calls each kernel, its nest and its text."""
    optimised, _ = optimise(graph, (*PASSES, *SPECIALISED_PASSES, *FUSING_PASSES))
    source = render_program(plan_of(optimised, fused=True), {})
    lines, parts = source.text.splitlines(), []
    for call in source.calls:
        parts += [lines[source.line_of[call.step.node] - 1].strip(), ""]
        parts += [str(call.nest), "", call.kernel.text]
    return "\n".join(parts)


@pytest.mark.parametrize("name", regions())
def test_a_region_prints_as_before(name: str) -> None:
    text = printed(regions()[name])
    assert text.count("def kernel(") >= 1
    assert text == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


WITHOUT_LLVM = """
import sys
sys.modules["llvmlite"] = None
sys.path[:0] = sys.argv[1:]
from test_regions import printed, regions
print(*map(printed, regions().values()), sep="", end="")
"""


def test_programs_and_kernels_are_printed_without_a_compiler() -> None:
    here = Path(__file__).parent
    command = [sys.executable, "-c", WITHOUT_LLVM, str(here), str(here.parent)]
    found = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    assert found.stdout == "".join(map(printed, regions().values()))


if __name__ == "__main__":
    for region, declared in regions().items():
        (GOLDEN / f"{region}.txt").write_text(printed(declared), encoding="utf-8")
