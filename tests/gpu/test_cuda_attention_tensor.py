"""Attention on tensor cores, on this processor: the functions that stand for their instructions,
sizes, masks, layouts, faults, registers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cpu_device import Bound, Device, LaunchError, needs_compiler, needs_nvrtc
from device_programs import device_of, device_program
from sanitised import Recorded, run_sanitised, sanitised_program

import graphgrad as gg
from graphgrad import Graph
from graphgrad.backends.cupy import kernel_files
from graphgrad.backends.cupy.attention_cases import AttentionCase as Case
from graphgrad.backends.cupy.attention_cases import errors
from graphgrad.backends.cupy.attention_trial import CASES as TRIED
from graphgrad.backends.cupy.launches import DeviceProgram
from graphgrad.backends.cupy.module import module_text, usage_of
from graphgrad.ops.evaluate import evaluate

MANY, CAUSAL = TRIED[:2]
MASKED = Case((2,), 34, 40, 24, 9, mask="all", rate=0.2, dtype="bfloat16")
CASES = [
    *TRIED,
    replace(MASKED, queries=1, keys=1),
    replace(MASKED, queries=3, keys=97),
    replace(CAUSAL, heads=(2, 1, 2), queries=5, keys=66),
    replace(CAUSAL, queries=97, keys=3),
]


def compared(case: Case, found: Mapping[str, Any], feeds: Mapping[str, Any]) -> None:
    for name, error in errors(case, found, feeds):
        assert error <= 1, f"{case} {name}: {error}"


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
    graph, program = programs[MANY]
    runs = [Bound(program, device).run(MANY.feeds(graph), seed) for seed in (1, 2)]
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


DROPPED = replace(MASKED, queries=3, keys=97)
FAULTS = {
    "a wait for what is copied": (CAUSAL, "        wait_for_copies();\n", ""),
    "the barrier": (DROPPED, "        __syncthreads();  // all is there", "        //"),
    "the elements of dropout": (DROPPED, "found >> element % 4", "found"),
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
def test_nothing_spills():
    """Heads of 64 numbers, of which four blocks share a processor, and of 96 with dropout."""
    narrow = Case((1, 8), 512, 512, 64, 64, "keys", True, dtype="bfloat16")
    wide = replace(narrow, width=96, value_width=96, mask="", rate=0.1)
    programs = {case: device_program(case.graph()).kernels for case in (narrow, wide)}
    largest = {name: its for name, its in programs[wide].items() if "to_value" in its}
    usage = usage_of(module_text(programs[narrow] | largest), "sm_80")
    assert {its.spilled_bytes for its in usage.values()} == {0}
    assert max(usage[name].registers for name in programs[narrow]) <= 168
