"""`graphgrad translate`: uses a trained run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from graphgrad.errors import ConfigurationError, DataError
from graphgrad.models import BUILTIN
from graphgrad.training.progress import displayable
from graphgrad.training.trainer import open_run

HELP = "translate texts with a trained run"
DESCRIPTION = """Translates the given texts, or the lines of standard input, one line for each.

    graphgrad translate runs/transformer-001 "de: Sonntag, 22. November 2026"
    graphgrad translate runs/transformer-001 < lines.txt
"""
GROUP = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("run", help="a run folder")
    parser.add_argument("text", nargs="*", help="texts to translate (default: standard input)")


def run(arguments: argparse.Namespace) -> int:
    """Prints one line for each text."""
    opened = open_run(arguments.run, BUILTIN)
    translate = opened.task.translate
    if translate is None:
        raise ConfigurationError(f"the model {opened.model.short_name} does not translate")
    for warning in opened.warnings:
        print(f"note: {warning}", file=sys.stderr)
    for group in _groups(arguments.text):
        for line in translate(opened.state, group):
            print(_shown(line), flush=True)
    return 0


def _shown(line: str) -> str:
    """The line as the output takes it; a program gets it as it is, a terminal no control codes."""
    encoding = sys.stdout.encoding or "utf-8"
    if sys.stdout.isatty():
        return displayable(line, encoding)
    return line.encode(encoding, "backslashreplace").decode(encoding)


def _groups(texts: list[str]) -> Iterator[list[str]]:
    """The texts, or the lines of standard input as they come, at most GROUP at a time."""
    if texts:
        yield texts
        return
    if sys.stdin.isatty():
        print("one text a line; Ctrl-D ends", file=sys.stderr)
    group: list[str] = []
    try:
        for line in sys.stdin:
            group.append(line.rstrip("\r\n"))
            if len(group) == GROUP or sys.stdin.isatty():
                yield group
                group = []
    except UnicodeDecodeError as problem:
        raise DataError(f"standard input is not UTF-8: {problem}") from None
    if group:
        yield group
