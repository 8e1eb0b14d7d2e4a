"""`graphgrad evaluate`: figures of a trained run on its held-out data."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from graphgrad.backends import read_only
from graphgrad.decoding import Options
from graphgrad.errors import ConfigurationError
from graphgrad.tools.decoding import add_decoding_options, options_of, waited_for
from graphgrad.tools.opening import add_used_options, used_run
from graphgrad.tools.streams import say, tell
from graphgrad.training.runs import OpenRun
from graphgrad.training.task import Figures
from graphgrad.training.trainer import json_figures

HELP = "measure a trained run on its held-out data"
DESCRIPTION = """Prints the loss and the other figures of the run's newest checkpoint on the data
that it was not trained on; with --json one object (for translation: loss, exact_match, examples,
and for text of your own perplexity, token_accuracy, BLEU and chrF with their signatures).
A run on `dates` or `names` gives the figures of each language with --by-language. Beside those of
`names` are two baselines: copying the English name, and the name of the language that agrees most
often. Translations are decoded as the options say. Ctrl-C gives the figures of the examples that
are done, which are the shortest.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("run", help="a run folder")
    add_used_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--by-language",
        action="store_true",
        help="the figures of each language, too, the best first (runs on `dates` and `names`)",
    )
    add_decoding_options(parser, drawing=False)


def run(arguments: argparse.Namespace) -> int:
    """Evaluates and prints; 130 where it was interrupted."""
    options = options_of(arguments)
    opened = used_run(arguments)
    figures, languages, interrupted = _measured(opened, options, arguments.by_language)
    if interrupted:
        tell("interrupted: the figures are of the examples that were done, the shortest ones")
    signatures = opened.task.signatures()
    if arguments.json:
        written: dict[str, Any] = {"step": opened.step, **json_figures(figures)}
        if signatures:
            written["signatures"] = dict(signatures)
        if arguments.by_language:
            written["by_language"] = {
                language: json_figures(some) for language, some in languages.items()
            }
        print(json.dumps(written))
    else:
        print(f"step {opened.step}")
        width = max(map(len, (*figures, "token_accuracy")))
        for name, value in figures.items():
            how = f"  {signatures[name]}" if name in signatures else ""
            say(f"{name:<{width}} {value:.6g}{how}")
        for line in _table(languages):
            say(line)
    return 130 if interrupted else 0


def _measured(
    opened: OpenRun, options: Options, by_language: bool
) -> tuple[Figures, Mapping[str, Figures], bool]:
    """The figures, those of each language where they are asked for, and whether it was stopped."""
    task, state = opened.task, read_only(opened.weights)
    if by_language and task.by_language is None:
        raise ConfigurationError(
            "the data of the run do not say in which language a text is",
            opened.folder.path,
            "leave --by-language out",
        )
    languages: Mapping[str, Figures] = {}
    if task.measure is not None:
        with waited_for() as (waiting, guard):
            if by_language and task.by_language is not None:
                figures, languages = task.by_language(state, options, waiting)
            else:
                figures = task.measure(state, options, waiting, False)
        return figures, languages, guard.requested
    if options != Options():
        raise ConfigurationError(
            f"the model {opened.model.short_name} decodes nothing",
            fix="leave the options of decoding out",
        )
    return task.evaluate(state), {}, False


def _table(languages: Mapping[str, Figures]) -> Iterator[str]:
    """A line for each language, the best first."""
    if not languages:
        return
    names = list(next(iter(languages.values())))
    widths = [max(len(name), 8) for name in names]
    yield ""
    yield "".join([f"{'language':<10}", *map("  {:>{}}".format, names, widths)])
    for language, figures in sorted(languages.items(), key=lambda item: _rank(item[1])):
        cells = (f"{figures[name]:.4g}" for name in names)
        yield "".join([f"{language:<10}", *map("  {:>{}}".format, cells, widths)])


def _rank(figures: Figures) -> tuple[float, ...]:
    return -figures.get("chrf", 0.0), -figures["exact_match"]
