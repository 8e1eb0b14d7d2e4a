"""The `graphgrad` program: one command a file, each thin over the package.

An error that is meant for the user is printed without a traceback, with exit code 2. Anything else
is a bug and shows its traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

import graphgrad
from graphgrad.errors import GraphgradError
from graphgrad.tools import (
    bench,
    check,
    doctor,
    evaluate,
    inspect,
    plot,
    profile,
    render,
    train,
    translate,
)
from graphgrad.training.files import show_controls

COMMANDS: Mapping[str, ModuleType] = {
    "train": train,
    "translate": translate,
    "evaluate": evaluate,
    "render": render,
    "inspect": inspect,
    "plot": plot,
    "check": check,
    "profile": profile,
    "bench": bench,
    "doctor": doctor,
}

DESCRIPTION = """graphgrad declares a model as a static graph, derives its deltas as nodes of the
same graph, optimises and compiles it, trains it, and shows the value and the delta of every node.

A first run:   graphgrad train transformer
then:          graphgrad translate runs/transformer-001 "de: Sonntag, 22. November 2026"
               graphgrad inspect runs/transformer-001 --node "decoder.0.attention.*"
               graphgrad render runs/transformer-001 --output step.html
"""


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    whole = argparse.ArgumentParser(
        "graphgrad", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    whole.add_argument("--version", action="version", version=f"graphgrad {graphgrad.__version__}")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        laid_out = "\n" in module.DESCRIPTION  # else it is one paragraph, to be filled
        command = commands.add_parser(
            name, help=module.HELP, description=module.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter if laid_out
            else argparse.HelpFormatter,
        )  # fmt: skip
        module.add_arguments(command)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code."""
    chosen = parser().parse_args(arguments)
    try:
        return int(COMMANDS[chosen.command].run(chosen))
    except GraphgradError as error:
        print(f"graphgrad {chosen.command}: {show_controls(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader went away; Python would complain again when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
