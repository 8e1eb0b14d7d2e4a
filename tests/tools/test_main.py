"""The program as a whole: its help, its exit codes, and one clear error for every mistake."""

import os
import subprocess
import sys

import pytest

import graphgrad
from graphgrad.tools.main import COMMANDS, main, parser


def real(*arguments, text=None, **environment):
    """The program as a person runs it."""
    return subprocess.run([sys.executable, "-m", "graphgrad.tools.main", *arguments], text=True,
                          input=text, capture_output=True, timeout=60,
                          env={**os.environ, **environment})  # fmt: skip


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
        ([], "COMMAND"),
        (["trian"], "'trian'"),
        (["translate"], "run"),
        (["train", "--stes"], "--stes"),
    ],
)
def test_what_the_parser_does_not_know_ends_with_two(arguments, named, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.startswith("usage: graphgrad") and named in captured.err


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
