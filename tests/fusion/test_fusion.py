"""Fused programs compute the values of plain ones: every kernel expression, rows, sums, masks."""

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.compile import compile
from graphgrad.fusion.slow import is_slow
from graphgrad.fusion.statements import LARGEST_BLOCK, block_count
from graphgrad.models import transformer
from graphgrad.ops import ALL_OPERATIONS
from graphgrad.ops.random import dropout_mask
from graphgrad.ops.reduction import sum as sum_of
from graphgrad.training.optimisers import SEED, training_step

pytest.importorskip("llvmlite", reason="fused kernels are compiled by LLVM")

pytestmark = pytest.mark.usefixtures("small_kernels")
WITH_KERNEL = [
    (op, s)
    for op in ALL_OPERATIONS
    if op.kernel
    for s in op.samples
    if all(0 not in head.shape for head in s.heads)
]


def both(graph, fetch=(), state=None, **feeds):
    """The outputs of the fused and of the plain program, from equal states."""
    results = []
    for fuse in (True, False):
        copied = {name: array.copy() for name, array in (state or {}).items()}
        outputs = compile(graph, fetch=fetch, fuse=fuse)(copied, **feeds)
        results.append({**outputs, **{f"state {n}": a for n, a in copied.items()}})
    return results


def assert_same(fused, plain, tolerance):
    assert fused.keys() == plain.keys()
    for name in plain:
        np.testing.assert_allclose(
            fused[name], plain[name], rtol=tolerance, atol=tolerance, err_msg=name
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_kernel_expression_is_its_operation(dtype):
    """All samples whose results have one shape, in one kernel: their sum makes them one region."""
    generator = np.random.default_rng(3)
    feeds, outputs, totals = {}, {}, {}
    for number, (operation, sample) in enumerate(WITH_KERNEL):
        heads = []
        for place, draw in enumerate(sample.heads):
            array = draw.array(generator, dtype)
            feeds[f"x{number}_{place}"] = array
            heads.append(gg.input(f"x{number}_{place}", array.shape, array.dtype))
        y = operation.node(*heads, **sample.attributes)
        outputs[f"{operation.name} {number}"] = y
        as_float = gg.cast(y, dtype)
        totals[y.shape] = totals[y.shape] + as_float if y.shape in totals else as_float
    graph = gg.Graph({**outputs, **{f"total {shape}": node for shape, node in totals.items()}})
    fused, plain = both(graph, **feeds)
    assert_same(fused, plain, 2e-6 if dtype == "float32" else 1e-12)
    fused_nodes = {
        node
        for step in compile(graph, fuse=True).program().plan.steps
        if step.group.nest is not None
        for node in step.group.nodes
    }
    names = {node.operation.name for node in fused_nodes}
    left = {operation.name for operation, _ in WITH_KERNEL if is_slow(operation, np.dtype(dtype))}
    assert {operation.name for operation, _ in WITH_KERNEL} - names <= {
        "identity",
        "stop_gradient",
        *left,
    }
    assert not left & names


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [1, 5, 16, 33, 100])
def test_the_largest_and_smallest_of_a_row_are_nan_where_there_is_one(dtype, columns):
    x = np.random.default_rng(0).standard_normal((columns + 1, columns)).astype(dtype)
    x[np.arange(columns), np.arange(columns)] = np.nan  # in the last row there is none
    doubled = gg.input("x", x.shape, dtype) * 2.0
    outputs = {"max": gg.max(doubled, axis=1), "min": gg.min(doubled, axis=1)}
    fused, plain = both(gg.Graph(outputs), x=x)
    for name, value in plain.items():
        np.testing.assert_array_equal(fused[name], value)


@pytest.mark.parametrize(
    ("rows", "columns"), [(1, 1), (1, 17), (3, 2), (33, 1), (33, 17), (4099, 64)]
)
def test_rows_of_any_size_reduce_and_come_back(rows, columns):
    x = gg.input("x", (rows, columns))
    gain = gg.parameter("gain", (columns,))
    y = gg.softmax(gg.relu(x) * gain) + gg.standardise(x * 2.0)
    loss = sum_of(y * y * gg.log_softmax(x), name="loss")
    graph = gg.derive(gg.Graph({"loss": loss}), "loss")
    generator = np.random.default_rng(rows * columns)
    feeds = {"x": generator.standard_normal((rows, columns)).astype("f4")}
    state = {"gain": generator.random(columns).astype("f4")}
    fused, plain = both(graph, ["x.delta", "gain.delta"], state, **feeds)
    scale = max(1.0, float(np.abs(plain["gain.delta"]).max()), float(abs(plain["loss"])))
    for name in plain:
        assert np.max(np.abs(fused[name] - plain[name])) <= 3e-5 * scale, name


def test_masks_that_repeat_along_some_axes_and_rows_without_any_key():
    scores = gg.input("scores", (3, 2, 4, 5), "float64")
    mask = gg.input("mask", (3, 1, 1, 5), "bool")
    weights = gg.softmax(gg.where(mask, scores * 0.5, -np.inf), name="weights")
    loss = sum_of(weights * weights * scores, name="loss")
    graph = gg.derive(gg.Graph({"loss": loss}), "loss")
    generator = np.random.default_rng(0)
    allowed = generator.random((3, 1, 1, 5)) < 0.6
    allowed[1] = False
    feeds = {"scores": generator.standard_normal((3, 2, 4, 5)), "mask": allowed}
    fused, plain = both(graph, ["weights", "scores.delta"], **feeds)
    assert_same(fused, plain, 1e-12)
    assert np.all(fused["weights"][~np.broadcast_to(allowed, (3, 2, 4, 5))] == 0)


@pytest.mark.parametrize("extreme", [1e30, -1e30, 0.0, np.inf, np.nan])
def test_extremes_come_out_as_they_do_plain(extreme):
    x = gg.input("x", (4, 6))
    graph = gg.Graph(
        {
            "soft": gg.softmax(x),
            "relu": gg.relu(x) * 2.0,
            "tanh": gg.tanh(x) + 1.0,
            "largest": gg.maximum(x, 0.5) * 3.0,
        }
    )
    array = np.linspace(-1, 1, 24).reshape(4, 6).astype("f4")
    array[1, 2] = extreme
    fused, plain = both(graph, x=array)
    for name in plain:
        np.testing.assert_allclose(fused[name], plain[name], rtol=1e-6, atol=1e-7, err_msg=name)


def test_dropout_inside_a_kernel_has_the_bits_of_the_reference():
    seed, step = gg.state("seed", (), dtype="int64"), gg.state("step", (), dtype="int64")
    x = gg.input("x", (37, 53))
    y = gg.multiply(x + 1.0, dropout_mask(seed, step, (37, 53), 0.3, 7), name="y")
    loss = sum_of(y * y, name="loss")
    graph = gg.derive(gg.Graph({"loss": loss, "y": y}), "loss")
    state = {"seed": np.array(2**40 + 3), "step": np.array(11)}
    feeds = {"x": np.zeros((37, 53), "f4")}
    fused, plain = both(graph, ["x.delta"], state, **feeds)
    assert np.array_equal(fused["y"], plain["y"]) and 0.2 < np.mean(fused["y"] == 0) < 0.4
    assert np.array_equal(fused["x.delta"], plain["x.delta"])


def test_one_thread_and_many_give_the_same_bytes(monkeypatch):
    monkeypatch.setattr("graphgrad.backends.numpy.call_table.SHARED_FROM", 1)
    x = gg.input("x", (1000, 37))
    graph = gg.Graph({"column": sum_of(gg.exp(x) * x, 0), "total": sum_of(gg.exp(x) - x)})
    feeds = {"x": np.random.default_rng(1).standard_normal((1000, 37)).astype("f4")}
    results = []
    for threads in (1, 2, 3):
        monkeypatch.setattr("graphgrad.backends.numpy.backend.usable_cores", lambda n=threads: n)
        results.append(compile(graph, fuse=True)(**feeds))
    for other in results[1:]:
        assert all(np.array_equal(results[0][name], other[name]) for name in other)


def test_the_number_of_blocks_depends_on_the_rows_alone():
    assert block_count(1) == 1 and block_count(100) == block_count(4000) == 16
    assert all(rows <= block_count(rows) * LARGEST_BLOCK for rows in (10**5, 10**6 + 1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_whole_training_step_of_the_transformer(dtype):
    settings = transformer.Settings(
        layers=2,
        width=32,
        heads=4,
        inner=48,
        dropout=0.2,
        label_smoothing=0.1,
        dtype=dtype,
        steps=50,
    )
    graph = training_step(transformer.training_graph(settings, 23, 19), settings)
    generator = np.random.default_rng(5)
    source = generator.integers(4, 23, (6, 9)).astype("i4")
    target = generator.integers(4, 19, (6, 8)).astype("i4")
    source[2, 5:] = target[3, 4:] = 0
    feeds = {"source": source, "target_input": target[:, :-1], "target_output": target[:, 1:]}
    states = [gg.initial_state(graph, 1) for _ in range(2)]
    programs = [compile(graph, guards=("loss",), fuse=fuse) for fuse in (True, False)]
    for state in states:
        state[SEED][...] = 4
    for _ in range(5):
        fused, plain = (p(s, **feeds) for p, s in zip(programs, states, strict=True))
        for name in ("loss", "gradient_norm"):
            np.testing.assert_allclose(
                fused[name], plain[name], rtol=1e-4 if dtype == "float32" else 1e-10
            )
    for name, array in states[0].items():
        np.testing.assert_allclose(
            array, states[1][name], rtol=0, err_msg=name, atol=2e-3 if dtype == "float32" else 1e-9
        )
    plain_steps = len(programs[1].program(batch=6, source=9, target=7).plan.steps)
    fused_steps = len(programs[0].program(batch=6, source=9, target=7).plan.steps)
    assert fused_steps < 0.5 * plain_steps


def test_the_program_shows_what_each_kernel_took_in():
    x = gg.input("x", (8, 16))
    y = gg.tanh(x * 2.0 + 1.0, name="y")
    program = compile(gg.Graph({"y": y}), fuse=True).program()
    assert "3 nodes for y" in program.source
    (text,) = program.kernels.values()
    assert "for column in independent(columns)" in text and "tanh(" in text
    assert program.line_of(program.graph["y"]) is not None
