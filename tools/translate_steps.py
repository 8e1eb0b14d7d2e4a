"""`graphgrad translate --steps`: each token of a translation with the most probable ones."""

from __future__ import annotations

from collections.abc import Sequence

from graphgrad.decoding import Options
from graphgrad.errors import ConfigurationError
from graphgrad.lecture import Table
from graphgrad.lecture.decoding import distribution, prompts_of
from graphgrad.lecture.terminal import table_lines
from graphgrad.text import printable
from graphgrad.tools.streams import say
from graphgrad.training.runs import OpenRun

COUNT = 5
"""The tokens of a step that are printed, the most probable first."""


def show_steps(opened: OpenRun, texts: Sequence[str], options: Options) -> int:
    """Prints the steps of greedy decoding of each text, with log-probabilities."""
    if options != Options():
        raise ConfigurationError(
            "--steps shows greedy decoding", fix="leave the other options of decoding out"
        )
    if not texts:
        raise ConfigurationError(
            "--steps needs a text", fix='graphgrad translate RUN --steps "a text"'
        )
    for text in texts:
        for line in _lines(opened, text):
            say(line)
    return 0


def _lines(opened: OpenRun, text: str) -> list[str]:
    run, prompts = prompts_of(opened, text)
    answer = prompts.answer(run.state, text)
    found = distribution(run, prompts, text, answer)
    rows = []
    for place, token in enumerate(found.given):
        best = [
            f"{_visible(prompts.token(number))} {log:.2f}"
            for number, log in found.top(place, COUNT)
        ]
        given = _visible(prompts.token(found.wanted[place]))
        rows.append([str(place), _visible(prompts.token(token)), given, *best])
    headings = ("step", "read", "given", *(f"{n}." for n in range(1, len(rows[0]) - 2)))
    table = Table(headings, rows, "the most probable tokens, with their log-probabilities", 9)
    return [f"{printable(text)}  →  {printable(answer)}", *table_lines(table), ""]


def _visible(token: str) -> str:
    return token.replace(" ", "␣") or "∅"
