"""`graphgrad translate`: uses a trained run."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from graphgrad.data.lines import LineCutter, decode_line
from graphgrad.decoding import Options, Stopped
from graphgrad.errors import ConfigurationError, DataError
from graphgrad.text import displayable
from graphgrad.tools.decoding import add_decoding_options, options_of, waited_for
from graphgrad.tools.opening import add_used_options, used_run
from graphgrad.tools.streams import tell
from graphgrad.tools.translate_steps import show_steps
from graphgrad.training.runs import OpenRun
from graphgrad.training.task import Rendering

HELP = "translate texts with a trained run"
DESCRIPTION = """Translates the given texts, or the lines of standard input as they arrive, one line
for each: UTF-8, plain or gzip. A blank line stays blank. A line that cannot be translated (too
long, no UTF-8) gives an empty one, is named on standard error, and makes the exit code 2.

    graphgrad translate runs/transformer-001 "de: Sonntag, 22. November 2026"
    graphgrad translate runs/transformer-001 --beam 5 < lines.txt

--steps prints token by token what the decoder reads, and the five most probable tokens with their
log-probabilities. (Padding and <bos> are never given.)

With --scores a line is the score (nan where there is no translation), a tab and the text; with
--n-best N each text has up to N lines, each its rank, the score and the text. Ctrl-C prints
what is done.
"""
MIXED = True
"""Texts may stand behind the options."""
GROUP = 1000
"""How many lines are sorted by length and translated together, where so many are there."""
_PIECE = 1 << 16  # bytes read at a time, at most

Translate = Callable[[Sequence[str], int], list[str]]
"""Texts, and the number of the first, to what is printed for each: a line, or several with line
feeds between them."""


class _Cut(Exception):
    """Ctrl-C came; `found` is what had been translated by then, by the places of the texts."""

    def __init__(self, found: Mapping[int, str]) -> None:
        super().__init__()
        self.found = found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("run", help="a run folder")
    add_used_options(parser)
    parser.add_argument("text", nargs="*", help="texts to translate (default: standard input)")
    parser.add_argument("--scores", action="store_true", help="print the score of each line, too")
    parser.add_argument(
        "--n-best",
        type=int,
        default=1,
        metavar="N",
        help="print the N best of the beam, with their ranks and scores",
    )
    parser.add_argument(
        "--steps",
        action="store_true",
        help="print each step of greedy decoding with the five most probable tokens",
    )
    add_decoding_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints what each text becomes; 2 where one could not be translated, 130 where it was
    interrupted."""
    options = options_of(arguments, arguments.n_best, arguments.scores)
    opened = used_run(arguments)
    if opened.task.translate is None:
        raise ConfigurationError(
            f"the model {opened.model.short_name} does not translate",
            fix="use a run of the transformer",
        )
    if arguments.steps:
        return show_steps(opened, arguments.text, options)
    work = _Work(_translate_of(opened, options))
    if arguments.text:
        work.show("text", [_bytes_of(text) for text in arguments.text])
    else:
        for lines in _arriving():
            work.show("line", lines)
            if work.interrupted:
                break
    return 130 if work.interrupted else 2 if work.failed else 0


def _translate_of(opened: OpenRun, options: Options) -> Translate:
    """Texts to lines by the run's own model, with the options where it takes any."""
    task = opened.task
    if task.translations is None:
        if options != Options():
            raise ConfigurationError(
                f"the model {opened.model.short_name} translates in its own way only",
                fix="leave the options of decoding out",
            )
        own = task.translate
        assert own is not None
        return lambda texts, first: own(opened.weights, texts)
    translations = task.translations

    def translate(texts: Sequence[str], first: int) -> list[str]:
        found: dict[int, str] = {}
        with waited_for() as (waiting, _):
            watch = partial(waiting, "translated")
            try:
                for place, renderings in translations(opened.weights, texts, options, watch, first):
                    found[place] = _lines_of(renderings, options)
            except Stopped:
                raise _Cut(found) from None
        return [found[place] for place in range(len(texts))]

    return translate


def _lines_of(renderings: Sequence[Rendering], options: Options) -> str:
    if options.n_best > 1:
        ranked = enumerate(renderings, 1)
        return "\n".join(f"{rank}\t{each.score:.4f}\t{each.text}" for rank, each in ranked)
    best = renderings[0]
    return f"{best.score:.4f}\t{best.text}" if options.scores else best.text


@dataclass
class _Work:
    """Texts to lines of output, in order; each that fails is told, with its number."""

    translate: Translate
    done: int = 0
    failed: int = 0
    interrupted: bool = False
    _problems: dict[int, DataError] = field(default_factory=dict)

    def show(self, what: str, texts: Sequence[bytes]) -> None:
        """Translates and prints some more texts; `what` is what one of them is called."""
        for start in range(0, len(texts), GROUP):
            group = [
                self._decoded(text, self.done + place)
                for place, text in enumerate(texts[start : start + GROUP], 1)
            ]
            translated = self._translated(group, self.done + 1)
            if self.interrupted:
                translated = self._cut(what, translated, len(texts) - start)
            for number, lines in enumerate(translated, self.done + 1):
                for line in lines.split("\n"):
                    print(_shown(line), flush=True)
                if number in self._problems:
                    problem = self._problems.pop(number)
                    tell(f"graphgrad translate: {what} {number}: {problem}")
                    self.failed += 1
            self.done += len(group)
            if self.interrupted:
                return

    def _cut(self, what: str, translated: Sequence[str | None], left: int) -> list[str]:
        """What stands before the last that is done; of a gap there the user is told."""
        last = max((place for place, line in enumerate(translated) if line is not None), default=-1)
        missing = [str(self.done + place + 1) for place in range(last) if translated[place] is None]
        blank = f"; blank, as they are not done: {what} {', '.join(missing)}" if missing else ""
        tell(f"interrupted after {self.done + last + 1} of {self.done + left} {what}s{blank}")
        return [line or "" for line in translated[: last + 1]]

    def _decoded(self, text: bytes, number: int) -> str:
        try:
            return decode_line(text)
        except DataError as problem:
            self._problems[number] = problem
            return ""

    def _translated(self, texts: list[str], first: int) -> list[str | None]:
        """What each text becomes; halved until what cannot be translated stands alone. None where
        Ctrl-C came before."""
        if self.interrupted:
            return [None] * len(texts)
        try:
            return list(self.translate(texts, first))
        except _Cut as cut:
            self.interrupted = True
            return [cut.found.get(place) for place in range(len(texts))]
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
