"""The binding of cublasLt and cuBLAS, called for real: the libraries are NumPy behind NVIDIA's
interface, and carry out whole training steps from the raw numbers of every call."""

from __future__ import annotations

import ctypes
import gc
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cpu_backend import install
from cpu_device import needs_compiler
from device_steps import GUARDS, feeds_of, initial, step_of
from fake_cublas import NAMES, FakeLibrary
from fake_products import Memory
from library_device import STREAM, LibraryDevice

import graphgrad as gg
from graphgrad.backends.cupy import cublaslt
from graphgrad.backends.cupy.cublaslt import Addresses, CublasLt
from graphgrad.backends.cupy.epilogues import Epilogue
from graphgrad.backends.cupy.launches import Gemm
from graphgrad.backends.cupy.product_libraries import (
    ProductLibraries,
    has_slow_bits,
    open_libraries,
)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("GRAPHGRAD_CACHE", str(tmp_path))
    return tmp_path / "products"


def trained(monkeypatch: Any, device: LibraryDevice, dtype: str, steps: int, **options: Any) -> Any:
    """The state and the outputs after steps of the small Transformer."""
    install(monkeypatch, device)
    graph = step_of("transformer", dtype)
    compiled = gg.compile(graph, guards=GUARDS, backend="cupy", **options)
    state = compiled.on_device(initial(graph))
    outputs = [dict(compiled(state, **feeds_of("transformer", step))) for step in range(steps)]
    return {name: state[name] for name in state}, outputs


@cache
def reference(dtype: str, steps: int) -> Any:
    graph = step_of("transformer", dtype)
    compiled, state = gg.compile(graph, guards=GUARDS), initial(graph)
    return state, [dict(compiled(state, **feeds_of("transformer", n))) for n in range(steps)]


@needs_compiler
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-4)])
def test_the_calls_of_a_training_step_compute_what_the_processor_does(
    monkeypatch, folder, dtype, tolerance
):
    """Every product of five steps: sizes, strides, addresses and epilogues as the library gets
    them. From the second step on they are captured. (In float32 the deltas of keys' biases are
    rounding alone, which Adam makes steps of.)"""
    device = LibraryDevice()
    found, outputs = trained(monkeypatch, device, dtype, 5)
    wanted, expected = reference(dtype, 5)
    for got, want in zip(outputs, expected, strict=True):
        for name, value in want.items():
            np.testing.assert_allclose(got[name], value, tolerance, tolerance, err_msg=name)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, tolerance, tolerance, err_msg=name)
    kinds = {name for name, _ in device.library.calls}
    assert kinds >= {"BIAS", "RELU_AUX_BIAS", "DRELU_BGRAD", "BGRADA", "DEFAULT"}
    assert device.captures == 1


@needs_compiler
def test_operands_of_16_bits_are_told_to_the_library(monkeypatch, folder):
    """Losses follow those of the processor in the same precision."""
    pytest.importorskip("ml_dtypes")
    device = LibraryDevice()
    _, outputs = trained(monkeypatch, device, "float32", 3, precision="bf16")
    graph = step_of("transformer", "float32")
    compiled, state = gg.compile(graph, guards=GUARDS, precision="bf16"), initial(graph)
    for step, got in enumerate(outputs):
        wanted = compiled(state, **feeds_of("transformer", step))
        np.testing.assert_allclose(got["loss"], wanted["loss"], 2e-3)
    kinds = {name for name, _ in device.library.calls}
    assert {"BGRADA", "DEFAULT"} <= kinds and not device.library.problem


@needs_compiler
@pytest.mark.parametrize("refused", [("RELU_AUX_BIAS", "BGRADA"), ("DRELU_BGRAD", "BIAS")])
def test_an_epilogue_without_an_algorithm_is_left_to_the_kernels(monkeypatch, folder, refused):
    """A pair of which one half is refused is refused as a whole."""
    device = LibraryDevice(refused)
    found, _ = trained(monkeypatch, device, "float64", 2)
    wanted, _ = reference("float64", 2)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, 1e-9, 1e-9, err_msg=name)
    kinds = {name for name, _ in device.library.calls}
    assert kinds.isdisjoint(refused) and "DEFAULT" in kinds
    assert {"RELU_AUX_BIAS", "DRELU_BGRAD"} <= kinds or kinds.isdisjoint(
        {"RELU_AUX_BIAS", "DRELU_BGRAD"}
    )


@needs_compiler
def test_without_cublaslt_products_are_cublas_alone(monkeypatch, folder):
    for device, options in (
        (LibraryDevice(lt=False), {}),
        (LibraryDevice(), {"without": "epilogues"}),
    ):
        found, _ = trained(monkeypatch, device, "float64", 2, **options)
        wanted, _ = reference("float64", 2)
        for name, value in wanted.items():
            np.testing.assert_allclose(found[name], value, 1e-9, 1e-9, err_msg=name)
        kinds = {name for name, _ in device.library.calls}
        assert kinds <= {"cuBLAS", "DEFAULT"} and ("DEFAULT" in kinds) == bool(options)


def memory_of(*arrays: np.ndarray) -> Memory:
    memory = Memory()
    for array in arrays:
        memory.add(int(array.ctypes.data), array.nbytes)
    return memory


def aligned(size: int, dtype: str = "float32") -> np.ndarray:
    """Numbers that begin at a multiple of 256 bytes."""
    raw = np.zeros(size * np.dtype(dtype).itemsize + 256, np.uint8)
    start = -raw.ctypes.data % 256
    return raw[start : start + size * np.dtype(dtype).itemsize].view(dtype)


GEMM = Gemm(16, 4, 3, (False, False), (16, 3, 16), True, epilogue=Epilogue.BIAS, vector="float32")


def call(library: FakeLibrary, gemm: Gemm = GEMM, **changed: Any) -> tuple[Any, np.ndarray]:
    """A product that is ready, and where its result goes."""
    generator = np.random.default_rng(0)
    left, right, out, bias = (aligned(size) for size in (48, 12, 64, 16))
    for array in (left, right, bias):
        array[...] = generator.normal(size=array.size)
    space = aligned(2048)
    library.memory = memory_of(left, right, out, bias, space)
    its = CublasLt("fake", "a device", library)
    library.stream = STREAM
    places = {"left": left, "right": right, "out": out, "vector": bias}
    addresses = {name: int(each.ctypes.data) for name, each in places.items()} | changed
    workspace = int(space.ctypes.data), space.nbytes
    run = its.prepared(gemm, Addresses(**addresses), workspace, STREAM)
    wanted = left.reshape(3, 16).T @ right.reshape(4, 3).T + bias[:, None]
    places["space"] = space  # whoever runs it holds what is read and written
    return (run, places, its), wanted


def test_a_call_is_carried_out_and_its_objects_are_freed(folder):
    library = FakeLibrary(Memory())
    (run, places, its), wanted = call(library)
    run()
    np.testing.assert_allclose(places["out"].reshape(4, 16).T, wanted, 1e-6)
    assert len(library.live) > 1
    del run
    gc.collect()
    assert list(library.live.values()) == ["handle"] and its.workspace(GEMM) == library.needs


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"out": 8}, "not aligned"),
        ({"out": 1 << 40}, "not allocated"),
        ({"vector": 0}, "the address of the bias"),
        ({"left": 4096}, "not allocated"),
    ],
)
def test_the_stand_in_refuses_what_the_library_would(folder, changed, told):
    library = FakeLibrary(Memory())
    (run, places, _), _ = call(library, **changed)
    with pytest.raises(RuntimeError, match="cublasLtMatmul of fake fails with status 7"):
        run()
    assert told in library.problem and len(places) == 5


def test_the_stand_in_refuses_arguments_of_other_types():
    library = FakeLibrary(Memory())
    with pytest.raises(ctypes.ArgumentError):
        library.cublasLtMatrixLayoutCreate(
            ctypes.byref(ctypes.c_void_p()), ctypes.c_int(0), *[ctypes.c_int(4)] * 3
        )


# ---------------------------------------------------------------- algorithms


def test_an_algorithm_is_chosen_once_and_kept_for_device_version_and_description(folder):
    def chosen(
        gemm: Gemm = GEMM, device: str = "a device", version: int = 130_500
    ) -> tuple[int, int]:
        library = FakeLibrary(Memory())
        library.version = version
        its = CublasLt("fake", device, library)
        assert its.workspace(gemm) == its.workspace(gemm) == library.needs
        return library.chosen, library.checked

    assert chosen() == (1, 0)
    assert chosen() == (0, 1)
    assert chosen(device="another") == (1, 0)
    assert chosen(version=130_600) == (1, 0)
    assert chosen(Gemm(16, 4, 3, (False, False), (16, 3, 16), True)) == (1, 0)
    assert chosen() == (0, 1) and len(list(folder.glob("*.algorithm"))) == 4


def test_a_kept_algorithm_that_is_damaged_or_refused_is_chosen_anew(folder):
    CublasLt("fake", "a device", FakeLibrary(Memory())).workspace(GEMM)
    (file,) = folder.glob("*.algorithm")
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    library = FakeLibrary(Memory())
    assert CublasLt("fake", "a device", library).workspace(GEMM) == library.needs
    assert (library.chosen, library.checked) == (1, 0) and file.read_bytes() == content
    library = FakeLibrary(Memory())
    library.refuses_kept = True
    assert CublasLt("fake", "a device", library).workspace(GEMM) == library.needs
    assert (library.chosen, library.checked) == (1, 1)


def test_what_has_no_algorithm_is_not_taken_and_not_asked_for_twice(folder):
    library = FakeLibrary(Memory(), ["BIAS"])
    its = ProductLibraries(CublasLt("fake", "a device", library), None)
    assert not its.takes(GEMM) and not its.takes(GEMM) and library.chosen == 1
    assert its.workspace_bytes(GEMM) == 0 and not its.captures()
    assert its.summary == "cublasLt 130500" and not list(folder.glob("*.algorithm"))


def test_bits_of_relu_are_slow_in_float32_alone():
    slow = [its for its in Epilogue if has_slow_bits(replace(GEMM, epilogue=its))]
    assert {its.name for its in slow} == {"RELU_AUX", "RELU_AUX_BIAS", "DRELU", "DRELU_BGRAD"}
    assert not any(has_slow_bits(replace(GEMM, epilogue=its, operands="bfloat16")) for its in slow)


def test_where_no_library_is_found_products_are_cupys(monkeypatch):
    monkeypatch.setattr(cublaslt, "places_of", lambda library: iter(()))
    monkeypatch.setattr("graphgrad.backends.cupy.cublas.places_of", lambda library: iter(()))
    its = open_libraries("a device", STREAM)
    assert its.summary == "CuPy, cublasLt is not installed; cuBLAS is not installed"
    assert its.prepared(GEMM, Addresses(1, 2, 3), (0, 0), STREAM, lambda table: (0, table)) is None


def test_numbers_are_those_of_nvidias_own_python_bindings():
    theirs = pytest.importorskip("nvmath.bindings.cublasLt")
    assert {its.name: int(its) for its in Epilogue} == {e.name: int(e) for e in theirs.Epilogue}
    assert {int(its): its.name for its in Epilogue} == NAMES
    for ours, enumeration in (
        (cublaslt.DESCRIPTION, theirs.MatmulDescAttribute),
        (cublaslt.LAYOUT, theirs.MatrixLayoutAttribute),
        (cublaslt.PREFERENCE, theirs.MatmulPreferenceAttribute),
    ):
        assert dict(ours) == {name: int(enumeration[name]) for name in ours}
    assert theirs.matmul_heuristic_result_dtype.itemsize == ctypes.sizeof(cublaslt.Choice)
    assert theirs.matmul_algo_dtype.itemsize == ctypes.sizeof(cublaslt.Algorithm)
    compute = pytest.importorskip("nvmath.bindings.cublas").ComputeType
    names = {"float32": "COMPUTE_32F", "float64": "COMPUTE_64F", "tf32": "COMPUTE_32F_FAST_TF32"}
    assert dict(cublaslt.COMPUTE) == {ours: int(compute[name]) for ours, name in names.items()}
