"""Verdicts on made-up reports."""

import json
from dataclasses import replace
from typing import Any

import pytest

from graphgrad.performance.blas import BlasReport
from graphgrad.performance.blas_trial import Trial
from graphgrad.performance.diagnosis import (
    Diagnosis,
    judge,
    judge_blas,
    one_line_warning,
    report_dict,
)
from graphgrad.performance.machine import MachineReport, Package

FREE = Trial("SkylakeX", 4, 400.0)
BLAS = BlasReport("openblas", "0.3.30", "SkylakeX", 4, cores=4, processors=4, measured=FREE)
REPORT = MachineReport(
    "A Processor",
    ("avx2", "avx512f"),
    2**34,
    "Linux",
    "3.12.1",
    "2.3.0",
    BLAS,
    environment=(("OMP_NUM_THREADS", "4"),),
    llvmlite=Package("0.65"),
    cupy=Package("14.0"),
    dot="12.0",
    graphviz_pure="",
    gpus=("H100, 80 GiB",),
)


def forced(gflops: float, kernel: str = "Haswell", free: Trial | None = FREE) -> BlasReport:
    return replace(
        BLAS,
        kernel=kernel,
        kernel_forced_by=("OPENBLAS_CORETYPE",),
        measured=Trial(kernel, 4, gflops),
        free_kernel=free,
    )


def worst(blas: BlasReport) -> Diagnosis:
    order = ["ok", "note", "problem"]
    return max(judge_blas(blas), key=lambda finding: order.index(finding.level))


def levels(report: MachineReport) -> list[str]:
    return [finding.level for finding in judge(report)]


def test_a_report_without_problems_has_only_ok_verdicts() -> None:
    assert set(levels(REPORT)) == {"ok"}
    assert one_line_warning(REPORT) is None
    assert not any(finding.remedy for finding in judge(REPORT))


def test_a_forced_kernel_is_a_problem_where_it_is_measured_to_be_slow() -> None:
    finding = worst(forced(200.0))
    assert finding.level == "problem"
    assert finding.remedy == "unset OPENBLAS_CORETYPE"
    for part in ("Haswell", "SkylakeX", "50%", "200", "400"):
        assert part in finding.text
    assert worst(forced(400 * 0.84)).level == "problem"
    assert worst(forced(400 * 0.86)).level == "ok"
    assert worst(forced(500.0)).level == "ok"


def test_a_forced_kernel_that_is_the_default_is_ok_however_noisy_the_timing() -> None:
    assert worst(forced(100.0, kernel="SkylakeX")).level == "ok"


def test_a_forced_kernel_without_measurement_is_a_note_that_guesses_nothing() -> None:
    for blas in (replace(forced(200.0), measured=None, free_kernel=None), forced(200.0, free=None)):
        finding = worst(blas)
        assert finding.level == "note"
        assert "not measured" in finding.text and "unset" not in finding.remedy


def test_idle_cores_are_a_problem_with_the_measured_gain() -> None:
    one = replace(BLAS, threads=1, measured=Trial("SkylakeX", 1, 110.0), free_threads=FREE)
    finding = worst(replace(one, threads_limited_by=("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")))
    assert finding.level == "problem"
    assert finding.remedy == "unset OPENBLAS_NUM_THREADS OMP_NUM_THREADS"
    for part in ("1 of 4", "110 GFLOP/s", "400 with 4 threads"):
        assert part in finding.text
    unlimited = worst(replace(one, free_threads=None))
    assert unlimited.level == "problem"
    assert "export OPENBLAS_NUM_THREADS=4" in unlimited.remedy
    blis = worst(replace(one, name="blis", free_threads=None))
    assert "export BLIS_NUM_THREADS=4" in blis.remedy


def test_one_thread_a_core_is_enough_where_cores_have_two() -> None:
    assert worst(replace(BLAS, name="mkl", processors=8)).level == "ok"
    assert worst(replace(BLAS, threads=8, processors=8)).level == "ok"


def test_more_threads_than_a_container_may_run_are_a_note() -> None:
    finding = worst(replace(BLAS, threads=64))
    assert (finding.level, finding.remedy) == ("note", "export OPENBLAS_NUM_THREADS=4")


def test_a_blas_without_known_kernel_and_threads_is_a_note() -> None:
    (finding,) = judge_blas(replace(BLAS, name="accelerate", kernel="", threads=0))
    assert finding.level == "note"
    assert "accelerate" in finding.text and "400" in finding.text


@pytest.mark.parametrize(
    ("change", "level", "part"),
    [
        ({"llvmlite": Package()}, "note", "pip install --upgrade llvmlite"),
        ({"llvmlite": Package(failure="ImportError: needs NumPy 9")}, "note", "needs NumPy 9"),
        ({"dot": ""}, "note", "pip install 'graphgrad[pictures]' (svg and png); or apt install"),
        ({"dot": "", "graphviz_pure": "0.2.2"}, "note", "apt install graphviz"),
        ({"gpus": ()}, "note", "no NVIDIA GPU"),
        ({"cupy": Package()}, "note", "pip install 'graphgrad[cuda13]' (or 'graphgrad[cuda12]')"),
        ({"cupy": Package(), "driver_cuda": "13.0"}, "note", "install 'graphgrad[cuda13]'"),
        ({"cupy": Package(), "driver_cuda": "12.8"}, "note", "install 'graphgrad[cuda12]'"),
        ({"cuda": (("NVRTC", ""),), "driver_cuda": "12.8"}, "note", "install 'graphgrad[cuda12]'"),
        ({"driver_cuda": "11.4"}, "note", "the driver runs CUDA 11.4 at most, and CuPy needs 12.0"),
        ({"cuda": (("NVRTC", ""),)}, "note", "no kernel can be compiled"),
        ({"cuda": (("NVRTC", "/lib"), ("cuBLAS", ""))}, "note", "pip install 'graphgrad[cuda13]'"),
        ({"cuda": (("cublasLt", ""),)}, "note", "biases and activations are kernels of their own"),
        (
            {"cuda": (("cublasLt", "/lib/libcublasLt.so.13"),), "driver_cuda": "12.8"},
            *("note", "cublasLt is for CUDA 13, and the driver runs 12.8 at most"),
        ),
        ({"cupy": Package(failure="no libcublas")}, "note", "no libcublas"),
        ({"failed_kernels": (("H100", "dq is 3"),)}, "note", "cores of H100, where a trial of its"),
        ({"failed_kernels": (("H100", "dq is 3"),)}, "note", "another driver"),
    ],
)
def test_what_is_absent_or_fails_is_a_note(change: dict[str, Any], level: str, part: str) -> None:
    report = replace(REPORT, **change)
    (finding,) = [finding for finding in judge(report) if finding.level != "ok"]
    assert finding.level == level
    assert part in finding.text + finding.remedy
    assert one_line_warning(report) is None


@pytest.mark.parametrize("driver", ["13.0", "14.1", ""])
def test_a_library_that_the_driver_runs_is_no_note(driver: str) -> None:
    libraries = (("NVRTC", "/lib/libnvrtc.so.13"), ("cuBLAS", "/usr/lib/libcublas.dylib"))
    report = replace(REPORT, cuda=libraries, driver_cuda=driver)
    assert {finding.level for finding in judge(report)} == {"ok"}


def test_the_warning_is_one_line_with_every_problem_and_its_remedy() -> None:
    blas = replace(
        forced(50.0), threads=1, threads_limited_by=("OMP_NUM_THREADS",), free_threads=FREE
    )
    warning = one_line_warning(replace(REPORT, blas=blas, dot=""))
    assert warning is not None and "\n" not in warning
    assert "unset OPENBLAS_CORETYPE" in warning and "unset OMP_NUM_THREADS" in warning
    assert "graphviz" not in warning


def test_a_report_is_json() -> None:
    whole = report_dict(replace(REPORT, blas=forced(200.0)))
    assert json.loads(json.dumps(whole)) == whole
    assert whole["environment"] == {"OMP_NUM_THREADS": "4"}
    assert whole["blas"]["free_kernel"] == {"kernel": "SkylakeX", "threads": 4, "gflops": 400.0}
    assert "problem" in [finding["level"] for finding in whole["findings"]]
