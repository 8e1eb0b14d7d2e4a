"""`graphgrad evaluate`: figures of a trained run on its held-out data."""

from __future__ import annotations

import argparse
import json

from graphgrad.backends import read_only
from graphgrad.decoding import Options
from graphgrad.errors import ConfigurationError
from graphgrad.tools.decoding import add_decoding_options, options_of, waited_for
from graphgrad.tools.opening import add_model_option, run_of
from graphgrad.tools.streams import say, tell
from graphgrad.training.trainer import json_figures

HELP = "measure a trained run on its held-out data"
DESCRIPTION = """Prints the loss and the other figures of the run's newest checkpoint on the data
that it was not trained on; with --json one object (for translation: loss, exact_match, examples,
and for text of your own perplexity, token_accuracy, BLEU and chrF with their signatures).
Translations are decoded as the options say. Ctrl-C gives the figures of the examples that are done,
which are the shortest.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("run", help="a run folder")
    add_model_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_decoding_options(parser, drawing=False)


def run(arguments: argparse.Namespace) -> int:
    """Evaluates and prints; 130 where it was interrupted."""
    options = options_of(arguments)
    opened = run_of(arguments.run, model_file=arguments.model_file, checkpoint=arguments.checkpoint)
    task, state, interrupted = opened.task, read_only(opened.state), False
    if task.measure is not None:
        with waited_for() as (waiting, guard):
            figures = task.measure(state, options, waiting, False)
        interrupted = guard.requested
    elif options != Options():
        raise ConfigurationError(
            f"the model {opened.model.short_name} decodes nothing",
            fix="leave the options of decoding out",
        )
    else:
        figures = task.evaluate(state)
    if interrupted:
        tell("interrupted: the figures are of the examples that were done, the shortest ones")
    signatures = task.signatures()
    if arguments.json:
        written = {"step": opened.step, **json_figures(figures)}
        print(json.dumps(written | ({"signatures": dict(signatures)} if signatures else {})))
    else:
        print(f"step {opened.step}")
        for name, value in figures.items():
            how = f"  {signatures[name]}" if name in signatures else ""
            say(f"{name:<14} {value:.6g}{how}")
    return 130 if interrupted else 0
