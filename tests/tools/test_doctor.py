"""`graphgrad doctor`: options, text, JSON and exit codes over made-up and real reports."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest

from graphgrad.performance.blas import BlasReport
from graphgrad.performance.blas_trial import Trial
from graphgrad.performance.diagnosis import report_dict
from graphgrad.performance.machine import MachineReport, Package
from graphgrad.tools import doctor

FREE = Trial("SkylakeX", 2, 400.0)
BLAS = BlasReport("openblas", "0.3.30", "SkylakeX", 2, cores=2, processors=4, measured=FREE)
SLOW = replace(
    BLAS,
    kernel="Haswell",
    kernel_forced_by=("OPENBLAS_CORETYPE",),
    free_kernel=FREE,
    measured=Trial("Haswell", 2, 200.0),
)
REPORT = MachineReport(
    "A Processor",
    ("avx2", "fma"),
    2**34,
    "Linux",
    "3.12.1",
    "2.3.0",
    BLAS,
    environment=(("OPENBLAS_CORETYPE", "Haswell"),),
    llvmlite=Package("0.65"),
    cupy=Package(),
    dot="",
    graphviz_pure="",
    gpus=(),
)


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=doctor.DESCRIPTION)
    doctor.add_arguments(parser)
    return parser.parse_args(words)


def test_the_text_is_aligned_and_each_problem_has_its_remedy_below() -> None:
    facts, findings = doctor.report_text(replace(REPORT, blas=SLOW)).split("\n\n")
    for line in facts.splitlines():
        assert line[11] == " " and line[12] != " ", line
    assert "processor   A Processor" in facts
    assert "memory      16.0 GiB" in facts
    assert "BLAS        openblas 0.3.30, Haswell kernel, threads: 2" in facts
    assert "speed       200 GFLOP/s" in facts
    assert "CuPy        absent" in facts
    assert "environment OPENBLAS_CORETYPE=Haswell" in facts
    lines = findings.splitlines()
    problem = next(number for number, line in enumerate(lines) if line.startswith("problem"))
    assert lines[problem + 1] == " " * 12 + "remedy: unset OPENBLAS_CORETYPE"


def test_libraries_of_a_gpu_are_listed_with_what_they_are_for() -> None:
    cuda = (("NVRTC", "/lib/libnvrtc.so.13"), ("cuBLAS", "/lib/libcublas.so.13"), ("cublasLt", ""))
    report = replace(REPORT, gpus=("A card",), cupy=Package("14.2.0"), cuda=cuda)
    facts, findings = doctor.report_text(report).split("\n\n")
    assert "NVRTC       /lib/libnvrtc.so.13 (compiles the kernels)" in facts
    assert "cublasLt    absent (products, with biases" in facts
    assert "cuDNN       not needed: attention" in facts and "nvmath      not needed" in facts
    assert "no cublasLt" in findings and "cuDNN" not in findings
    without = doctor.report_text(replace(REPORT, cuda=cuda))
    assert "NVRTC" in without and "cuDNN" not in without


def test_unknown_facts_are_called_so() -> None:
    blas = BlasReport("accelerate", "", "", 0, cores=2, processors=2)
    report = replace(
        REPORT,
        processor="",
        vector_extensions=(),
        memory=0,
        blas=blas,
        llvmlite=Package(failure="ImportError: x"),
    )
    text = doctor.report_text(report)
    for line in (
        "processor   unknown",
        "vectors     unknown",
        "memory      unknown",
        "BLAS        accelerate\n",
        "llvmlite    broken: ImportError: x",
    ):
        assert line in text
    assert "\nspeed" not in text


@pytest.mark.parametrize(("blas", "code"), [(BLAS, 0), (SLOW, 1)], ids=["sound", "slow"])
def test_the_exit_code_tells_of_problems(
    blas: BlasReport,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = []

    def examine(measure: bool) -> MachineReport:
        asked.append(measure)
        return replace(REPORT, blas=blas)

    monkeypatch.setattr(doctor, "examine_machine", examine)
    monkeypatch.setattr(doctor, "busy_note", lambda: None)
    assert doctor.run(parse()) == code
    text = capsys.readouterr().out
    assert ("problem" in text) == bool(code)
    assert doctor.run(parse("--json", "--no-measure")) == code
    printed = json.loads(capsys.readouterr().out)
    assert printed == {**report_dict(replace(REPORT, blas=blas)), "busy": None}
    assert asked == [True, False]


def test_a_real_examination_without_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    code = doctor.run(parse("--json", "--no-measure"))
    printed = json.loads(capsys.readouterr().out)
    assert printed["blas"]["measured"] is None
    assert printed["blas"]["cores"] >= 1 and printed["memory"] > 0 and printed["numpy"]
    assert code == int(any(each["level"] == "problem" for each in printed["findings"]))


def test_where_machine_code_is_kept_or_why_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRAPHGRAD_CACHE", str(tmp_path))
    assert f"kernels     {tmp_path / 'machine_code'}" in doctor.report_text(REPORT)
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "machine_code").mkdir()
    (tmp_path / "open" / "machine_code").chmod(0o777)
    monkeypatch.setenv("GRAPHGRAD_CACHE", str(tmp_path / "open"))
    assert "kernels     not kept: " in doctor.report_text(REPORT)


def test_the_help_is_one_line() -> None:
    assert "\n" not in doctor.HELP and len(doctor.HELP) < 80
    assert doctor.DESCRIPTION
