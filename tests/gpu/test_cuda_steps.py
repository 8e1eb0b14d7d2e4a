"""Whole training steps of the built-in models as programs of the device, run on this processor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cpu_device import Bound, Device, needs_compiler, needs_nvrtc
from device_programs import device_of, device_program
from device_steps import GUARDS, SIZES, feeds_of, initial, program_of, step_of
from sanitised import Recorded, run_sanitised, sanitised_program

import graphgrad as gg
from graphgrad import Graph
from graphgrad.backends.cupy.launches import (
    Action,
    Computed,
    Guard,
    Launch,
    Pointer,
    Rows,
    pointers_of,
)
from graphgrad.backends.cupy.module import compile_cuda, module_text
from graphgrad.graph import STATEFUL, leaf_name


@pytest.fixture(scope="module")
def device() -> Device:
    dtypes = {"transformer": ("float32", "float64")}
    programs = [
        program_of(model, dtype) for model in SIZES for dtype in dtypes.get(model, ("float64",))
    ]
    return device_of([*programs, program_of("transformer", joined=False)])


@needs_compiler
@pytest.mark.parametrize("model", SIZES)
def test_twenty_steps_are_those_of_the_cpu(device, model):
    """Losses, outputs and all parameters, in float64; products are NumPy's on either side."""
    graph = step_of(model, "float64")
    bound, state = Bound(program_of(model, "float64"), device), initial(graph)
    compiled = gg.compile(graph, guards=[name for name in GUARDS if name in graph.outputs])
    given: dict[str, Any] = {name: its.copy() for name, its in state.items()}
    for step in range(20):
        feeds = feeds_of(model, step)
        found, wanted = bound.run({**given, **feeds}, seed=step), compiled(state, **feeds)
        given = {}
        for name, value in wanted.items():
            np.testing.assert_allclose(found[name], value, 1e-9, 1e-9, err_msg=f"{step} {name}")
    left = bound.state()
    assert any((left[name] != initial(graph)[name]).any() for name in graph.parameters)
    for name, value in state.items():
        np.testing.assert_allclose(left[name], value, 1e-9, 1e-9, err_msg=name)


@needs_compiler
def test_float32_steps_are_equal_bit_by_bit_whatever_the_order_of_threads(device):
    """And joined launches do what they do one by one."""
    results = []
    for joined, seed in ((True, 1), (True, 2), (False, 3)):
        bound = Bound(program_of("transformer", joined=joined), device)
        given: dict[str, Any] = initial(step_of("transformer"))
        for step in range(3):
            bound.run({**given, **feeds_of("transformer", step)}, seed=100 * seed + step)
            given = {}
        results.append(bound.state())
    for other in results[1:]:
        for name, value in results[0].items():
            np.testing.assert_array_equal(other[name], value, err_msg=name)


@needs_compiler
def test_float32_steps_follow_the_cpu(device):
    graph = step_of("transformer")
    bound, state = Bound(program_of("transformer"), device), initial(graph)
    compiled = gg.compile(graph, guards=GUARDS)
    given: dict[str, Any] = {name: its.copy() for name, its in state.items()}
    for step in range(3):
        feeds = feeds_of("transformer", step)
        found, wanted = bound.run({**given, **feeds}), compiled(state, **feeds)
        given = {}
        np.testing.assert_allclose(found["loss"], wanted["loss"], 1e-5)


@needs_compiler
def test_no_kernel_leaves_its_memory(tmp_path):
    """Every launch of a step under sanitisers, each address in memory of its own."""
    program = program_of("transformer", joined=False)
    recorded = Recorded(program)
    recorded.run({**initial(step_of("transformer")), **feeds_of("transformer", 0)})
    assert recorded.launches == sum(isinstance(action, Launch) for action in program.actions)
    left = run_sanitised(sanitised_program(program.kernels), recorded, tmp_path)
    assert left == b"".join(recorded.wanted)


@needs_compiler
def test_a_new_number_is_read_where_it_is_new_and_an_old_one_where_it_is_old():
    """Single numbers are computed later than the plan says: never too late, never too early."""
    names = ("count", "total", "twice", "kept")
    count, total, twice, kept = (gg.state(name, (), dtype="float64") for name in names)
    w, x = gg.parameter("w", (3, 5), dtype="float64"), gg.input("x", (3, 5), "float64")
    new, doubled = count + 1.0, 2.0 * twice  # the second is computed in its state's own place
    largest = gg.max(x * new)
    moved = gg.matmul(gg.tanh(w * doubled), gg.transpose(x)) @ x
    tripled = kept * 3.0  # before a sum takes the place of what was kept
    updates = {count: new, w: w * new + moved, total: total * count + largest + tripled}
    outputs = {"old": count * 2.0, "new": gg.tanh(new) * x, "largest": largest}
    graph = Graph(outputs, {**updates, twice: doubled, kept: gg.sum(x * 1.5)})
    state = {name: np.array(0.5) for name in names}
    state["w"] = np.full((3, 5), 0.5)
    feeds, program = {"x": np.linspace(-1, 2, 15).reshape(3, 5)}, device_program(graph)
    bound, compiled = Bound(program), gg.compile(graph)
    given = {name: its.copy() for name, its in state.items()}
    for _ in range(3):
        found, wanted = bound.run({**given, **feeds}), compiled(state, **feeds)
        given = {}
        for name, value in [*wanted.items(), *state.items()]:
            np.testing.assert_allclose({**bound.state(), **found}[name], value, 1e-12)


# ---------------------------------------------------------------- what tests read of a program


def test_everything_but_products_is_a_kernel():
    for model in SIZES:
        assert not any(isinstance(each, Computed) for each in program_of(model).actions)


def test_all_parameters_are_updated_by_one_launch_for_each_kernel():
    """The guards come before anything is written to a state, and the updates are joined."""
    program = program_of("transformer")
    guard = max(n for n, each in enumerate(program.actions) if isinstance(each, Guard))
    behind = program.actions[guard + 1 :]
    for action in program.actions[:guard]:
        assert not any(
            pointer.written and pointer.memory in program.leaves for pointer in pointers_of(action)
        )
    parameters = [leaf for leaf in program.leaves if leaf.operation in STATEFUL]
    launches = [action for action in behind if isinstance(action, Launch)]
    written = {
        leaf_name(pointer.memory)
        for action in launches
        for pointer in pointers_of(action)
        if pointer.written and pointer.memory in parameters
    }
    assert written == {leaf_name(leaf) for leaf in step_of("transformer").updates}
    assert len(launches) <= 4 and len({action.kernel for action in launches}) == len(launches)


def _parts_of(action: Action) -> list[Any]:
    """What an action does, by the words of each launch that is part of it."""
    if not isinstance(action, Launch):
        return [action]
    tables = [word.memory for word in action.words if isinstance(word, Pointer)]
    if isinstance(tables[0], Rows):
        return [row[1:] for row in tables[0].rows]
    return [action.words]


@pytest.mark.parametrize("model", SIZES)
def test_joined_launches_do_all_that_the_single_ones_do_in_an_order_that_is_as_good(model):
    """Of two actions one of which writes what the other reads or writes, the first stays first."""
    single, joined = program_of(model, joined=False).actions, program_of(model).actions
    assert sum(len(_parts_of(action)) for action in joined) == len(single) > len(joined)
    places: dict[Any, list[int]] = {}
    for place, action in enumerate(joined):
        for part in _parts_of(action):
            places.setdefault(part, []).append(place)
    before: list[tuple[int, list[Pointer]]] = []
    for action in single:
        (part,) = _parts_of(action)
        place, pointers = places[part].pop(0), list(pointers_of(action))
        for earlier, theirs in before:
            if any(pointer.meets(other) for pointer in pointers for other in theirs):
                assert earlier < place
        before.append((place, pointers))
    assert not any(places.values())


def test_a_program_prints_its_launches():
    lines = str(program_of("transformer")).splitlines()
    assert lines[0].startswith(f"{len(lines) - 1} actions, ")
    assert any("<<<" in line and " for 4" in line for line in lines)


@needs_nvrtc
@pytest.mark.parametrize(
    ("model", "architecture"),
    [("transformer", "sm_90"), ("attention", "sm_80"), ("feedforward", "sm_90")],
)
def test_every_kernel_of_a_step_compiles_for_a_device(model, architecture):
    """In float32; `test_cuda_precision` has both architectures compile what a step has in bf16."""
    program = program_of(model)
    code = compile_cuda(module_text(program.kernels), architecture, program.names)
    assert code.startswith(b"\x7fELF")
    assert all(name.encode() in code for name in program.kernels)


def test_it_is_known_which_nodes_a_kernel_computes():
    """Names of the graph: all parameters' next values are those of joined kernels."""
    program = program_of("transformer")
    assert program.names.keys() == program.kernels.keys()
    known = {name for names in program.names.values() for name in names}
    assert "loss" in known and all(program.names.values())
    assert sum(len(names) > 40 for names in program.names.values()) >= 2
