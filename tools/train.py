"""`graphgrad train`: trains a model into a run folder."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from graphgrad.compile import Compiled, sizes_of
from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph
from graphgrad.inspection.agreement import compare_program
from graphgrad.inspection.lint import warnings_of
from graphgrad.inspection.machine import one_line_warning
from graphgrad.inspection.recording import make_recorder, recorded_names
from graphgrad.inspection.statistics import first_non_finite
from graphgrad.models import BUILTIN
from graphgrad.passes import specialise
from graphgrad.training.progress import displayable
from graphgrad.training.settings import with_assignments
from graphgrad.training.task import load_model
from graphgrad.training.trainer import OpenRun, create_run, open_run, train

HELP = "train a model; the first thing to try is `graphgrad train transformer`"
DESCRIPTION = """Trains MODEL (a built-in name, or the path of a .py file that declares one) into a
fresh run folder, with progress, samples of what it can do by now, and checkpoints. Ctrl-C saves
once and says how to go on; a run that goes on ends with the same bytes as one that was never
stopped.

    graphgrad train transformer
    graphgrad train transformer --source train.en --target train.de --set tokens=whitespace
    graphgrad train feedforward --set activation=sigmoid --set steps=500
    graphgrad train --resume runs/transformer-001
    graphgrad train transformer --inspect-every 100 --inspect "encoder.*.attention.*"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("model", nargs="?", help=f"{', '.join(BUILTIN)}, or a .py file")
    parser.add_argument("--run", metavar="DIR",
                        help="the run folder (default: a fresh one in runs/)")  # fmt: skip
    parser.add_argument("--resume", metavar="DIR", help="go on with the run in this folder")
    parser.add_argument("--step", metavar="N", type=int,
                        help="with --resume: go on from the checkpoint of this step and give up "
                        "what came after it (default: the newest)")  # fmt: skip
    parser.add_argument("--source", metavar="FILE", help="lines of text to translate from")
    parser.add_argument("--target", metavar="FILE", help="lines to translate to, aligned with them")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[],
                        help="change a setting; may be repeated")  # fmt: skip
    parser.add_argument("--verify", action="store_true",
                        help="compare the first step with the plain program, whatever it costs "
                        "(without: where it costs under two seconds)")  # fmt: skip
    parser.add_argument("--inspect-every", metavar="N",
                        help="record figures of values and deltas every N steps, for "
                        "`graphgrad inspect RUN --steps`")  # fmt: skip
    parser.add_argument("--inspect", metavar="PATTERN", action="append", default=[],
                        help="which nodes to record: a name, or a pattern with * and ?; may be "
                        "repeated (default: every node)")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Trains; 0 when finished, 130 when interrupted."""
    opened = _resumed(arguments) if arguments.resume else _created(arguments)
    folder = shlex.quote(str(opened.folder.path))
    warning = one_line_warning()
    likely = [] if opened.step else warnings_of(opened.task.graph)  # said once, at the start
    for line in (*opened.warnings, warning, opened.task.notice, *likely):
        if line:
            print(displayable(f"note: {line}", sys.stdout.encoding))
    count = sum(a.size for a in (opened.state[n] for n in opened.task.graph.parameters))
    print(f"run {folder}: {opened.model.short_name}, {count:,} parameters, "
          f"steps {opened.step} to {opened.settings.steps}", flush=True)  # fmt: skip
    if opened.step == opened.settings.steps:
        further = f"graphgrad train --resume {folder} --set steps={2 * opened.step}"
        print(f"nothing is left to train; to go further: {further}", flush=True)
    settings = opened.settings
    recorder = (make_recorder(opened.graph, settings.inspect_patterns, settings.fuse)
                if settings.inspect_every else None)  # fmt: skip
    outcome = train(opened, explain, recorder=recorder, arbiter=arbiter, verify=arguments.verify)
    if outcome.ending == "interrupted":
        print(f"interrupted after step {outcome.step}; saved. Go on with:\n"
              f"    graphgrad train --resume {folder}")  # fmt: skip
        return 130
    figures = "  ".join(f"{name} {value:.6g}" for name, value in outcome.figures.items())
    print(f"finished after step {outcome.step}: {figures}\nrun {folder}")
    if opened.task.translate is not None:
        print(f'try: graphgrad translate {folder} "de: Sonntag, 22. November 2026"'
              if not getattr(opened.settings, "source", "")
              else f"try: graphgrad translate {folder} TEXT")  # fmt: skip
    return 0


def explain(graph: Graph, feeds: Any, state: Any) -> tuple[str, str] | None:
    """Names the first node of a failed step that is not finite, and its line."""
    found = first_non_finite(specialise(graph, sizes_of(graph, feeds)), feeds, state)
    return (str(found), found.origin) if found is not None else None


def arbiter(compiled: Compiled, feeds: Any, state: Any) -> tuple[str, str] | None:
    """Names the first node that the program computes otherwise than the reference, and its line."""
    found = compare_program(compiled, feeds, state).difference
    return (str(found), found.origin) if found is not None else None


def _created(arguments: argparse.Namespace) -> OpenRun:
    if arguments.step is not None:
        raise ConfigurationError("--step says from which checkpoint a run goes on",
                                 fix=f"--resume DIR --step {arguments.step}")  # fmt: skip
    if not arguments.model:
        raise ConfigurationError("train needs a model or --resume DIR",
                                 fix=f"graphgrad train {next(iter(BUILTIN))}")  # fmt: skip
    model = load_model(arguments.model, BUILTIN)
    settings = with_assignments(model.settings, _assignments(arguments))

    def check(graph: Graph) -> None:
        if settings.inspect_every:
            recorded_names(graph, settings.inspect_patterns)  # before there is a folder

    return create_run(model, settings, arguments.run, check)


def _resumed(arguments: argparse.Namespace) -> OpenRun:
    if arguments.model or arguments.run or arguments.source or arguments.target:
        raise ConfigurationError(
            "--resume goes on with a run as it was declared; it takes no model, --run or files",
            fix=f"graphgrad train --resume {arguments.resume}",
        )
    values = dict(text.partition("=")[::2] for text in [*arguments.set, *_recording(arguments)])
    return open_run(arguments.resume, BUILTIN, values, arguments.step)


def _assignments(arguments: argparse.Namespace) -> list[str]:
    """`--set` with the data files, whose paths are kept absolute so that a run can move on."""
    files = [f"{key}={Path(path).resolve()}"
             for key in ("source", "target") if (path := getattr(arguments, key))]  # fmt: skip
    return [*arguments.set, *_recording(arguments), *files]


def _recording(arguments: argparse.Namespace) -> list[str]:
    """The options of recording as settings, so that a run that goes on goes on recording."""
    if arguments.inspect and arguments.inspect_every is None:
        raise ConfigurationError("--inspect says what to record, and nothing says how often",
                                 fix="add --inspect-every 100")  # fmt: skip
    every = [] if arguments.inspect_every is None else [f"inspect_every={arguments.inspect_every}"]
    return [*every, *([f"inspect={','.join(arguments.inspect)}"] if arguments.inspect else [])]
