"""`graphgrad lens`: what each layer's value, and its delta, says in the vocabulary."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from graphgrad.errors import ConfigurationError
from graphgrad.interpret import BackwardReading, Reading, backward_lens, logit_lens
from graphgrad.strict_json import format_json
from graphgrad.text import printable
from graphgrad.tools.opening import need_text, prompts_of, run_of
from graphgrad.tools.options import CHECKPOINT_OPTION, MODEL_OPTION, Option, add_options
from graphgrad.tools.streams import say, write_document
from graphgrad.tools.tables import Table, print_table
from graphgrad.training.prompts import Prompts

HELP = "read the value and the delta of each layer of a run in the words of its vocabulary"
DESCRIPTION = """Prints the most probable tokens as they would be if the model ended after each of
its layers (logit lens), position by position; the last row is the model's own. With --backward it
prints -δ · Wᵀ of each layer, W the matrix of the output layer: the tokens that a step against the
gradient would move the layer's value towards, and away from. The answer whose positions are shown,
and whose loss the deltas are of, is the model's own unless --target gives one.

    graphgrad lens runs/transformer-001 "de: Sonntag, 22. November 2026"
    graphgrad lens runs/gpt-001 "def f(self" --target ", x)" --backward
    graphgrad lens runs/transformer-001 "de: 1. Mai 1992" --position 3 --top 8
"""

OPTIONS = (
    Option("run", help="a run folder"),
    MODEL_OPTION,
    CHECKPOINT_OPTION,
    Option("text", help="what the model reads"),
    Option("--target", metavar="TEXT", help="the answer (default: the model's own)"),
    Option("--backward", action="store_true", help="read the deltas instead of the values"),
    Option("--position", type=int, metavar="N", help="only this position, with --top tokens"),
    Option("--top", type=int, metavar="N", default=5, help="tokens of a position (%(default)s)"),
    Option(
        "--node",
        metavar="NAME",
        action="append",
        default=[],
        help="read these values instead of the layers' ends, the last of which the output reads",
    ),
    Option("--json", action="store_true", help="print one JSON object"),
)
_COLUMNS = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command to its parser."""
    add_options(parser, OPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Computes and prints the readings."""
    if arguments.top < 1:
        raise ConfigurationError(f"--top {arguments.top} shows nothing", fix="--top 5")
    opened = run_of(arguments.run, model_file=arguments.model_file, checkpoint=arguments.checkpoint)
    prompts = prompts_of(opened, "gg.logit_lens")
    need_text("the text", arguments.text)
    answer = arguments.target
    if answer is None:
        answer = prompts.answer(opened.state, arguments.text)
    feeds = prompts.feeds([arguments.text], answer)
    lens = backward_lens if arguments.backward else logit_lens
    readings: Sequence[Reading | BackwardReading] = lens(prompts.graph, arguments.node)(
        opened.state, feeds
    )
    places = _places(readings[-1], arguments.position)
    if arguments.json:
        document = _document(arguments, answer, prompts, readings, places)
        write_document(format_json(document, "the readings") + "\n")
        return 0
    say(f"answer: {printable(answer)}")
    say("")
    if arguments.position is None:
        print_table(_overview(prompts, readings, places))
    else:
        for line in _details(prompts, readings, arguments):
            say(line)
    return 0


def _places(reading: Reading | BackwardReading, position: int | None) -> list[int]:
    """The positions that are shown: one, or all. ConfigurationError for one that is not there."""
    array = reading.logits if isinstance(reading, Reading) else reading.directions
    count = array.shape[1]
    if position is None:
        return list(range(count))
    if not 0 <= position < count:
        raise ConfigurationError(
            f"--position {position}: there are {count} positions", fix=f"0 to {count - 1}"
        )
    return [position]


def _token(prompts: Prompts, number: int) -> str:
    return printable(prompts.token(number).replace("\n", "⏎").replace(" ", "␣"))


def _overview(
    prompts: Prompts, readings: Sequence[Reading | BackwardReading], places: Sequence[int]
) -> Table:
    """The first token of each layer at the last positions."""
    shown = places[-_COLUMNS:]
    rows = [
        (reading.name, *(_token(prompts, reading.top((0, n), 1)[0].token) for n in shown))
        for reading in readings
    ]
    return Table(("layer", *(str(place) for place in shown)), rows)


def _details(
    prompts: Prompts,
    readings: Sequence[Reading | BackwardReading],
    arguments: argparse.Namespace,
) -> Iterator[str]:
    place = (0, arguments.position)
    for reading in readings:
        yield printable(reading.name)
        if isinstance(reading, Reading):
            for word in reading.top(place, arguments.top):
                yield f"  {word.value:6.1%}  {_token(prompts, word.token)}"
            continue
        for title, words in (
            ("towards", reading.top(place, arguments.top)),
            ("away from", reading.bottom(place, arguments.top)),
        ):
            listed = "  ".join(f"{_token(prompts, word.token)} {word.value:.2g}" for word in words)
            yield f"  {title:<10}{listed}"


def _document(
    arguments: argparse.Namespace,
    answer: str,
    prompts: Prompts,
    readings: Sequence[Reading | BackwardReading],
    places: Sequence[int],
) -> dict[str, Any]:
    def listed(reading: Reading | BackwardReading, place: int) -> list[dict[str, Any]]:
        words = reading.top((0, place), arguments.top)
        return [{"token": prompts.token(word.token), "value": word.value} for word in words]

    return {
        "run": arguments.run,
        "text": arguments.text,
        "target": answer,
        "lens": "backward" if arguments.backward else "logit",
        "layers": [
            {
                "node": reading.name,
                "positions": [{"position": n, "tokens": listed(reading, n)} for n in places],
            }
            for reading in readings
        ],
    }
