"""The `graphgrad` program: one file per command, each a thin layer over the package.

An error for the user is printed without a traceback, with exit code 2; so are too little memory and
an output that cannot be written. If a reader closes the output (`| head`), the program ends with
exit code 1 and no message. Any other exception is a bug and shows its traceback.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import NoReturn

import graphgrad
from graphgrad.errors import GraphgradError, RanksError, UnknownNameError
from graphgrad.text import suggestion
from graphgrad.tools import (
    average,
    bench,
    check,
    doctor,
    evaluate,
    export,
    fill,
    generate,
    guide,
    inspect,
    lens,
    new,
    patch,
    plot,
    profile,
    recipes,
    render,
    scale,
    show,
    train,
    translate,
    watch,
)
from graphgrad.tools.ranks import RANKS_LOST
from graphgrad.tools.streams import abandon, output_failure, standard_streams, tell

COMMANDS: Mapping[str, ModuleType] = {
    "train": train,
    "translate": translate,
    "generate": generate,
    "fill": fill,
    "evaluate": evaluate,
    "average": average,
    "show": show,
    "render": render,
    "watch": watch,
    "inspect": inspect,
    "patch": patch,
    "lens": lens,
    "plot": plot,
    "check": check,
    "profile": profile,
    "bench": bench,
    "scale": scale,
    "doctor": doctor,
    "guide": guide,
    "new": new,
    "export": export,
    "recipes": recipes,
}

DESCRIPTION = """graphgrad declares a model as a static graph, derives its deltas as nodes of the
same graph, optimises and compiles it, trains it, and shows the value and the delta of every node.

A first run:   graphgrad train transformer
then:          graphgrad translate runs/transformer-001 "de: Sonntag, 22. November 2026"
               graphgrad inspect runs/transformer-001 --node "decoder.0.attention.*"
               graphgrad render runs/transformer-001 --output step.html

To read:       graphgrad guide
A model of your own:  graphgrad new my_model.py
"""


class _Parser(argparse.ArgumentParser):
    """Reports errors of the command line, with control characters escaped.

    For an unknown option it names the nearest one.
    """

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        tell(f"{self.prog}: error: {message}")
        sys.exit(2)

    mixed = False
    """Whether words may stand between and behind the options."""

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse does, which takes all words from one place only."""
        if not self.mixed:
            return super().parse_known_args(args, namespace)
        self.mixed = False
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self.mixed = True

    def options(self) -> list[str]:
        """The long names of all options."""
        return [
            name
            for action in self._actions
            for name in action.option_strings
            if name.startswith("--")
        ]


def parser() -> _Parser:
    """The parser of all commands."""
    return _parsers()[0]


def _parsers() -> tuple[_Parser, Mapping[str, _Parser]]:
    """The parser of all commands, and the parser of each."""
    whole = _Parser(
        "graphgrad", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    whole.add_argument("--version", action="version", version=f"graphgrad {graphgrad.__version__}")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    each = {}
    for name, module in COMMANDS.items():
        laid_out = "\n" in module.DESCRIPTION  # else argparse fills it as one paragraph
        each[name] = commands.add_parser(
            name,
            help=module.HELP,
            description=module.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter
            if laid_out
            else argparse.HelpFormatter,
        )
        module.add_arguments(each[name])
        each[name].mixed = getattr(module, "MIXED", False)
    return whole, each


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    with standard_streams():
        try:
            try:
                return _run(sys.argv[1:] if arguments is None else arguments)
            finally:
                sys.stdout.flush()
        except OSError as error:
            failure = output_failure()
            if not isinstance(error, BrokenPipeError) and error is not failure:
                raise
            abandon(sys.stdout)
            if isinstance(error, BrokenPipeError):
                return 1
            tell(f"graphgrad: standard output cannot be written: {error.strerror or error}")
            return 2


def _run(words: Sequence[str]) -> int:
    """Parses the command line and runs the command; prints errors that are for the user."""
    whole, each = _parsers()
    if not words:
        whole.print_help()
        return 0
    if words[0] == "help":
        words = [*words[1:2], "--help"]
    command = "graphgrad"
    try:
        _check_command(words)
        chosen, unknown = whole.parse_known_args(words)
        if unknown:
            _refuse(each[chosen.command], unknown)
        command = f"graphgrad {chosen.command}"
        return int(COMMANDS[chosen.command].run(chosen))
    except GraphgradError as error:
        tell(f"{command}: {error}")
        return RANKS_LOST if isinstance(error, RanksError) else 2
    except MemoryError as error:
        tell(
            f"{command}: there is not enough memory{f': {error}' if str(error) else ''}\n"
            "  fix:   make the model or the batch smaller"
        )
        return 2
    except KeyboardInterrupt:
        tell("interrupted")
        return 130


def _check_command(words: Sequence[str]) -> None:
    """Raises UnknownNameError for an unknown command."""
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None and command not in COMMANDS:
        raise UnknownNameError(
            f"there is no command {command!r}", fix=suggestion(command, COMMANDS, "commands")
        )


def _refuse(command: _Parser, unknown: Sequence[str]) -> NoReturn:
    """Ends the program with an error about the first unknown argument."""
    word = unknown[0]
    if word.startswith("--"):
        name = word.partition("=")[0]
        command.error(
            f"there is no option {name}; {suggestion(name, command.options(), 'options')}"
        )
    command.error(f"unrecognized arguments: {' '.join(unknown)}")


if __name__ == "__main__":
    sys.exit(main())
