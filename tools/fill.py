"""`graphgrad fill`: fills the gaps of a text with a trained run."""

from __future__ import annotations

import argparse
import json

from graphgrad.errors import ConfigurationError
from graphgrad.tools.opening import add_used_options, used_run
from graphgrad.tools.streams import say

HELP = "fill the gaps of a text with a trained run of bert"
DESCRIPTION = """Prints, for every [MASK] of the text, the most probable words with their
probabilities; with --json one list of them a gap.

    graphgrad fill runs/bert-001 "Return the [MASK] of the list."
    graphgrad fill runs/bert-001 "If the [MASK] is [MASK], it is raised." --top 3
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command to its parser."""
    parser.add_argument("run", help="a run folder")
    add_used_options(parser)
    parser.add_argument("text", help="a text in which each gap is [MASK]")
    parser.add_argument(
        "--top", metavar="N", type=int, default=5, help="how many words a gap (default: 5)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Fills and prints."""
    if arguments.top < 1:
        raise ConfigurationError(f"--top {arguments.top} shows nothing", fix="--top 5")
    opened = used_run(arguments)
    if opened.task.fill is None:
        raise ConfigurationError(
            f"the model {opened.model.short_name} fills no gaps", fix="use a run of bert on text"
        )
    gaps = opened.task.fill(opened.weights, arguments.text, arguments.top)
    if arguments.json:
        found = [[{"word": word, "probability": share} for word, share in gap] for gap in gaps]
        print(json.dumps(found))
        return 0
    for number, gap in enumerate(gaps, 1):
        if len(gaps) > 1:
            say(f"gap {number}")
        for word, share in gap:
            say(f"{share:6.1%}  {word}")
    return 0
