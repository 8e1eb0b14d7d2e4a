"""`graphgrad doctor`: describes this machine, and what slows NumPy down on it, with the remedy.

The facts are from `graphgrad.performance.machine`, the verdicts from `diagnosis` beside it; this
file prints them, as aligned text or as one JSON object.
"""

import argparse
import json
from collections.abc import Iterator

from graphgrad.backends.numpy.product_classes import EQUAL
from graphgrad.performance.blas import BlasReport
from graphgrad.performance.diagnosis import CUDA_ROLES, judge, report_dict
from graphgrad.performance.load import busy_note
from graphgrad.performance.machine import MachineReport, Package, examine_machine
from graphgrad.tools.options import Option, add_options
from graphgrad.tools.streams import say
from graphgrad.user_folder import unavailable_reason, user_folder

HELP = "examine this machine: what it has, what slows it down, and the remedy"
DESCRIPTION = (
    "Examine the processor, the BLAS behind NumPy, LLVM, Graphviz and the GPU. Where an "
    "environment variable forces the kernel of the BLAS or limits its threads, time a matrix "
    "product with and without it and name the remedy. Nothing is changed. "
    "The exit code is 1 where there is a problem, else 0."
)


OPTIONS = (
    Option("--json", action="store_true", help="print one JSON object instead of text"),
    Option(
        "--no-measure",
        dest="measure",
        action="store_false",
        help="do not time matrix products: faster, but the cost of a forced kernel is not known",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command to its parser."""
    add_options(parser, OPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Examines the machine and prints the result; returns 1 if there is a problem, else 0."""
    busy = busy_note()  # first, as the measurement below keeps cores busy as well
    report = examine_machine(arguments.measure)
    if arguments.json:
        say(json.dumps({**report_dict(report), "busy": busy}, indent=2))
    else:
        say(report_text(report, busy))
    return int(any(finding.level == "problem" for finding in judge(report)))


def report_text(report: MachineReport, busy: str | None = None) -> str:
    """The facts, one per line, then the findings with their remedies, and the note `busy`."""
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
    yield from _products(report)
    yield "llvmlite", _package_text(report.llvmlite)
    kept = user_folder("machine_code")
    yield "kernels", str(kept) if kept else f"not kept: {unavailable_reason('machine_code')}"
    yield "CuPy", _package_text(report.cupy)
    yield from _libraries(report)
    yield "Graphviz", _graphviz_text(report)
    yield "GPU", "; ".join(report.gpus) or "none"
    if report.driver_cuda:
        yield "driver", f"runs CUDA {report.driver_cuda} at most"
    for name, value in report.environment:
        yield "environment", f"{name}={value}"


def _products(report: MachineReport) -> Iterator[tuple[str, str]]:
    """The classes of products that are measured: who computes them, and how fast."""
    for kind, (own, blas) in (report.products or {}).items():
        chosen = "own kernel" if own >= EQUAL * blas else "BLAS"
        yield "product", f"{kind:<24} {chosen:<10}  own {own:.0f}, BLAS {blas:.0f} GFLOP/s"


def _libraries(report: MachineReport) -> Iterator[tuple[str, str]]:
    """NVIDIA's libraries, what each is for, and those that others need and graphgrad does not."""
    found = dict(report.cuda)
    for name, place in found.items():
        yield name, f"{place or 'absent'} ({CUDA_ROLES[name]})"
    if report.gpus or report.cupy.version:
        yield from ((name, role) for name, role in CUDA_ROLES.items() if name not in found)


def _graphviz_text(report: MachineReport) -> str:
    port = f"graphviz-pure {report.graphviz_pure}" if report.graphviz_pure else ""
    return report.dot or port or "absent"


def _blas_text(blas: BlasReport) -> str:
    if not blas.threads:
        return f"{blas.name} {blas.version}".strip()
    kernel = f", {blas.kernel} kernel" if blas.kernel else ""
    return f"{blas.name} {blas.version}{kernel}, threads: {blas.threads}"


def _package_text(package: Package) -> str:
    return package.version or (f"broken: {package.failure}" if package.failure else "absent")
