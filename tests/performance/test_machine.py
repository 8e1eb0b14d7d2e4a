"""The facts of a machine whose programs and packages fail, and of one that has them."""

import importlib.metadata
from pathlib import Path

import pytest

from graphgrad.performance.machine import Package, cuda_version_of, examine_machine


def test_programs_and_packages_that_fail_are_absent_not_errors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cupy.py").write_text("raise RuntimeError('driver too old')\n")
    for program in ("dot", "graphviz-pure"):
        (tmp_path / program).write_text("#!/bin/sh\nexit 3\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    report = examine_machine(measure=False)
    assert report.cupy == Package(failure="RuntimeError: driver too old")
    assert (report.dot, report.graphviz_pure, report.gpus) == ("", "", ())
    assert report.blas.measured is None
    assert report.processor and report.memory > 2**20 and report.blas.cores >= 1


def test_the_drawing_program_that_pip_installs_reports_its_version() -> None:
    installed = importlib.metadata.version("graphviz-pure")
    assert examine_machine(measure=False).graphviz_pure == installed


def test_the_version_of_cuda_is_read_from_what_nvidia_smi_prints():
    listing = "| NVIDIA-SMI 580.65.06   Driver Version: 580.65.06   CUDA Version: 13.0 |"
    assert cuda_version_of(listing) == "13.0" and cuda_version_of("") == ""
