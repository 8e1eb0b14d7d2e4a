"""Attention on tensor cores, on this processor: the functions that stand for their instructions,
sizes, masks, layouts, faults, registers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from attention_case import Case
from cpu_device import Bound, Device, LaunchError, needs_compiler, needs_nvrtc
from device_programs import device_of, device_program
from sanitised import Recorded, run_sanitised, sanitised_program

import graphgrad as gg
from graphgrad import Graph
from graphgrad.backends.cupy import kernel_files
from graphgrad.backends.cupy.launches import DeviceProgram
from graphgrad.backends.cupy.module import module_text, usage_of
from graphgrad.ops.evaluate import evaluate
from graphgrad.philox import fill_dropout_mask

EPSILON = {"bfloat16": 2**-8, "float16": 2**-11}
MASKED = Case((2,), 34, 40, 24, 9, mask="all", rate=0.2, dtype="bfloat16")
CAUSAL = Case((1, 2), 70, 70, 20, 48, mask="keys", causal=True, dtype="float16")
WIDE = Case((1,), 65, 33, 128, 16, rate=0.3, dtype="bfloat16")
CASES = [
    MASKED,
    replace(MASKED, queries=1, keys=1),
    replace(MASKED, queries=3, keys=97),
    CAUSAL,
    replace(CAUSAL, queries=97, keys=3),
    replace(CAUSAL, heads=(2, 1, 2), queries=5, keys=66),
    WIDE,
]
Arrays = Mapping[str, Any]


def expected(case: Case, feeds: Arrays) -> dict[str, tuple[Any, Any]]:
    """Values and deltas in float64 from the formulas of attention, and what the terms of each would
    add up to without their signs: roundings are in proportion to that."""
    q, k, v, sent = (feeds[name].astype(np.float64) for name in ("q", "k", "v", "sent"))
    scale = case.width**-0.5
    seen = np.broadcast_to(feeds.get("mask", True), (*q.shape[:-1], case.keys))
    if case.causal:
        seen = seen & (np.arange(case.keys) <= np.arange(case.queries)[:, None])
    scores = np.where(seen, scale * q @ k.swapaxes(-1, -2), -np.inf)
    weights = np.exp(scores - np.maximum(scores.max(-1, keepdims=True), -1e300))
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-300)
    kept = np.ones(weights.shape)
    if case.rate:
        fill_dropout_mask(kept, int(feeds["seed"]), int(feeds["step"]), 5, case.rate)
    dropped, turned = weights * kept, (kept * weights).swapaxes(-1, -2)
    o, through = dropped @ v, kept * (sent @ v.swapaxes(-1, -2))
    inner = scale * weights * (through - (sent * o).sum(-1, keepdims=True))
    size = kept * (abs(sent) @ abs(v).swapaxes(-1, -2)) + (abs(sent * o)).sum(-1, keepdims=True)
    size = scale * weights * size
    return {
        "o": (o, dropped @ abs(v)),
        "dq": (inner @ k, size @ abs(k)),
        "dk": (inner.swapaxes(-1, -2) @ q, size.swapaxes(-1, -2) @ abs(q)),
        "dv": (turned @ sent, turned @ abs(sent)),
    }


def compared(case: Case, found: Arrays, feeds: Arrays) -> None:
    for name, (wanted, size) in expected(case, feeds).items():
        away = abs(found[name].astype(np.float64) - wanted)
        bound = EPSILON[case.dtype] * (size + abs(wanted)) + 1e-6
        assert (away <= bound).all(), f"{case} {name}: {np.max(away / bound)}"


@pytest.fixture(scope="module")
def programs() -> dict[Case, tuple[Graph, DeviceProgram]]:
    graphs = {case: case.graph() for case in CASES}
    return {case: (graph, device_program(graph)) for case, graph in graphs.items()}


@pytest.fixture(scope="module")
def device(programs) -> Device:
    return device_of(program for _, program in programs.values())


@needs_compiler
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_deltas_are_those_of_the_formulas(programs, device, case):
    graph, program = programs[case]
    feeds = case.feeds(graph)
    assert all("multiply_rows" in text for text in program.kernels.values() if "query" in text)
    compared(case, Bound(program, device).run(feeds), feeds)


@needs_compiler
def test_the_order_of_threads_changes_no_bit(programs, device):
    graph, program = programs[WIDE]
    runs = [Bound(program, device).run(WIDE.feeds(graph), seed) for seed in (1, 2, 3)]
    for name in graph.outputs:
        assert len({run[name].tobytes() for run in runs}) == 1


@needs_compiler
def test_what_is_not_finite_is_where_the_reference_has_it(programs, device):
    """A query of NaN, a key of infinity, and NaN in keys that nobody sees yet."""
    graph, program = programs[CAUSAL]
    feeds = CAUSAL.feeds(graph)
    feeds["mask"][...] = True
    feeds["q"][0, 0, 5, 3] = np.nan
    feeds["k"][0, 1, 9, 0] = np.inf
    feeds["v"][0, 0, 69] = np.nan
    found, wanted = Bound(program, device).run(feeds), evaluate(graph, feeds)[graph.outputs["o"]]
    assert np.isnan(found["o"][0, 0, 5]).all() and np.isfinite(found["o"][0, 0, 6:60]).all()
    alike = np.isnan(found["o"][0, 1]) == np.isnan(wanted[0, 1])
    assert alike.all() and np.isnan(wanted[0, 1]).any()


@needs_compiler
def test_heads_are_read_where_they_lie_between_others():
    """Queries, keys and values in one array, whose rows begin at multiples of 4 bytes alone."""
    x = gg.input("x", (2, 19, 2 * 3 * 6 + 2), "bfloat16")
    parts = [
        gg.transpose(gg.reshape(x[:, :, n : n + 12], (2, 19, 2, 6)), (0, 2, 1, 3))
        for n in (0, 12, 26)
    ]
    o = gg.dot_product_attention(*parts)
    sent = gg.input("sent", o.shape, "bfloat16")
    graph = gg.derive(Graph({"o": o}, names={"sent": sent}), o, [x], sent)
    graph = graph.with_outputs({"o": o, "dx": graph.delta("x")})
    generator, program = np.random.default_rng(5), device_program(graph)
    assert any("VECTOR = 2" in text for text in program.kernels.values())
    feeds = {
        name: generator.normal(size=node.type.sizes).astype(node.dtype)
        for name, node in graph.inputs.items()
    }
    found, wanted = Bound(program).run(feeds), evaluate(graph, feeds)
    for name, node in graph.outputs.items():
        one, other = (its.astype(np.float64) for its in (found[name], wanted[node]))
        np.testing.assert_allclose(one, other, 2**-6, 2**-6, err_msg=name)


@needs_compiler
def test_no_kernel_leaves_its_memory(tmp_path):
    graph = replace(MASKED, causal=True).graph()
    program = device_program(graph, joined=False)
    recorded = Recorded(program)
    recorded.run(MASKED.feeds(graph))
    left = run_sanitised(sanitised_program(program.kernels), recorded, tmp_path)
    assert left == b"".join(recorded.wanted)


FAULTS = {
    "a wait for what is copied": (CAUSAL, "        wait_for_copies();\n", ""),
    "the barrier": (MASKED, "        __syncthreads();  // all is there", "        //"),
    "the rows beyond the matrix": (MASKED, "row < rows && column < from", "column < from"),
    "the halves of a word": (MASKED, "first[0], first[1]", "first[1], first[0]"),
    "the order of a fragment": (
        MASKED,
        "first[2], first[3]),\n            packed<T>(second[0], second[1])",
        "second[0], second[1]),\n            packed<T>(first[2], first[3])",
    ),
    "the marks of a later row": (MASKED, "8 * r * LINE", "0"),
    "the elements of dropout": (
        replace(MASKED, queries=3, keys=97),
        "found >> element % 4",
        "found",
    ),
}


@needs_compiler
@pytest.mark.parametrize("damage", FAULTS)
def test_a_planted_fault_is_found(programs, monkeypatch, damage):
    case, old, new = FAULTS[damage]
    graph, program = programs[case]
    functions = kernel_files.device_functions()
    assert any(old in text for text in (functions, *program.kernels.values()))
    monkeypatch.setattr("cpu_device.device_functions", lambda: functions.replace(old, new))
    kernels = {name: text.replace(old, new) for name, text in program.kernels.items()}
    feeds, device = case.feeds(graph), Device(kernels)
    with pytest.raises((AssertionError, LaunchError)):
        for seed in range(4):
            compared(case, Bound(program, device).run(feeds, seed), feeds)


@needs_nvrtc
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nothing_spills(architecture):
    sizes = [(64, "keys", 0.0), (128, "all", 0.1)]
    cases = [
        Case((1, 8), 512, 512, width, width, mask, True, rate, "bfloat16")
        for width, mask, rate in sizes
    ]
    kernels: dict[str, str] = {}
    for case in cases:
        kernels.update(device_program(case.graph()).kernels)
    usage = usage_of(module_text(kernels), architecture)
    assert usage.keys() == kernels.keys()
    assert {its.spilled_bytes for its in usage.values()} == {0}
    narrow = device_program(cases[0].graph()).kernels
    assert max(usage[name].registers for name in narrow) <= 168
