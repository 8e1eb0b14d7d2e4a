"""Attention by our own kernels, on this processor: sizes, masks, layouts, faults, registers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from cpu_device import Bound, Device, LaunchError, needs_compiler, needs_nvrtc
from device_programs import device_of, device_plan, device_program
from sanitised import Recorded, run_sanitised, sanitised_program

import graphgrad as gg
from graphgrad import Graph
from graphgrad.backends.cupy import kernel_files
from graphgrad.backends.cupy.attention_cases import AttentionCase as Case
from graphgrad.backends.cupy.launches import DeviceProgram, Launch
from graphgrad.backends.cupy.module import module_text, usage_of
from graphgrad.layers import causal_mask, multi_head_attention, padding_mask
from graphgrad.ops.evaluate import evaluate

CASES = [
    Case(),
    Case((3,), 1, 1, 1, 1),
    Case((), 1, 37, 5, 7, causal=True),
    Case((2, 2, 2), 7, 3, 8, 4, mask="keys", rate=0.3),
    Case((1,), 33, 70, 20, 36, mask="all", rate=0.2),
    Case((1, 2), 70, 70, 64, 33, causal=True, mask="keys"),
    Case((2, 1), 40, 41, 130, 200, rate=0.1, causal=True),
    Case((1, 2), 37, 41, 5, 7, mask="all", rate=0.2, causal=True, dtype="float64"),
    Case((1,), 3, 65, 256, 256, dtype="float64"),
    Case((2,), 4, 5, 136, 9, mask="all", rate=0.2, dtype="bfloat16"),
    Case((2,), 4, 5, 24, 130, mask="keys", causal=True, dtype="float16"),
]


@pytest.fixture(scope="module")
def programs() -> Mapping[Case, tuple[Graph, DeviceProgram]]:
    found = {}
    for case in CASES:
        graph = case.graph()
        found[case] = graph, device_program(graph)
    return found


@pytest.fixture(scope="module")
def device(programs) -> Device:
    return device_of(program for _, program in programs.values())


TOLERANCES = {"float32": 3e-6, "float64": 1e-13, "bfloat16": 2**-6, "float16": 2**-9}
"""Results of 16 bits are rounded once; the reference may round to the neighbour."""


def compared(case: Case, graph: Graph, found: Mapping[str, np.ndarray], feeds: Any) -> None:
    expected = evaluate(graph, feeds)
    tolerance = {"float32": 3e-6, "float64": 1e-13, "bfloat16": 2**-7, "float16": 2**-10}[
        case.dtype
    ]
    for name, node in graph.outputs.items():
        np.testing.assert_allclose(
            wide(found[name]), wide(expected[node]), tolerance, tolerance, err_msg=f"{case} {name}"
        )


def wide(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.itemsize > 2 else array.astype("float32")


@needs_compiler
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_deltas_are_those_of_the_reference(programs, device, case):
    graph, program = programs[case]
    feeds = case.feeds(graph)
    compared(case, graph, Bound(program, device).run(feeds), feeds)


@needs_compiler
def test_the_order_of_threads_changes_no_bit(programs, device):
    case = CASES[5]
    graph, program = programs[case]
    runs = [Bound(program, device).run(case.feeds(graph), seed) for seed in (1, 2, 3)]
    for name in graph.outputs:
        assert len({run[name].tobytes() for run in runs}) == 1


@needs_compiler
def test_later_keys_are_left_out_tile_by_tile(programs, device):
    """Whole tiles of later keys are never read: NaN there reaches no earlier query."""
    case = CASES[5]
    graph, program = programs[case]
    feeds = case.feeds(graph)
    for name in "kv":
        feeds[name][..., 64:, :] = np.nan
    found = Bound(program, device).run(feeds)
    assert np.isfinite(found["o"][..., :64, :]).all()
    assert np.isnan(found["o"][..., 64:, :]).all()


@needs_compiler
def test_no_kernel_leaves_its_memory(programs, tmp_path):
    for number in (3, 4, 7):
        graph, _ = programs[CASES[number]]
        program = device_program(graph, joined=False)
        recorded = Recorded(program)
        recorded.run(CASES[number].feeds(graph))
        folder = tmp_path / str(number)
        folder.mkdir()
        left = run_sanitised(sanitised_program(program.kernels), recorded, folder)
        assert left == b"".join(recorded.wanted)


FAULTS = {
    "a barrier before what is staged is read": (
        "column);\n        stage<16 * C, PIECE>(rights, right, column);\n        __syncthreads();",
        "column);\n        stage<16 * C, PIECE>(rights, right, column);",
    ),
    "a barrier after it": (
        "__syncthreads();  // what was staged before has been read",
        "",
    ),
    "the rows beyond the matrix": ("row < from.rows && ", ""),
    "the rows of another line": (
        "(line * R + r) * (COLUMNS + 4)",
        "(lane * R + r) * (COLUMNS + 4)",
    ),
}


@needs_compiler
@pytest.mark.parametrize("damage", FAULTS)
def test_a_planted_fault_is_found(programs, monkeypatch, damage):
    old, new = FAULTS[damage]
    text = kernel_files.device_functions()
    assert old in text
    kernel_files.device_functions.cache_clear()
    monkeypatch.setattr("cpu_device.device_functions", lambda: text.replace(old, new))
    case = CASES[4]
    graph, program = programs[case]
    feeds, device = case.feeds(graph), Device(program.kernels)
    with pytest.raises((AssertionError, LaunchError)):
        for seed in range(4):
            compared(case, graph, Bound(program, device).run(feeds, seed), feeds)


# ---------------------------------------------------------------- what is read of a program


def layer(length: int = 6) -> Graph:
    x = gg.input("x", (2, length, 8))
    mask = gg.logical_and(padding_mask(gg.input("ids", (2, length), "int32")), causal_mask(length))
    loss = gg.sum(multi_head_attention(x, x, mask, heads=2) ** 2.0)
    return gg.sgd(Graph({"loss": loss}), 0.1)


def test_heads_are_read_and_written_where_they_are():
    """A layer needs no copy for its heads, and no array of scores."""
    plan, program = device_plan(layer()), device_program(layer())
    launches = [each for each in program.actions if isinstance(each, Launch)]
    copied = [each.node for each in launches if "from0" in program.kernels[each.kernel]]
    assert [node.dtype for node in copied] == ["int64"]  # the number of the step alone
    computed = [node for step in plan.steps for node in (*step.group.nodes, *step.scratch)]
    assert all(its.type.shape[-2:] != (6, 6) for its in computed if its.type.is_float)
    names = [[node.operation.name for node in step.group.nodes] for step in plan.steps]
    assert ["attention_statistics", "dot_product_attention"] in names
    assert ["attention_delta"] * 3 in names


def test_attention_needs_memory_for_its_rows_alone():
    """Twice as many tokens take twice the arena, and less than a quarter of the scores would."""
    small, large = (device_plan(layer(length)).arena_bytes for length in (300, 600))
    assert large < 2.1 * small and large < 2 * 2 * 600 * 600


@needs_nvrtc
def test_nothing_spills():
    case = Case((1, 8), 512, 512, 64, 64, mask="keys", causal=True, rate=0.1)
    kernels = device_program(case.graph()).kernels
    usage = usage_of(module_text(kernels), "sm_90")
    assert usage.keys() == kernels.keys()
    assert {its.spilled_bytes for its in usage.values()} == {0}
    assert max(its.registers for its in usage.values()) <= 255
