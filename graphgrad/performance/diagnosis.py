"""Judges a machine for `graphgrad doctor`: what is missing or slows NumPy down, and the remedy.

NumPy is as fast as its BLAS. A verdict is a pure function of the facts (`judge`, `judge_blas`); the
remedy of a slow BLAS is exactly what the fresh process of a trial did differently.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from graphgrad.backends.cupy.attention_trial import note_of
from graphgrad.performance.blas import THREAD_VARIABLES, BlasReport, examine_blas
from graphgrad.performance.drawing_program import INSTALL_GRAPHVIZ, INSTALL_PORT
from graphgrad.performance.machine import MachineReport

SLOWER = 0.15  # a smaller loss than this share is noise on a machine that others use too


@dataclass(frozen=True)
class Diagnosis:
    """One verdict: `ok`, a `note` or a `problem`, and the remedy (empty if there is none)."""

    level: Literal["ok", "note", "problem"]
    text: str
    remedy: str = ""


def one_line_warning(report: MachineReport | None = None) -> str | None:
    """The problems and their remedies in one line; None if there are no problems.

    Without a report only the BLAS is examined, in milliseconds; if the environment forces its
    kernel or limits its threads, it is measured too, in two seconds.
    """
    if report is None:
        blas = examine_blas(measure=False)
        if blas.kernel_forced_by or blas.threads_limited_by:
            blas = examine_blas()
    findings = judge(report) if report else judge_blas(blas)
    problems = [finding for finding in findings if finding.level == "problem"]
    return "; ".join(f"{each.text} (remedy: {each.remedy})" for each in problems) or None


INSTALL_CUDA = "python -m pip install 'graphgrad[cuda13]' (or 'graphgrad[cuda12]')"
OLDEST_CUDA = 12
"""The major version of CUDA that CuPy and NVRTC need of the driver at least."""
NEW_DRIVER = "report it; with another driver or version of graphgrad they are tried again"
_WITHOUT = {
    "NVRTC": "no kernel can be compiled for the GPU",
    "cuBLAS": "products are CuPy's, and a step on the GPU is not captured as one launch",
    "cublasLt": "products are cuBLAS's; biases and activations are kernels of their own",
}


CUDA_ROLES = {
    "NVRTC": "compiles the kernels",
    "cuBLAS": "batches of products that no strides describe",
    "cublasLt": "products, with biases and activations in the same launch",
    "cuDNN": "not needed: attention has kernels of graphgrad's own",
    "nvmath": "not needed: cublasLt is called directly",
}
"""What each of NVIDIA's libraries is for here."""


def judge(report: MachineReport) -> tuple[Diagnosis, ...]:
    """Every verdict on a report, the BLAS first."""
    findings = list(judge_blas(report.blas))
    if not report.llvmlite.version:
        reason = report.llvmlite.failure or "it is not installed"
        text = f"no llvmlite ({reason}): kernels run as plain NumPy, which is slower"
        findings.append(Diagnosis("note", text, "pip install --upgrade llvmlite"))
    findings += _judge_drawing(report)
    gpus = ", ".join(report.gpus)
    if not gpus:
        findings.append(Diagnosis("note", "no NVIDIA GPU found: programs run on the processor"))
    elif report.cupy.version:
        findings.append(Diagnosis("ok", f"CuPy {report.cupy.version} on {gpus}"))
        for name, found in report.cuda:
            if not found:
                text = f"no {name}: {_WITHOUT[name]}"
                findings.append(Diagnosis("note", text, install_for(report.driver_cuda)))
            elif newer := _newer_than_driver(found, report.driver_cuda):
                text = (
                    f"{name} is for CUDA {newer}, and the driver runs {report.driver_cuda} at most"
                )
                findings.append(Diagnosis("note", text, install_for(report.driver_cuda)))
    else:
        reason = report.cupy.failure or "it is not installed"
        remedy = install_for(report.driver_cuda)
        findings.append(Diagnosis("note", f"{gpus} needs CuPy ({reason})", remedy))
    for name, problem in report.failed_kernels:
        findings.append(Diagnosis("note", note_of(name, problem), NEW_DRIVER))
    major = int(report.driver_cuda.partition(".")[0] or OLDEST_CUDA)
    if gpus and major < OLDEST_CUDA:
        text = f"the driver runs CUDA {report.driver_cuda} at most, and CuPy needs {OLDEST_CUDA}.0"
        findings.append(Diagnosis("note", text, "install a newer driver of NVIDIA's"))
    return tuple(findings)


def _newer_than_driver(path: str, driver_cuda: str) -> int:
    """The major version of CUDA that a library's file names, if the driver runs an older one; 0."""
    named = re.search(r"\.so\.(\d+)", path)
    major = int(named[1]) if named else 0
    runs = int(driver_cuda.partition(".")[0] or major)
    return major if OLDEST_CUDA <= runs < major else 0


def install_for(driver_cuda: str) -> str:
    """The command that installs what a GPU needs, for the version of CUDA that the driver runs."""
    major = driver_cuda.partition(".")[0]
    if not major:
        return INSTALL_CUDA
    return f"python -m pip install 'graphgrad[cuda{13 if int(major) >= 13 else 12}]'"


def _judge_drawing(report: MachineReport) -> list[Diagnosis]:
    """The formats of pictures that no program here draws."""
    if report.dot:
        return []
    if report.graphviz_pure:
        text = "no program `dot`: graphs are drawn as svg and png, but not as pdf"
        return [Diagnosis("note", text, INSTALL_GRAPHVIZ)]
    text = "neither `dot` nor `graphviz-pure`: graphs are not drawn as svg, png or pdf"
    return [Diagnosis("note", text, f"{INSTALL_PORT} (svg and png); or {INSTALL_GRAPHVIZ}")]


def judge_blas(blas: BlasReport) -> tuple[Diagnosis, ...]:
    """The verdicts on the BLAS: what runs, whether its kernel is forced, whether cores idle."""
    speed = f": {blas.measured.gflops:.0f} GFLOP/s in float32" if blas.measured else ""
    if not blas.threads:
        text = f"the BLAS of NumPy ({blas.name}) does not report its kernel and threads{speed}"
        return (Diagnosis("note", text),)
    judged = tuple(filter(None, (_judge_kernel(blas), _judge_threads(blas))))
    if any(finding.level == "problem" for finding in judged):
        return judged
    text = f"{blas.name} uses {blas.threads} of {blas.processors} hardware threads{speed}"
    return (Diagnosis("ok", text), *judged)


def _judge_kernel(blas: BlasReport) -> Diagnosis | None:
    if not blas.kernel_forced_by:
        return None
    variables = " and ".join(blas.kernel_forced_by)
    forced = f"{variables} makes {blas.name} run its {blas.kernel} kernel"
    own, free = blas.measured, blas.free_kernel
    if own is None or free is None:
        return Diagnosis("note", f"{forced}; what that costs was not measured", "graphgrad doctor")
    if free.kernel == own.kernel and own.kernel:
        return Diagnosis("ok", f"{variables} changes nothing: {free.kernel} is also its own choice")
    rates = f"{own.gflops:.0f} GFLOP/s, and {free.gflops:.0f} with its own choice {free.kernel}"
    if own.gflops >= (1 - SLOWER) * free.gflops:
        return Diagnosis("ok", f"{forced}, which costs nothing here: {rates}")
    text = f"{forced} at {own.gflops / free.gflops:.0%} of its speed: {rates}"
    return Diagnosis("problem", text, "unset " + " ".join(blas.kernel_forced_by))


def _judge_threads(blas: BlasReport) -> Diagnosis | None:
    setting = THREAD_VARIABLES.get(blas.name, ("OMP_NUM_THREADS",))[0]
    if blas.threads > blas.processors:
        text = f"{blas.name} starts {blas.threads} threads where {blas.processors} can run at once"
        return Diagnosis("note", text, f"export {setting}={blas.processors}")
    if blas.threads >= blas.cores:
        return None
    text = f"{blas.name} uses {blas.threads} of {blas.cores} usable cores"
    if not blas.threads_limited_by:
        remedy = f"export {setting}={blas.cores}, unless the program sets the threads itself"
        return Diagnosis("problem", text, remedy)
    text += " because of " + " and ".join(blas.threads_limited_by)
    if (own := blas.measured) and (free := blas.free_threads):
        text += f": {own.gflops:.0f} GFLOP/s, and {free.gflops:.0f} with {free.threads} threads"
        if free.gflops <= own.gflops:
            return Diagnosis("ok", f"{text}: it costs nothing here (other programs may be busy)")
    return Diagnosis("problem", text, "unset " + " ".join(blas.threads_limited_by))


def report_dict(report: MachineReport) -> dict[str, Any]:
    """Facts and findings as plain values for JSON."""
    findings = [asdict(finding) for finding in judge(report)]
    whole = asdict(report) | {"environment": dict(report.environment), "findings": findings}
    plain: dict[str, Any] = json.loads(json.dumps(whole))
    return plain
