"""`graphgrad evaluate`: figures of a trained run on its held-out data."""

from __future__ import annotations

import argparse
import json

from graphgrad.tools.opening import add_model_option, run_of
from graphgrad.tools.streams import say
from graphgrad.training.task import read_only
from graphgrad.training.trainer import json_figures

HELP = "measure a trained run on its held-out data"
DESCRIPTION = """Prints the loss and the other figures of the run's newest checkpoint on the data
that it was not trained on; with --json one object (for translation: loss, exact_match, examples,
and for text of your own perplexity, token_accuracy, BLEU and chrF with their signatures).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("run", help="a run folder")
    add_model_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Evaluates and prints."""
    opened = run_of(arguments.run, model_file=arguments.model_file)
    figures = opened.task.evaluate(read_only(opened.state))
    signatures = opened.task.signatures()
    if arguments.json:
        written = {"step": opened.step, **json_figures(figures)}
        print(json.dumps(written | ({"signatures": dict(signatures)} if signatures else {})))
    else:
        print(f"step {opened.step}")
        for name, value in figures.items():
            how = f"  {signatures[name]}" if name in signatures else ""
            say(f"{name:<14} {value:.6g}{how}")
    return 0
