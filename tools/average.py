"""`graphgrad average`: a run whose parameters are the mean of several checkpoints."""

from __future__ import annotations

import argparse
import shlex

from graphgrad.errors import ConfigurationError
from graphgrad.models import BUILTIN
from graphgrad.tools.opening import folder_of
from graphgrad.tools.options import MODEL_OPTION, OneOf, Option, add_options
from graphgrad.tools.streams import say, tell
from graphgrad.training.averaging import average_run, best_steps, kept_steps, last_steps
from graphgrad.training.configuration import read_configuration
from graphgrad.training.run_folder import RunFolder
from graphgrad.training.settings import TrainingSettings

HELP = "average the parameters of several checkpoints of a run"
DESCRIPTION = """Makes a run whose parameters are the mean of those of several checkpoints, computed
in float64: often a better model than any of them. Every command works on the result.

    graphgrad average runs/transformer-001 --last 5 -o averaged
    graphgrad average runs/transformer-001 --best 3
    graphgrad average runs/transformer-001 --checkpoints 1000 1200 1400
    graphgrad evaluate averaged

A run keeps as many checkpoints as its settings keep_last and keep_best say: train with
--set keep_last=5 to average five.
"""
OPTIONS = (
    Option("run", help="a run folder"),
    MODEL_OPTION,
    OneOf(
        Option("--last", metavar="N", type=int, help="the N newest checkpoints"),
        Option(
            "--best",
            metavar="N",
            type=int,
            help="the N best ones by the held-out figure that the setting best_metric names",
        ),
        Option(
            "--checkpoints",
            metavar="STEP",
            type=int,
            nargs="+",
            help="those of these steps (default: all that the run has kept)",
        ),
    ),
    Option("-o", "--output", metavar="DIR", help="the new run's folder (default: one in runs/)"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command to its parser."""
    add_options(parser, OPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Averages and says of what."""
    folder = folder_of(arguments.run)
    steps = _steps(arguments, folder)
    made = average_run(folder.path, steps, arguments.output, BUILTIN, arguments.model_file)
    for warning in made.warnings:
        tell(f"note: {warning}")
    listed = ", ".join(map(str, steps))
    where = shlex.quote(str(made.folder.path))
    say(f"the mean of {len(steps)} checkpoints, of steps {listed}: {where}")
    say(f"try: graphgrad evaluate {where}")
    return 0


def _steps(arguments: argparse.Namespace, folder: RunFolder) -> tuple[int, ...]:
    """The steps to average, ascending."""
    if arguments.last is not None:
        return last_steps(folder, arguments.last)
    if arguments.best is not None:
        settings = read_configuration(folder).settings
        metric = str(settings.get("best_metric", TrainingSettings.best_metric))
        return best_steps(folder, arguments.best, metric)
    if arguments.checkpoints is None:
        if not kept_steps(folder):
            raise ConfigurationError(
                "the run has no checkpoint but that of its start", folder.path, "train it first"
            )
        return kept_steps(folder)
    if len(set(arguments.checkpoints)) < len(arguments.checkpoints):
        raise ConfigurationError("--checkpoints names a step twice", fix="name each once")
    return tuple(sorted(arguments.checkpoints))
