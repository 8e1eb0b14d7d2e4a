"""The facts of a machine whose programs and packages fail."""

from pathlib import Path

import pytest

from graphgrad.performance.machine import Package, examine_machine


def test_programs_and_packages_that_fail_are_absent_not_errors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cupy.py").write_text("raise RuntimeError('driver too old')\n")
    (tmp_path / "dot").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "dot").chmod(0o755)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    report = examine_machine(measure=False)
    assert report.cupy == Package(failure="RuntimeError: driver too old")
    assert (report.dot, report.gpus) == ("", ())
    assert report.blas.measured is None
    assert report.processor and report.memory > 2**20 and report.blas.cores >= 1
