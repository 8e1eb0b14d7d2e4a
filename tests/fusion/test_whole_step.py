"""The whole step: fused equals plain at odd sizes, threads change nothing, memory is as planned."""

import tracemalloc

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.compile import compile
from graphgrad.errors import DeclarationError
from graphgrad.models import transformer
from graphgrad.options import CHOICES
from graphgrad.training.optimisers import SEED, training_step

pytest.importorskip("llvmlite", reason="fused kernels are compiled by LLVM")
pytestmark = pytest.mark.usefixtures("small_kernels")

SIZES = [(1, 1, 1), (1, 5, 1), (3, 1, 7), (2, 7, 5), (5, 13, 11)]


def settings_of(**changes):
    return transformer.Settings(
        **{
            "layers": 1,
            "width": 24,
            "heads": 3,
            "inner": 20,
            "steps": 9,
            "dropout": 0.1,
            "label_smoothing": 0.1,
            **changes,
        }
    )


def graph_of(**changes):
    settings = settings_of(**changes)
    return training_step(transformer.training_graph(settings, 23, 19), settings)


def feeds_of(batch, source, target, seed=0):
    generator = np.random.default_rng(seed)
    feeds = {
        "source": generator.integers(4, 23, (batch, source)),
        "target_input": generator.integers(4, 19, (batch, target)),
        "target_output": generator.integers(4, 19, (batch, target)),
    }
    return {name: array.astype("i4") for name, array in feeds.items()}


def fresh(graph):
    state = gg.initial_state(graph, 1)
    state[SEED][...] = 4
    return state


@pytest.fixture(scope="module")
def graph():
    return graph_of(dtype="float64")


@pytest.fixture(scope="module")
def programs(graph):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graphgrad.fusion.grouping.SMALLEST_KERNEL", 0)
        found = [compile(graph, guards=("loss",), fuse=fuse) for fuse in (True, False)]
        for sizes in SIZES:
            for compiled in found:
                compiled.program(**dict(zip(("batch", "source", "target"), sizes, strict=True)))
    return found


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_fused_and_plain_agree_at_odd_sizes(graph, programs, sizes):
    states = [fresh(graph) for _ in programs]
    for number in range(2):
        feeds = feeds_of(*sizes, seed=number)
        fused, plain = (p(s, **feeds) for p, s in zip(programs, states, strict=True))
        for name in plain:
            np.testing.assert_allclose(fused[name], plain[name], rtol=1e-9, err_msg=name)
    for name, array in states[0].items():
        np.testing.assert_allclose(array, states[1][name], rtol=1e-7, atol=1e-10, err_msg=name)


def test_rows_that_may_look_nowhere_and_padding_everywhere(graph, programs):
    feeds = feeds_of(2, 7, 5)
    feeds["source"][0] = 0
    feeds["source"][1, 3:] = feeds["target_input"][1, 2:] = feeds["target_output"][1, 2:] = 0
    fused, plain = (p(fresh(graph), **feeds) for p in programs)
    assert np.isfinite(fused["gradient_norm"])
    np.testing.assert_allclose(fused["gradient_norm"], plain["gradient_norm"], rtol=1e-9)


def test_an_empty_batch_is_refused_by_name(programs):
    for compiled in programs:
        with pytest.raises(DeclarationError, match="'batch' is 0 in the inputs"):
            compiled({}, **feeds_of(0, 7, 5))


def test_inputs_that_do_not_lie_in_order_are_read_as_they_are(graph, programs):
    feeds = feeds_of(2, 7, 5)
    turned = {name: np.asfortranarray(array) for name, array in feeds.items()}
    assert not turned["source"].flags.c_contiguous
    for compiled in programs:
        first, second = compiled(fresh(graph), **feeds), compiled(fresh(graph), **turned)
        assert all(np.array_equal(first[name], second[name]) for name in first)


def test_one_thread_and_many_train_to_the_same_bytes(monkeypatch):
    for name in ("SHARED_FROM", "SHARED_ALONE"):
        monkeypatch.setattr(f"graphgrad.backends.numpy.call_table.{name}", 1)
    step, states = graph_of(), []
    for threads in (1, 2, 5):
        monkeypatch.setattr("graphgrad.backends.numpy.backend.usable_cores", lambda n=threads: n)
        compiled, state = compile(step, fuse=True), fresh(step)
        for number in range(3):
            compiled(state, **feeds_of(5, 13, 11, number))
        states.append(state)
    for other in states[1:]:
        assert all(np.array_equal(states[0][name], other[name]) for name in other)


@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("guards", [("loss",), ()], ids=["guarded", "free"])
def test_the_step_touches_what_was_planned(fuse, guards):
    step = graph_of(width=64, heads=4, inner=128, layers=2)
    if not guards:
        step = step.with_outputs({"loss": step.outputs["loss"]})
    program = compile(step, guards=guards, fuse=fuse).program(batch=8, source=16, target=16)
    workspace = program._workspaces.borrow(program._arena_bytes)  # with the memory of threads
    arena = workspace.arena[: program.plan.arena_bytes]
    arena[:] = 0xA5
    program._workspaces.give_back(workspace)
    program(fresh(step), **feeds_of(8, 16, 16))
    touched = np.count_nonzero(arena != 0xA5) + np.count_nonzero(arena == 0xA5) / 256
    # a byte in 256 is what it was by chance
    assert 0.95 * arena.size <= touched <= 1.01 * arena.size


@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "plain"])
def test_the_step_allocates_no_arrays(fuse):
    step = graph_of(width=64, heads=4, inner=128, layers=2)
    step = step.with_outputs({"loss": step.outputs["loss"]})
    program = compile(step, fuse=fuse).program(batch=16, source=16, target=16)
    state, feeds = fresh(step), feeds_of(16, 16, 16)
    for _ in range(2):
        program(state, **feeds)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        program(state, **feeds)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    hidden = 16 * 16 * 64 * 4  # one value of the residual stream
    # cross-entropy and take_along_axis need some numbers for each row where they stand alone
    assert peak < (hidden // 2 if fuse else hidden)


@pytest.mark.parametrize("name", [name for name in CHOICES if name != "specialise"])
def test_each_choice_can_be_left_out(graph, programs, name):
    feeds = feeds_of(2, 7, 5)
    expected = programs[1](fresh(graph), **feeds)
    found = compile(graph, guards=("loss",), fuse=True, without=[name])(fresh(graph), **feeds)
    for key in ("loss", "gradient_norm"):
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-9)


def test_what_cannot_be_left_out_is_named(graph):
    with pytest.raises(gg.GraphgradError, match="no 'fusion' to leave out"):
        compile(graph, without=["fusion"])
