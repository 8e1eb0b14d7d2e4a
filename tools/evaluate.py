"""`graphgrad evaluate`: figures of a trained run on its held-out data."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from graphgrad.backends import read_only
from graphgrad.data.parallel import Place, read_pairs
from graphgrad.decoding import Options
from graphgrad.errors import ConfigurationError
from graphgrad.tools.decoding import add_decoding_options, options_of, waited_for
from graphgrad.tools.opening import add_used_options, used_run
from graphgrad.tools.streams import say, tell
from graphgrad.training.doubts import doubts_of
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
    for name, meaning in (
        ("source", "lines of text to translate, in place of the run's own test"),
        ("target", "their translations, line by line"),
        ("pairs", "both in one file, a tab between them"),
    ):
        parser.add_argument(f"--{name}", metavar="FILE", help=meaning)
    add_decoding_options(parser, drawing=False)


def run(arguments: argparse.Namespace) -> int:
    """Evaluates and prints; 130 where it was interrupted."""
    options = options_of(arguments)
    opened = used_run(arguments)
    given = _given(arguments)
    if given is not None:
        figures, interrupted = _measured_on(opened, given, options)
        languages: Mapping[str, Figures] = {}
    else:
        figures, languages, interrupted = _measured(opened, options, arguments.by_language)
    for doubt in doubts_of(figures):
        tell(f"note: {doubt}")
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


def _given(arguments: argparse.Namespace) -> Place | None:
    """The files to measure on, if the user names some."""
    source, target, pairs = arguments.source, arguments.target, arguments.pairs
    if bool(source) != bool(target) or (source and pairs):
        raise ConfigurationError(
            "--source and --target belong together, and --pairs stands in the place of both",
            fix="give two aligned files, or one tab-separated",
        )
    if arguments.by_language and (source or pairs):
        raise ConfigurationError(
            "--by-language is of the run's own data", fix="leave it out, or the files"
        )
    return (source, target) if source else pairs or None


def _measured_on(opened: OpenRun, place: Place, options: Options) -> tuple[Figures, bool]:
    """The figures of a user's files, and whether it was stopped."""
    measure = opened.task.measure_pairs
    if measure is None:
        raise ConfigurationError(
            f"the model {opened.model.short_name} is not measured on pairs of lines",
            opened.folder.path,
            "use a run that translates",
        )
    read = read_pairs(place)
    if read.blank:
        tell(f"note: {len(read.blank)} pairs have a blank side and are left out")
    with waited_for() as (waiting, guard):
        figures = measure(read_only(opened.weights), read.pairs, options, waiting)
    left_out = len(read.pairs) - int(figures["examples"])
    if left_out and not guard.requested:
        tell(f"note: {left_out} of {len(read.pairs)} pairs are too long for the model")
    return figures, guard.requested


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
