"""Generated kernels: run as Python they compute the same; simple loops become vector code."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys

import numpy as np
import pytest

from graphgrad.compile import compile
from graphgrad.models import transformer
from graphgrad.training.optimisers import training_step

pytest.importorskip("llvmlite", reason="it is compiled by LLVM")

from loop_texts import DTYPES, assert_same, kernel, run_both

from graphgrad.loops import kernel_cache
from graphgrad.loops.kernel_cache import compile_in_parallel, compile_kernel, kernel_llvm_text
from graphgrad.loops.machine_code import kernel_folder, machine_code

ROWS, COLUMNS = 37, 5
_ARRAY = re.compile(r"^ *(\w+) = array\(given\[(\d+)\], (\w+), (.+)\)$", re.MULTILINE)
_INEXACT = re.compile(r"\b(plus|exp|exp_\w+|expm1|log|log1p|tanh|erf|sin|cos|pow|softplus)\(")


@pytest.fixture(scope="module")
def texts() -> dict[str, list[str]]:
    """The kernels of a small training step, in either precision."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graphgrad.fusion.grouping.SMALLEST_KERNEL", 0)
        for dtype in ("float32", "float64"):
            settings = transformer.Settings(
                layers=1,
                width=24,
                heads=3,
                inner=20,
                steps=9,
                dropout=0.1,
                label_smoothing=0.1,
                dtype=dtype,
            )
            step = training_step(transformer.training_graph(settings, 23, 19), settings)
            program = compile(step, fuse=True).program(batch=5, source=8, target=7)
            found[dtype] = list(dict.fromkeys(program.kernels.values()))
    return found


def given_to(text: str, generator: np.random.Generator) -> tuple[list, int]:
    """Words and arrays that a kernel can work on, in their places; how many blocks it may do."""
    count = int(re.search(r"given = array\(arguments, int64, (\d+)\)", text)[1])
    given: list = [3] * count  # a stream, say
    sizes = re.search(r"height, rows, columns = (.+), (.+), (.+)", text).groups()
    written = [None if "given" in size else int(size) for size in sizes]  # or they are given
    names, blocks = {"rows": written[1] or ROWS, "columns": written[2] or COLUMNS}, 16
    for name, place, dtype, its_sizes in _ARRAY.findall(text):
        shape = [names.get(size) or int(size) for size in its_sizes.split(", ")]
        if name.startswith("q"):  # partial sums, one for each block
            blocks = shape[0]
        if name.startswith("i"):
            numbers = generator.integers(0, names["rows"], shape)
        elif dtype == "bool_":
            numbers = generator.random(shape) < 0.6
        elif dtype.startswith("float"):
            numbers = generator.uniform(0.1, 2, shape)  # roots and logarithms of them exist
        else:
            numbers = generator.integers(0, 4, shape)  # also 0, which masks ask for
        given[int(place)] = np.ascontiguousarray(numbers, DTYPES[dtype])
    values = -(-names["rows"] // blocks), names["rows"], names["columns"]
    for size, value in zip(sizes, values, strict=True):
        if place_of := re.fullmatch(r"given\[(\d+)\]", size):
            given[int(place_of[1])] = value
    return given, min(blocks, 2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_printed_kernel_means_what_it_means_in_python(texts: dict, dtype: str) -> None:
    assert len(texts[dtype]) > 10
    exact = 0
    for number, text in enumerate(texts[dtype]):
        given, last = given_to(text, np.random.default_rng(number))
        found, wanted = run_both(text, *given, library=kernel_cache._SYMBOLS, last=last)
        changed = 0
        for place, (one, other) in enumerate(zip(found, wanted, strict=True)):
            if not isinstance(one, np.ndarray):
                continue
            changed += not np.array_equal(one, given[place], equal_nan=one.dtype.kind == "f")
            if not _INEXACT.search(text):
                assert_same(one, other, text)
            elif one.dtype.kind == "f":
                tolerance = {"float32": 2e-5, "float64": 1e-13}[one.dtype.name]
                np.testing.assert_allclose(one, other, tolerance, tolerance, err_msg=text)
        assert changed, f"nothing was computed by\n{text}"
        exact += not _INEXACT.search(text)
    assert exact > 3


def test_the_kernels_of_a_step_are_of_many_kinds(texts: dict) -> None:
    """What is compared above has masks, sums over rows and along them, tables, truth values."""
    together = "\n".join(texts["float32"])
    for part in (
        "fill_mask_float32(",
        "plus(",
        "larger(",
        "[column] += ",
        "empty(columns",
        "exp(",
        "sqrt(",
        "where(",
        "bool_",
    ):
        assert part in together, part


def test_equal_texts_share_one_kernel_and_other_texts_do_not() -> None:
    text = kernel("x[0] = x[0] + 1", "x: float32, 1")
    assert compile_kernel(text) == compile_kernel(text + "") != compile_kernel(text + "\n")


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="x86-64's instructions")
@pytest.mark.parametrize(
    ("expression", "type_", "instruction"),
    [
        ("x[i] * y[i] + 1", "float32", "v?addps"),
        ("x[i] * y[i] + 1", "float64", "v?mulpd"),
        ("x[i] / y[i]", "float32", "v?divps"),
        ("sqrt(x[i])", "float64", "v?sqrtpd"),
        ("exp(x[i])", "float32", "v?(mulps|f(n?m)add...ps)"),
        ("tanh(x[i])", "float32", "v?(divps)"),
        ("erf(x[i])", "float32", "v?(mulps|f(n?m)add...ps)"),
        ("log(x[i])", "float32", "v?(mulps|f(n?m)add...ps)"),
        ("x[i] + y[i]", "int64", "v?paddq"),
        ("x[i] ^ y[i]", "uint32", "v?(p?xor(d|q)?|xorps)"),
    ],
)
def test_a_loop_becomes_vector_code(expression: str, type_: str, instruction: str) -> None:
    arrays = (f"{name}: {type_}, last" for name in ("out", "x", "y"))
    text = kernel(f"for i in independent(last):\n    out[i] = {expression}", *arrays)
    assembly = machine_code().assembly(kernel_llvm_text(text))
    assert re.search(rf"^\s+{instruction}\s.*%[xyz]mm", assembly, re.MULTILINE), assembly
    assert "call" not in assembly  # least of all of a function of single numbers


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="x86-64's instructions")
def test_a_sum_becomes_vector_code_only_where_its_steps_may_be_reordered() -> None:
    def assembly(step: str) -> str:
        body = f"s = float32(0)\nfor i in range(last):\n    s = {step}\nout[0] = s"
        return machine_code().assembly(
            kernel_llvm_text(kernel(body, "out: float32, 1", "x: float32, last"))
        )

    assert re.search(r"\sv?addps\s", assembly("plus(s, x[i])"))
    assert not re.search(r"\sv?addps\s", assembly("s + x[i]"))


def test_other_processes_compile_their_share(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("GRAPHGRAD_CACHE", str(tmp_path))
    monkeypatch.setattr(kernel_cache, "KERNELS_A_PROCESS", 2)
    written = [kernel(f"x[0] = float64({number})", "x: float64, 1") for number in range(6)]
    compile_in_parallel([*written, *written], 3)
    assert len(list(kernel_folder().glob("*.o"))) == 6
    assert not any(machine_code().missing(kernel_cache._name(text)) for text in written)


def test_a_helping_process_compiles_what_it_is_given(tmp_path) -> None:
    text = kernel("x[0] = 5.5", "x: float64, 1")
    environment = {
        **os.environ,
        "GRAPHGRAD_CACHE": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-c", "from graphgrad.loops.kernel_cache import main; main()"]
    subprocess.run(command, input=json.dumps([text]), text=True, env=environment, check=True)
    name = kernel_cache._name(text)
    assert [file.name for file in (tmp_path / "machine_code").glob("*.o")] == [f"{name}.o"]
