"""`graphgrad check`: compares every delta of a model with finite differences.

It also compares every value of the training program with the reference.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from graphgrad.backends import need_backend
from graphgrad.checks.agreement import Agreement, compare_program
from graphgrad.checks.finite_differences import Verdict, check
from graphgrad.checks.lint import lint
from graphgrad.compile import compile
from graphgrad.graph import Graph, initial_state
from graphgrad.graph.types import shape_text
from graphgrad.models import BUILTIN
from graphgrad.strict_json import format_json
from graphgrad.text import printable
from graphgrad.tools.opening import (
    is_run,
    model_of,
    refuse_model_option,
    run_of,
)
from graphgrad.tools.options import (
    BACKEND_OPTION,
    CHECKPOINT_OPTION,
    MODEL_OPTION,
    PRECISION_OPTION,
    Option,
    add_options,
    assignments_of,
)
from graphgrad.tools.streams import say, write_document
from graphgrad.training.optimisers import GRADIENT_NORM
from graphgrad.training.runs import OpenRun
from graphgrad.training.settings import (
    TrainingSettings,
    assigned,
    with_assignments,
    with_values,
)
from graphgrad.training.task import ModelFile

HELP = "check every delta against finite differences, and the program that trains"
DESCRIPTION = """Cuts the graph of MODEL at every node, moves the node's value a little in random
directions, recomputes what depends on it, and compares the change of the loss with the delta. A
wrong delta is traced to the delta rule that made it. With --node, the contribution of each tail is
compared as well. The model is made small by its own CHECK settings and computed in float64; random
numbers are added to parameters that start as one constant.

Then the program with which `graphgrad train` trains the model, at its full size, runs one batch.
Every value and delta that it computes is compared with the reference, which computes one operation
after another; the first that differs is named. A RUN is compared from the state of its newest
checkpoint, on its next batch.

    graphgrad check transformer
    graphgrad check transformer --set layers=2 --node "decoder.*"
    graphgrad check transformer --node decoder.0.attention.scores
    graphgrad check my_model.py --json
    graphgrad check my_model.py --lint
    graphgrad check transformer --precision bf16          the program with its casts
    graphgrad check runs/transformer-001
    graphgrad check transformer --backend cupy

The exit code is 1 where a delta or the program is wrong, else 0. `kink`: the loss has no
derivative there (relu at 0, a tie of a maximum). `replaced`: the model replaces the derivative by a
rule of its own.
"""
_SHAKE = 0.05
_EXACT = {"dtype": "float64", "precision": "fp32"}
"""The settings of finite differences."""


OPTIONS = (
    Option("model", metavar="MODEL|RUN", help=f"{', '.join(BUILTIN)}, a .py file, or a run folder"),
    MODEL_OPTION,
    BACKEND_OPTION,
    CHECKPOINT_OPTION,
    Option(
        "--node",
        metavar="PATTERN",
        action="append",
        help="a name, or a pattern with * and ?; may be repeated",
    ),
    Option(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a setting; may be repeated",
    ),
    PRECISION_OPTION,
    Option(
        "--lint",
        action="store_true",
        help="only look for what is likely to go wrong, without computing: "
        "unguarded log, √ and division, parameters that are never learned, …",
    ),
    Option("--json", action="store_true", help="print one JSON object"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command to its parser."""
    add_options(parser, OPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Checks and prints; returns 1 if a delta or the program is wrong."""
    subject = _subject(arguments)
    model = subject.model
    if arguments.lint:
        return _lint(subject, arguments)
    small = with_values(subject.settings, {**model.check, **_EXACT}, model.name)
    exactly = [each for each in arguments.set if not each.startswith("precision=")]
    settings = with_assignments(small, exactly)
    task = model.task(settings, dict(subject.run.task.files) if subject.run else {})
    started = time.perf_counter()
    verdicts = check(
        task.graph,
        task.graph.outputs["loss"],
        task.feeds(0),
        shaken(task.graph, settings.seed),
        arguments.node,
        seed=settings.seed,
    )
    seconds = time.perf_counter() - started
    counts = Counter(verdict.verdict for verdict in verdicts)
    agreement = _agreement(subject)
    if arguments.json:
        report = {
            "model": model.name,
            "seconds": round(seconds, 3),
            "counts": dict(counts),
            "verdicts": [verdict.to_dict() for verdict in verdicts],
            "program": agreement.to_dict(),
        }
        write_document(format_json(report, "the report") + "\n")
    else:
        for line in text_lines(verdicts, tails=bool(arguments.node)):
            say(line)
        listed = ", ".join(f"{count} {judgement}" for judgement, count in counts.most_common())
        say(f"\n{model.short_name}: {listed}, in {seconds:.1f} s")
        for line in agreement_lines(agreement):
            say(line)
    return int(counts["wrong"] > 0 or agreement.difference is not None)


@dataclass(frozen=True)
class _Subject:
    """The model to check, with the settings that it is trained with, and perhaps its run."""

    model: ModelFile
    settings: TrainingSettings
    run: OpenRun | None = None


def _subject(arguments: argparse.Namespace) -> _Subject:
    if is_run(arguments.model):
        values = assigned(assignments_of(arguments))
        opened = run_of(
            arguments.model,
            values,
            model_file=arguments.model_file,
            checkpoint=arguments.checkpoint,
        )
        return _Subject(opened.model, opened.settings, opened)
    refuse_model_option(arguments.model_file, arguments.checkpoint)
    model = model_of(arguments.model)
    settings = with_assignments(model.settings, assignments_of(arguments))
    need_backend(settings.backend)
    return _Subject(model, settings)


def _agreement(subject: _Subject) -> Agreement:
    """Compares the training program: from the state of the run, or from an initial state."""
    settings, run = subject.settings, subject.run
    if run is not None:
        graph, state, feeds = run.graph, dict(run.state), run.task.feeds(run.next_batch)
    else:
        task = subject.model.task(settings, {})
        graph, feeds = task.step(task.graph, settings), task.feeds(0)
        state = initial_state(graph, settings.seed)
    compiled = compile(
        graph,
        guards=("loss", GRADIENT_NORM),
        fuse=settings.fuse,
        precision=settings.precision,
        backend=settings.backend,
    )
    return compare_program(compiled, feeds, state)


def agreement_lines(found: Agreement) -> Iterator[str]:
    """One line if the program agrees, else the node that differs, by how much, and its line."""
    counted = (
        f"{found.steps} steps, {found.kernels} of them kernels; {found.values} values by "
        f"name, the others of {found.nodes} nodes are inside of them"
    )
    if found.difference is None:
        yield f"the program that trains agrees with the reference ({counted})"
        return
    yield f"the program that trains is wrong ({counted}):"
    yield f"    {found.difference}"
    yield f"    relative to the largest element: {found.difference.error:.1e}"
    if found.difference.origin:
        yield f"    declared at {found.difference.origin}"


def _lint(subject: _Subject, arguments: argparse.Namespace) -> int:
    """Prints what is likely to go wrong in the model as it is trained; returns 1 if anything."""
    model = subject.model
    graph = (subject.run.task if subject.run else model.task(subject.settings, {})).graph
    findings = lint(graph)
    if arguments.json:
        report = {"model": model.name, "findings": [item.to_dict() for item in findings]}
        write_document(format_json(report, "the findings") + "\n")
        return int(bool(findings))
    for item in findings:
        say(str(item))
    count = f"{len(findings)} finding{'' if len(findings) == 1 else 's'}" if findings else "clean"
    say(f"{model.short_name}: {count}, {len(graph)} nodes")
    return int(bool(findings))


def shaken(graph: Graph, seed: int) -> dict[str, np.ndarray]:
    """An initial state without constant parameters: zeros would hide wrong deltas."""
    state = initial_state(graph, seed)
    generator = np.random.default_rng(seed)
    for name in graph.parameters:
        value = state[name]
        if value.dtype.kind == "f" and value.size and np.ptp(value) == 0:
            value += _SHAKE * generator.standard_normal(value.shape)
    return state


def text_lines(verdicts: Sequence[Verdict], tails: bool = False) -> Iterator[str]:
    """One line per node, with details below a delta that is not right.

    With `tails`, one line for the contribution of each tail.
    """
    rows = [
        (v.verdict, printable(v.name), v.operation, shape_text(v.shape), _error(v))
        for v in verdicts
    ]
    heading = ("verdict", "node", "operation", "shape", "relative error")
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    yield "  ".join(map(str.ljust, heading, widths)).rstrip()
    for verdict, row in zip(verdicts, rows, strict=True):
        yield "  ".join(map(str.ljust, row, widths)).rstrip()
        if verdict.verdict in ("wrong", "replaced", "kink"):
            yield from (f"    {line}" for line in _details(verdict))
        if tails:
            yield from (f"    {line}" for line in _tails(verdict))


def _error(verdict: Verdict) -> str:
    return "-" if verdict.relative_error is None else f"{verdict.relative_error:.1e}"


def _details(verdict: Verdict) -> Iterator[str]:
    yield f"by differences {verdict.numeric:.6g}, by δ {verdict.symbolic:.6g}"
    yield f"δ = {verdict.formula}"
    if verdict.suspect:
        yield f"suspect: {printable(verdict.suspect)}, {verdict.suspect_rule}"
        if verdict.suspect_origin:
            yield f"    declared at {verdict.suspect_origin}"
        if verdict.rule_origin:
            yield f"    its rule is written at {verdict.rule_origin}"
    if verdict.origin:
        yield f"declared at {verdict.origin}"


def _tails(verdict: Verdict) -> Iterator[str]:
    """A line for each contribution, compared with the change through that tail alone."""
    width = max((len(printable(tail.tail)) for tail in verdict.tails), default=0)
    for tail in verdict.tails:
        yield (
            f"{tail.verdict:<8} <- {printable(tail.tail):<{width}}  {tail.rule}   "
            f"by differences {tail.numeric:.6g}, by the rule {tail.symbolic:.6g}"
        )
