"""`graphgrad generate`: continues a text with a trained run."""

from __future__ import annotations

import argparse
import sys

from graphgrad.decoding import Options
from graphgrad.errors import ConfigurationError
from graphgrad.tools.opening import add_used_options, used_run
from graphgrad.training.progress import displayable

HELP = "continue a text with a trained run of gpt"
DESCRIPTION = """Prints the prompt and what the model writes after it, token by token as it comes,
until it ends its document or has written LENGTH tokens. Without a prompt it begins a new document.
The same run, prompt and options give the same text.

    graphgrad generate runs/gpt-001
    graphgrad generate runs/gpt-001 "def main(" --length 300 --temperature 0.8 --top-k 40
    graphgrad generate runs/gpt-001 "import " --temperature 0
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command to its parser."""
    parser.add_argument("run", help="a run folder")
    add_used_options(parser)
    parser.add_argument(
        "prompt", nargs="?", default="", help="the text to continue (default: none)"
    )
    parser.add_argument(
        "--length", metavar="N", type=int, help="how many tokens at most (default: 200)"
    )
    parser.add_argument(
        "--temperature",
        metavar="T",
        type=float,
        default=1.0,
        help="below 1 the likely becomes likelier; 0 always takes the most probable token "
        "(default: 1)",
    )
    parser.add_argument(
        "--top-k", metavar="K", type=int, default=0, help="draw from the K most probable tokens"
    )
    parser.add_argument(
        "--top-p",
        metavar="P",
        type=float,
        default=1.0,
        help="draw from the most probable tokens that have the probability P together",
    )
    parser.add_argument(
        "--no-repeat",
        metavar="N",
        type=int,
        default=0,
        help="never write N tokens in a row twice (default: 0, no limit)",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=int,
        default=0,
        help="what is drawn follows from it (default: 0)",
    )
    parser.add_argument(
        "--samples",
        metavar="N",
        type=int,
        default=1,
        help="so many texts, of this seed and the next ones, each behind a line of ---",
    )


def run(arguments: argparse.Namespace) -> int:
    """Generates and prints."""
    if arguments.length is not None and arguments.length < 1:
        raise ConfigurationError(f"--length {arguments.length} writes nothing", fix="--length 200")
    if arguments.samples < 1:
        raise ConfigurationError(f"--samples {arguments.samples} writes none", fix="--samples 1")
    options = [
        Options(
            temperature=arguments.temperature,
            top_k=arguments.top_k,
            top_p=arguments.top_p,
            no_repeat=arguments.no_repeat,
            seed=arguments.seed + number,
        )
        for number in range(arguments.samples)
    ]
    opened = used_run(arguments)
    if opened.task.generate is None:
        raise ConfigurationError(
            f"the model {opened.model.short_name} does not continue a text", fix="use a run of gpt"
        )
    for number, chosen in enumerate(options):
        if number:
            print("---")
        _write(arguments.prompt)
        for piece in opened.task.generate(
            opened.weights, arguments.prompt, chosen, arguments.length
        ):
            _write(piece)
        print(flush=True)
    return 0


def _write(piece: str) -> None:
    """A piece of text, at once; a terminal gets no control codes but line feeds."""
    encoding = sys.stdout.encoding or "utf-8"
    if sys.stdout.isatty():
        piece = "\n".join(displayable(line, encoding) for line in piece.split("\n"))
    print(piece.encode(encoding, "backslashreplace").decode(encoding), end="", flush=True)
