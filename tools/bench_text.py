"""What `graphgrad bench` prints: the conditions, a line for each contender, and notes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from graphgrad.performance.bench_results import Bench, RecipeBench, Record, Results
from graphgrad.performance.bench_worker import Workload

WIDER = (
    "note: a processor has no products of {0} here: graphgrad rounds what they read and computes "
    "them in float32, so {0} is not faster than fp32"
)
_SPREAD = "the minimum says more than the median"
_SPREAD_OF_RECIPE = (
    "best ms, the mean over the updates of the fastest timing of each, and processor, the "
    "milliseconds of processor time, say more than mean ms"
)


def bench_text(size: str, result: Bench) -> str:
    """The result of a training step as text."""
    peaks = [f"{rate:.0f} GFLOP/s in {name}" for name, rate in result.peaks.items()]
    lines = [
        f"{size}: {_described(result.workload)}",
        f"threads {result.threads}, steps {result.steps}, {result.gflop:.4g} GFLOP a step, peak "
        f"{', '.join(peaks).removesuffix(' in fp32')}",
        *_dropped(result),
        "",
    ]
    loaded = f"{'loaded ms':>11}{'slower':>8}{'ratio':>7}" if result.busy_processes else ""
    lines.append(
        f"{'':<32}{'median ms':>10}{'min ms':>10}{'first s':>9}{'memory MB':>11}"
        f"{'tokens/s':>10}{'MFU':>7}{'ratio':>7}{loaded}"
    )
    for name, record in result.records.items():
        lines.append(
            f"{_shown(name, record.version):<32}{record.median_ms:>10.1f}{record.min_ms:>10.1f}"
            f"{record.first_step_s:>9.1f}{record.peak_mb:>11.0f}{record.tokens_per_s:>10.0f}"
            f"{record.mfu:>7.1%}{record.ratio:>7.2f}{_loaded(record)}"
        )
    lines += [f"{name:<32}absent: {reason}" for name, reason in result.absent.items()]
    if result.busy_processes:
        lines += [
            "",
            f"loaded ms: the median beside {result.busy_processes} busy processes; slower: how "
            "many times as long; ratio: to graphgrad's beside them",
        ]
    return "\n".join([*lines, "", *_notes(result, _SPREAD), ""])


def recipe_text(result: RecipeBench) -> str:
    """The result of the updates of a recipe as text."""
    workload = result.workload
    lines = [
        f"{workload.recipe}: the first {workload.updates} updates, {workload.tokens:,} target "
        f"tokens in batches of {result.shapes} shapes; each update timed {result.passes} times",
        f"threads {result.threads}",
        *_dropped(result),
        "",
        f"{'':<28}{'mean ms':>10}{'ratio':>7}{'best ms':>10}{'ratio':>7}{'processor':>11}"
        f"{'ratio':>7}{'tokens/s':>10}{'memory MB':>11}{'first pass s':>14}",
    ]
    for name, record in result.records.items():
        lines.append(
            f"{_shown(name, record.version):<28}{record.mean_ms:>10.1f}{record.ratio:>7.2f}"
            f"{record.best_ms:>10.1f}{record.best_ratio:>7.2f}{record.processor_ms:>11.1f}"
            f"{record.processor_ratio:>7.2f}{record.tokens_per_s:>10.0f}{record.peak_mb:>11.0f}"
            f"{record.first_pass_s:>14.1f}"
        )
    lines += [f"{name:<28}absent: {reason}" for name, reason in result.absent.items()]
    return "\n".join([*lines, "", *_notes(result, _SPREAD_OF_RECIPE), ""])


def _described(workload: Workload) -> str:
    """The sizes of a workload."""
    gpt = workload.model == "gpt"
    layers = f"{workload.layers}" if gpt else f"{workload.layers}+{workload.layers}"
    length = f"{workload.target}" if gpt else f"{workload.source} to {workload.target}"
    return (
        f"{'GPT, ' if gpt else ''}width {workload.width}, inner {workload.inner}, heads "
        f"{workload.heads}, layers {layers}, vocabulary {workload.vocabulary}, batch "
        f"{workload.batch}, tokens {length}"
    )


def _shown(name: str, version: str) -> str:
    return name if " without " in name else f"{name} {version}"


def _loaded(record: Record) -> str:
    if record.loaded_ms is None or record.slowdown is None:
        return ""
    return f"{record.loaded_ms:>11.1f}{record.slowdown:>8.2f}{record.loaded_ratio:>7.2f}"


def _dropped(result: Results[Any, Any]) -> list[str]:
    return [f"dropped from the environment: {name}={value}" for name, value in result.dropped]


def _notes(result: Results[Any, Any], spread: str) -> Iterable[str]:
    """What a reader has to know about the figures."""
    records: Mapping[str, Any] = result.records
    own = records["graphgrad"]
    losses = ", ".join(f"{loss:.6g}" for loss in own.losses)
    yield f"equal mathematics: without dropout the first losses agree: {losses}"
    if own.precision != "fp32" and not result.device:
        yield WIDER.format(own.precision)
    for name, record in records.items():
        if record.threads != result.threads and not result.device:
            yield f"note: {name} uses {record.threads} threads and not {result.threads}"
    if result.busy_elsewhere is not None and result.busy_elsewhere > 0.1:
        yield f"note: other programs kept {result.busy_elsewhere:.1f} processors busy; {spread}"
