"""The program as a whole: its help, its exit codes, and one clear error for every mistake."""

import os
import subprocess
import sys

import numpy as np
import pytest

import graphgrad
from graphgrad.tools.main import COMMANDS, main, parser


def real(*arguments, text=None, **environment):
    """The program as a person runs it."""
    return subprocess.run(
        [sys.executable, "-m", "graphgrad.tools.main", *arguments],
        text=True,
        input=text,
        capture_output=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_help_shows_every_command_and_a_first_step(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for name, module in COMMANDS.items():
        assert f"    {name}" in text
        assert module.HELP.split()[0] in text
    assert "graphgrad train transformer" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_that_fits_the_terminal(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: graphgrad {name}" in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"graphgrad {graphgrad.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["translate"], "run"),
        (["train", "--sets"], "there is no option --sets; did you mean '--set'?"),
        (["train", "--epochs=3"], "there is no option --epochs; options: --"),
        (["evaluate", "a", "b\x1b[31m"], "unrecognized arguments: b\\x1b[31m"),
        (["plot", "a", "--what", "\x1b[31m"], "'\\x1b[31m'"),
        (["--versoin"], "required: COMMAND"),
    ],
)
def test_what_the_parser_does_not_know_ends_with_two(arguments, named, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.startswith("usage: graphgrad") and named in captured.err
    assert "\x1b" not in captured.err


@pytest.mark.parametrize(
    ("word", "fix"),
    [
        ("trian", "did you mean 'train'?"),
        ("Train", "did you mean 'train'?"),
        ("evalute", "did you mean 'evaluate'?"),
        ("draw", f"commands: {', '.join(COMMANDS)}"),
        ("no\x1b[31m", "commands: train"),
    ],
)
def test_a_command_that_there_is_not_gets_the_nearest_or_all(word, fix, capsys):
    assert main([word, "transformer", "--set", "steps=1"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("graphgrad: there is no command ")
    assert f"fix:   {fix}" in captured.err and "\x1b" not in captured.err
    assert not captured.out


def test_alone_it_shows_its_help(capsys):
    assert main([]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("usage: graphgrad") and "first run" in captured.out
    assert not captured.err


@pytest.mark.parametrize(("words", "usage"), [(["help"], "graphgrad"), (["help", "plot"], "plot")])
def test_help_is_a_word_too(words, usage, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    assert usage in capsys.readouterr().out.splitlines()[0]


def test_too_little_memory_is_one_error(capsys, monkeypatch):
    def hungry(arguments):
        return np.empty(2**58)

    monkeypatch.setattr(COMMANDS["evaluate"], "run", hungry)
    assert main(["evaluate", "a"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("graphgrad evaluate: there is not enough memory: Unable to allocate")
    assert "fix:" in error


@pytest.mark.parametrize("error", [OSError(28, "No space left"), FileNotFoundError(2, "none")])
def test_a_fault_of_another_file_is_not_taken_for_that_of_the_output(monkeypatch, error):
    def broken(arguments):
        raise error

    monkeypatch.setattr(COMMANDS["evaluate"], "run", broken)
    with pytest.raises(OSError, match=error.strerror):
        main(["evaluate", "a"])


def test_an_interrupt_ends_with_130(capsys, monkeypatch):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(COMMANDS["evaluate"], "run", interrupted)
    assert main(["evaluate", "a"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_bug_keeps_its_traceback(monkeypatch):
    def broken(arguments):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(COMMANDS["evaluate"], "run", broken)
    with pytest.raises(ZeroDivisionError):
        main(["evaluate", "a"])


def test_no_control_character_of_a_name_reaches_the_terminal(capsys):
    assert main(["evaluate", "no\x1b[31mrun"]) == 2
    error = capsys.readouterr().err
    assert "\x1b" not in error and "no\\x1b[31mrun" in error


def test_a_real_process_prints_one_error_and_no_traceback(tmp_path):
    done = real("evaluate", str(tmp_path / "none"))
    assert done.returncode == 2
    assert not done.stdout
    assert done.stderr.startswith("graphgrad evaluate: there is no run none\n")
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error():
    """`graphgrad … | head -1`: no traceback, neither from the program nor from Python's exit."""
    command = f"{sys.executable} -m graphgrad.tools.main --help"
    process = subprocess.Popen(command.split(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=60)
    assert b"Traceback" not in errors


def test_the_parser_is_made_anew_each_time():
    assert parser() is not parser()
