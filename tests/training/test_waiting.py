"""What a person who waits is told, and when."""

from __future__ import annotations

import io

import pytest

from graphgrad.decoding import Stopped
from graphgrad.training.waiting import Waiting


class Terminal(io.StringIO):
    def isatty(self):
        return True


def said(stream, moments, environment=None, **others):
    """What the stream holds after these (time, stage, done, total)."""
    clock = [0.0]
    with Waiting(
        stream, clock=lambda: clock[0], environment=environment or {}, **others
    ) as waiting:
        for clock[0], stage, done, total in moments:
            waiting(stage, done, total)
    return stream.getvalue()


def test_what_is_quick_says_nothing():
    moments = [(0.1, "loss", 5, 10), (1.0, "loss", 10, 10), (1.9, "translated", 4, 10)]
    assert said(io.StringIO(), moments) == "" == said(Terminal(), moments)


def test_a_pipe_gets_a_line_every_ten_seconds():
    moments = [(float(second), "translated", 10 * second, 1000) for second in range(31)]
    assert said(io.StringIO(), moments).splitlines() == [
        "translated 100/1000  left 1:30",
        "translated 200/1000  left 1:20",
        "translated 300/1000  left 1:10",
    ]


def test_a_terminal_has_one_line_that_changes_and_goes():
    moments = [(0.0, "loss", 0, 8), (2.0, "loss", 4, 8), (2.1, "loss", 5, 8), (4.0, "loss", 8, 8)]
    text = said(Terminal(), moments)
    assert text == "\r\x1b[Kloss 4/8  left 0:02\r\x1b[Kloss 8/8\r\x1b[K"
    assert "\x1b" not in said(Terminal(), moments, {"NO_COLOR": "1"})


def test_the_time_left_is_that_of_the_stage():
    moments = [(0.0, "loss", 0, 10), (50.0, "loss", 10, 10), (51.0, "translated", 0, 10)]
    text = said(io.StringIO(), [*moments, (61.0, "translated", 5, 10)])
    assert text.splitlines() == ["loss 10/10", "translated 5/10  left 0:10"]


def test_who_listens_gets_lines_and_who_stops_it_is_heard():
    lines = []
    assert said(Terminal(), [(3.0, "loss", 1, 2)], say=lines.append) == ""
    assert lines == ["loss 1/2"]

    def stop():
        raise Stopped

    with pytest.raises(Stopped):
        said(io.StringIO(), [(0.1, "loss", 1, 2)], stopped=stop)


def test_an_output_that_is_gone_ends_nothing():
    stream = io.StringIO()
    clock = [0.0]
    with Waiting(stream, clock=lambda: clock[0], environment={}) as waiting:
        stream.close()
        for clock[0] in (5.0, 20.0):
            waiting("loss", 1, 2)
