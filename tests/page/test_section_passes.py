"""The section `passes`: what each pass did, and lines that are linked by equal values."""

import json
import re

import numpy as np
import pytest

from graphgrad.backends import COMPILES
from graphgrad.backprop import derive
from graphgrad.compile import compile
from graphgrad.graph import Graph, constant, initial_state, input, normal, parameter, scope
from graphgrad.ops import exp, log, matmul, softmax, sum, tanh
from graphgrad.ops.evaluate import evaluate
from graphgrad.page.section_passes import pass_section
from graphgrad.passes import specialise
from graphgrad.text import printable

HOSTILE = "</script><b>\u202e\n%3"


def network() -> Graph:
    x = input("x", ("batch", 3), "float32")
    w = parameter("w", (3, 4), normal(1.0))
    with scope("layer"):
        a = matmul(x, w, name="a") - 0.0
        z = tanh(a, name=HOSTILE)
    two = constant(2.0) * constant(3.0)
    losses = log(softmax(z * two, name="p"), name="log_p")
    unused = exp(z, name="unused")
    return Graph({"loss": sum(losses, name="loss")}, names={"unused": unused})


@pytest.mark.usefixtures("small_kernels")
@pytest.mark.parametrize(
    "fuse",
    [False, pytest.param(True, marks=pytest.mark.skipif(not COMPILES, reason="kernels need LLVM"))],
)
def test_linked_lines_have_equal_values(fuse: bool) -> None:
    graph = derive(network(), "loss")
    outputs = {**graph.outputs, "gradient": graph.delta("w")}
    graph = graph.with_outputs(outputs)
    section = pass_section(graph, {"batch": 5}, fuse=fuse)
    json.dumps(section, allow_nan=False)
    program = compile(graph, fuse=fuse).program(batch=5)
    feeds = {"x": np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)}
    state = initial_state(graph)
    sized = specialise(graph, {"batch": 5})
    before, after = evaluate(sized, feeds, state), evaluate(program.graph, feeds, state)
    names = section["source_names"]
    assert names == [graph.name_of(node) for node in graph.nodes]
    linked = 0
    for name, line in zip(names, section["forward"], strict=True):
        if line >= 0:
            value = after[program.graph.nodes[line]]
            np.testing.assert_allclose(before[sized.names[name]], value, 1e-5, 1e-6)
            linked += 1
    assert linked > 10 and section["forward"][names.index("unused")] == -1
    for position, line in enumerate(section["lines"]):
        node = program.graph.nodes[position]
        kernel = section["kernel_of"][position]
        if kernel:
            assert f"op.{kernel}(" in section["program"][line - 1]
            assert kernel in section["kernels"]
        elif program.line_of(node) is not None:
            assert re.search(rf"\bv{position}\b", section["program"][line - 1])
    assert bool(section["kernels"]) == fuse
    assert section["lines"][0] == section["program"].index("def run(x0, w1):") + 1


def test_passes_are_those_of_the_compiler() -> None:
    graph = network()
    section = pass_section(graph, {"batch": 5})
    reports = compile(graph).reports
    steps = section["steps"]
    names = [step["name"] for step in steps]
    assert names[: len(reports)] == [report.name for report in reports]
    assert names[len(reports)] == "specialise"
    for step, report in zip(steps, reports, strict=False):
        assert step["nodes"] == [report.nodes_before, report.nodes_after]
    assert steps[-1]["nodes"][1] == section["optimised_count"]
    assert steps[-1]["cost"]["flops"] == section["before"]["flops"] == 2 * 5 * 3 * 4
    assert steps[-1]["cost"]["steps"] < section["before"]["steps"]


def test_a_changed_node_is_listed_as_a_computation() -> None:
    lists = [step["lists"] for step in pass_section(network(), {"batch": 5})["steps"]]
    listed = {(kind, *item[:3]) for each in lists for kind, items in each.items() for item in items}
    assert ("removed", "unused", f"exp({printable('layer.' + HOSTILE, 60)})", "") in listed
    assert ("merged", "layer.subtract", "subtract(layer.a, layer.constant)") in {
        (kind, name, was) for kind, name, was, _ in listed
    }


def test_a_removed_node_says_what_it_is_part_of() -> None:
    lists = [step["lists"] for step in pass_section(network(), {"batch": 5})["steps"]]
    removed = {item[0]: item[3:] for each in lists for item in each.get("removed", ())}
    assert removed["unused"] == []
    assert removed["p"] == [[("log_p",), "stabilise", False]]


@pytest.mark.usefixtures("small_kernels")
@pytest.mark.skipif(not COMPILES, reason="kernels need LLVM")
def test_fusing_is_the_last_step_with_the_steps_and_bytes_of_the_program() -> None:
    graph = derive(network(), "loss")
    graph = graph.with_outputs({**graph.outputs, "gradient": graph.delta("w")})
    section = pass_section(graph, {"batch": 5}, fuse=True)
    *_, before, fused = section["steps"]
    plan = compile(graph, fuse=True).program(batch=5).plan
    assert fused["name"] == "fuse" and fused["cost"]["steps"] == len(plan.steps)
    assert fused["cost"]["steps"] < before["cost"]["steps"]
    assert fused["cost"]["bytes"] < before["cost"]["bytes"]
    assert fused["cost"]["flops"] == before["cost"]["flops"]
    assert pass_section(graph, {"batch": 5})["steps"][-1]["name"] != "fuse"


def test_constants_have_the_line_that_binds_them() -> None:
    section = pass_section(network(), {"batch": 5})
    line = section["lines"][
        next(
            number for number, text in enumerate(section["optimised"]) if "= constant(6.0)" in text
        )
    ]
    assert re.match(r"c\d+ = constants\[\d+\]", section["program"][line - 1])


def test_names_are_on_one_line_and_printable() -> None:
    section = pass_section(network(), {"batch": 2})
    texts = [*section["source"], *section["optimised"], *section["program"], *section["places"]]
    texts += [
        text
        for step in section["steps"]
        for items in step["lists"].values()
        for _, *both in (item[:3] for item in items)
        for text in both
    ]
    assert any("<b>" in text for text in texts)
    assert all(text.isprintable() for text in texts)
