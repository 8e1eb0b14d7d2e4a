"""`graphgrad doctor`: what this machine is, what slows NumPy down on it, and the remedy.

The facts are `graphgrad.performance.machine`'s, the verdicts those of `diagnosis` beside it; this
file prints them, as aligned text or as one JSON object.
"""

import argparse
import json
from collections.abc import Iterator

from graphgrad.performance.blas import BlasReport
from graphgrad.performance.diagnosis import judge, report_dict
from graphgrad.performance.load import busy_note
from graphgrad.performance.machine import MachineReport, Package, examine_machine
from graphgrad.tools.streams import say
from graphgrad.user_folder import user_folder, why_nothing_is_kept

HELP = "examine this machine: what runs, what slows it down, and the remedy"
DESCRIPTION = (
    "Examine the processor, the BLAS behind NumPy, LLVM, Graphviz and the GPU. Where an "
    "environment variable forces the kernel of the BLAS or limits its threads, time a matrix "
    "product with and without it and name the remedy. Nothing is changed. "
    "The exit code is 1 where there is a problem, else 0."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.add_argument(
        "--no-measure",
        dest="measure",
        action="store_false",
        help="time no matrix product: faster, but a forced kernel's cost stays unknown",
    )


def run(arguments: argparse.Namespace) -> int:
    """Examine and print; 1 where there is a problem, else 0."""
    busy = busy_note()  # looked at first: what is measured below keeps cores busy too
    report = examine_machine(arguments.measure)
    if arguments.json:
        say(json.dumps({**report_dict(report), "busy": busy}, indent=2))
    else:
        say(format_report(report, busy))
    return int(any(finding.level == "problem" for finding in judge(report)))


def format_report(report: MachineReport, busy: str | None = None) -> str:
    """The facts, one a line, then the findings, each with its remedy; `busy` is one more."""
    lines = [f"{name:<12}{value}" for name, value in _facts(report)]
    lines.append("")
    for finding in judge(report):
        lines.append(f"{finding.level:<12}{finding.text}")
        if finding.remedy:
            lines.append(f"{'':<12}remedy: {finding.remedy}")
    lines += [f"{'note':<12}{busy}"] if busy else []
    return "\n".join(lines)


def _facts(report: MachineReport) -> Iterator[tuple[str, str]]:
    blas = report.blas
    yield "processor", report.processor or "unknown"
    yield "usable", f"cores: {blas.cores}, hardware threads: {blas.processors}"
    yield "vectors", " ".join(report.vector_extensions) or "unknown"
    yield "memory", f"{report.memory / 2**30:.1f} GiB" if report.memory else "unknown"
    yield "system", report.system
    yield "Python", report.python
    yield "NumPy", report.numpy
    yield "BLAS", _blas_text(blas)
    if blas.measured:
        yield "speed", f"{blas.measured.gflops:.0f} GFLOP/s (float32 matrix product)"
    yield "llvmlite", _package_text(report.llvmlite)
    kept = user_folder("machine_code")
    yield "kernels", str(kept) if kept else f"not kept: {why_nothing_is_kept('machine_code')}"
    yield "CuPy", _package_text(report.cupy)
    yield "Graphviz", report.dot or "absent"
    yield "GPU", "; ".join(report.gpus) or "none"
    for name, value in report.environment:
        yield "environment", f"{name}={value}"


def _blas_text(blas: BlasReport) -> str:
    if not blas.threads:
        return f"{blas.name} {blas.version}".strip()
    kernel = f", {blas.kernel} kernel" if blas.kernel else ""
    return f"{blas.name} {blas.version}{kernel}, threads: {blas.threads}"


def _package_text(package: Package) -> str:
    return package.version or (f"broken: {package.failure}" if package.failure else "absent")
