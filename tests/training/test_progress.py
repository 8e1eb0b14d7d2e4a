"""What the terminal shows: exact wording, plain where it must be, data only as text."""

import dataclasses
import io
import os
import pty
import re
import threading

import pytest

from graphgrad.training.progress import (
    Progress,
    SpeedMeter,
    Status,
    format_count,
    format_details,
    format_duration,
    format_line,
    format_loss,
    wants_bar,
)

EVIL = "[red]Ein Mann[/red] [/] :smile: [link=x]\x1b[31m\x07\r中文 ü"
SHOWN = r"[red]Ein Mann[/red] [/] :smile: [link=x]\x1b[31m\x07\x0d中文 ü"


class Clock:
    """Seconds that pass only when told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def plain(text):
    """`text` without the control sequences of the bar."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (950, "950"),
        (999.4, "999"),
        (999.6, "1.0k"),
        (12_400, "12.4k"),
        (999_940, "999.9k"),
        (999_960, "1.0M"),
        (3_100_000, "3.1M"),
        (2e9, "2.0G"),
        (float("inf"), "?"),
        (float("nan"), "?"),
    ],
)
def test_counts(number, text):
    assert format_count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (9.6, "0:10"),
        (59.7, "1:00"),
        (370, "6:10"),
        (3599.6, "1:00:00"),
        (3725, "1:02:05"),
        (2 * 86400 + 3 * 3600 + 240, "2d 03:04"),
        (-1, "?"),
        (float("nan"), "?"),
        (float("inf"), "?"),
    ],
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text


def test_the_line():
    status = Status(1200, 8000, loss=2.4131, rate=4.1e-3, speed=12_400, left=370)
    expected = "step 1200/8000  loss 2.413  learning rate 4.1e-03  12.4k examples/s  left 6:10"
    assert format_line(status) == expected
    in_tokens = dataclasses.replace(status, unit="tokens")
    assert format_line(in_tokens) == expected.replace("examples", "tokens")
    assert format_line(Status(1, 2)) == "step 1/2"
    assert format_line(Status(1, 2, loss=float("nan"))) == "step 1/2  loss nan"
    assert format_details(Status(1, 2, elapsed=61, left=5)) == "elapsed 1:01  left 0:05"


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (2.4131, "2.413"),
        (44.554, "44.554"),
        (1234.5678, "1234.568"),
        (0.5, "0.500"),
        (0.0123456, "0.0123"),
        (0.000612, "0.000612"),
        (3.4e-7, "3.40e-07"),
        (-0.0004, "-0.000400"),
        (0.0, "0"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
    ],
)
def test_a_loss_has_three_digits_however_small_it_is(loss, text):
    assert format_loss(loss) == text


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, True),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, True),
        ({"NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({"TERM": "unknown"}, False),
    ],
)
def test_a_bar_needs_a_willing_terminal(environment, wanted):
    assert wants_bar(Terminal(), environment) is wanted
    assert wants_bar(io.StringIO(), environment) is False


def test_speed_is_that_of_the_last_half_minute():
    meter = SpeedMeter()
    assert meter.speed() == (None, None)
    meter.add(40.0, 11, 400)  # the first step, in which a program is compiled
    assert meter.speed() == (None, None)
    meter.add(41.0, 13, 300)
    assert meter.speed() == (2.0, 300.0)
    meter.add(61.0, 14, 300)  # a slow one
    assert meter.speed() == (3 / 21, 600 / 21)
    meter = SpeedMeter()
    meter.add(40.0, 11, 400)
    for second in range(1, 61):
        meter.add(40.0 + second, 11 + 2 * second, 300)
    assert meter.speed() == (2.0, 300.0)


def test_speed_without_progress_or_tokens_is_unknown():
    meter = SpeedMeter()
    meter.add(1.0, 6, 100)
    meter.add(1.0, 6, 100)
    assert meter.speed() == (None, None)  # no time has passed
    meter.add(2.0, 5, 0)
    assert meter.speed()[0] is None
    meter = SpeedMeter()
    meter.add(0.0, 0, 0)
    meter.add(1.0, 1, 0)
    assert meter.speed() == (1.0, None)


def test_plain_lines_come_every_so_often_and_at_the_end():
    stream, clock = io.StringIO(), Clock()
    with Progress(100, stream=stream, every=10, clock=clock) as progress:
        for step in range(1, 101):
            clock.now += 0.25
            progress.update(step, 1.5, 1e-3, 30, "tokens")
    lines = stream.getvalue().splitlines()
    steps = [int(re.match(r"step (\d+)/100  loss 1\.500", line)[1]) for line in lines]
    assert steps == [1, 41, 81, 100]
    expected = "step 41/100  loss 1.500  learning rate 1.0e-03  120 tokens/s  left 0:15"
    assert lines[1] == expected
    assert lines[-1].endswith("left 0:00")


def test_a_resumed_run_judges_the_time_by_its_own_steps():
    stream, clock = io.StringIO(), Clock()
    with Progress(200, start=100, stream=stream, clock=clock) as progress:
        progress.update(101, 1.0)
        clock.now += 10
        progress.update(110, 1.0)
    assert stream.getvalue() == "step 101/200  loss 1.000\nstep 110/200  loss 1.000  left 1:40\n"


def test_messages_show_data_as_text_when_plain():
    stream = io.StringIO()
    with Progress(10, stream=stream) as progress:
        progress.message(EVIL + "\nzwei")
    assert stream.getvalue() == SHOWN + "\nzwei\n"


def test_messages_show_data_as_text_above_the_bar():
    stream, clock = Terminal(), Clock()
    with Progress(10, stream=stream, bar=True, clock=clock) as progress:
        progress.update(1, 2.0, 1e-3, 5)
        progress.message(EVIL)
    output = stream.getvalue()
    assert SHOWN in output
    assert "\x1b[31m\x07" not in output and "😄" not in output


def test_long_messages_are_not_cut_or_wrapped_by_us():
    stream = Terminal()
    text = "wort " * 60
    with Progress(10, stream=stream, bar=True) as progress:
        progress.message(text)
    assert text in stream.getvalue()


def test_the_bar_shows_the_numbers_and_spares_redraws():
    stream, clock = Terminal(), Clock()
    with Progress(1000, stream=stream, bar=True, clock=clock) as progress:
        progress._bar.console.width = 100
        for step in range(1, 1001):
            clock.now += 0.01
            progress.update(step, 2.4131, 4.1e-3, 124, "tokens")
    shown = plain(stream.getvalue())
    assert "1000/1000  loss 2.413  learning rate 4.1e-03  12.4k tokens/s" in shown
    assert 90 <= shown.count("loss") <= 120


def test_a_narrow_terminal_gets_one_line():
    stream = Terminal()
    with Progress(1000, stream=stream, bar=True) as progress:
        progress._bar.console.width = 40
        progress.update(1, 2.4131, 4.1e-3, 124)
        progress._bar.refresh()
        assert "\n" not in stream.getvalue()


def test_the_cursor_comes_back_after_an_error():
    stream = Terminal()
    with pytest.raises(KeyboardInterrupt), Progress(10, stream=stream, bar=True):
        raise KeyboardInterrupt
    output = stream.getvalue()
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l")


class Broken(io.StringIO):
    """A pipe whose reader has gone."""

    attempts = 0

    def write(self, text):
        self.attempts += 1
        raise BrokenPipeError


def test_a_closed_output_silences_and_does_not_end_the_run():
    stream = Broken()
    with Progress(3, stream=stream, every=0) as progress:
        for step in range(1, 4):
            progress.update(step, 1.0)
        progress.message("x")
    assert stream.attempts == 1
    assert isinstance(progress.failure, BrokenPipeError)


def test_a_closed_stream_is_no_crash():
    stream = io.StringIO()
    with Progress(3, stream=stream, every=0) as progress:
        stream.close()
        progress.update(1, 1.0)


def test_a_real_terminal_gets_a_bar_and_a_pipe_does_not(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    outputs = []
    for leader, follower in (pty.openpty(), os.pipe()):
        collected = []
        reader = threading.Thread(target=drain, args=(leader, collected))
        reader.start()
        with (
            os.fdopen(follower, "w", encoding="utf-8") as stream,
            Progress(2, stream=stream, every=0) as progress,
        ):
            progress.update(1, 1.0)
            progress.message("[b]Hallo[/b]")
            progress.update(2, 0.5)
        reader.join()
        outputs.append(b"".join(collected).decode())
    assert "\x1b[?25l" in outputs[0] and "[b]Hallo[/b]" in outputs[0]
    assert "\x1b" not in outputs[1] and "\r" not in outputs[1]
    assert outputs[1].splitlines()[1] == "[b]Hallo[/b]"


def drain(descriptor, pieces):
    try:
        while piece := os.read(descriptor, 4096):
            pieces.append(piece)
    except OSError:
        pass  # a terminal whose other side closed ends this way
    finally:
        os.close(descriptor)
