"""`graphgrad translate`: uses a trained run."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from graphgrad.data.lines import LineCutter, decode_line
from graphgrad.errors import ConfigurationError, DataError
from graphgrad.text import displayable
from graphgrad.tools.opening import add_model_option, run_of
from graphgrad.tools.streams import tell

HELP = "translate texts with a trained run"
DESCRIPTION = """Translates the given texts, or the lines of standard input as they arrive, one line
for each: UTF-8, plain or gzip. A blank line stays blank. A line that cannot be translated (too
long, no UTF-8) gives an empty one, is named on standard error, and makes the exit code 2.

    graphgrad translate runs/transformer-001 "de: Sonntag, 22. November 2026"
    graphgrad translate runs/transformer-001 < lines.txt
"""
GROUP = 200
_PIECE = 1 << 16  # bytes read at a time, at most

Translate = Callable[[Sequence[str]], list[str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("run", help="a run folder")
    add_model_option(parser)
    parser.add_argument("text", nargs="*", help="texts to translate (default: standard input)")


def run(arguments: argparse.Namespace) -> int:
    """Prints one line for each text; 2 where one could not be translated."""
    opened = run_of(arguments.run, model_file=arguments.model_file)
    if opened.task.translate is None:
        raise ConfigurationError(
            f"the model {opened.model.short_name} does not translate",
            fix="use a run of the transformer",
        )
    work = _Work(partial(opened.task.translate, opened.state))
    if arguments.text:
        work.show("text", [_bytes_of(text) for text in arguments.text])
    else:
        for lines in _arriving():
            work.show("line", lines)
    return 2 if work.failed else 0


@dataclass
class _Work:
    """Texts to lines of output, in order; each that fails is told, with its number."""

    translate: Translate
    done: int = 0
    failed: int = 0
    _problems: dict[int, DataError] = field(default_factory=dict)

    def show(self, what: str, texts: Sequence[bytes]) -> None:
        """Translates and prints some more texts; `what` is what one of them is called."""
        for start in range(0, len(texts), GROUP):
            group = [
                self._decoded(text, self.done + place)
                for place, text in enumerate(texts[start : start + GROUP], 1)
            ]
            translated = self._translated(group, self.done + 1)
            for number, line in enumerate(translated, self.done + 1):
                print(_shown(line), flush=True)
                if number in self._problems:
                    problem = self._problems.pop(number)
                    tell(f"graphgrad translate: {what} {number}: {problem}")
                    self.failed += 1
            self.done += len(group)

    def _decoded(self, text: bytes, number: int) -> str:
        try:
            return decode_line(text)
        except DataError as problem:
            self._problems[number] = problem
            return ""

    def _translated(self, texts: list[str], first: int) -> list[str]:
        """One line for each text; halved until what cannot be translated stands alone."""
        try:
            return self.translate(texts)
        except DataError as problem:
            if len(texts) == 1:
                self._problems[first] = problem
                return [""]
        half = len(texts) // 2
        return [
            *self._translated(texts[:half], first),
            *self._translated(texts[half:], first + half),
        ]


def _bytes_of(argument: str) -> bytes:
    """A word of the command line as it was typed, where the locale could not read it."""
    try:
        return argument.encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(argument)


def _shown(line: str) -> str:
    """The line as the output takes it; a program gets it as it is, a terminal no control codes."""
    encoding = sys.stdout.encoding or "utf-8"
    if sys.stdout.isatty():
        return displayable(line, encoding)
    return line.encode(encoding, "backslashreplace").decode(encoding)


def _arriving() -> Iterator[list[bytes]]:
    """The lines of standard input, each as soon as its last byte is there."""
    if sys.stdin.isatty():
        tell("one text a line; Ctrl-D ends")
    cutter = LineCutter()
    while piece := _read():
        yield cutter.feed(piece)
    yield cutter.end()


def _read() -> bytes:
    """What standard input holds by now, at least a byte; nothing at its end."""
    try:
        return sys.stdin.buffer.read1(_PIECE)
    except OSError as error:
        problem = f"standard input cannot be read: {error.strerror or error}"
        raise DataError(problem, fix="give texts as words, or lines with `< FILE`") from None
