"""Standard streams that are full, closed or of another encoding: one line, never a traceback."""

import io
import json
import os
import subprocess
import sys

import pytest

from graphgrad.tools.main import COMMANDS, main
from graphgrad.training.checkpoint import checkpoint_steps
from graphgrad.training.run_folder import RunFolder

PROGRAM = f"{sys.executable} -m graphgrad.tools.main"
TRAIN = "train feedforward --set steps=3 --set checkpoint_every=2 --run run"


def shell(line, folder, **environment):
    """What a shell makes of a line in which `graphgrad` is the program."""
    line = line.replace("graphgrad", PROGRAM)
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        capture_output=True,
        timeout=120,
        env={**kept, **environment},
    )


@pytest.mark.parametrize(
    "command",
    ["--help", "render feedforward --format html", "inspect feedforward --explain loss --json"],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_that_is_full_is_one_line_and_exit_2(tmp_path, command, unbuffered):
    done = shell(f"graphgrad {command} > /dev/full", tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 2
    expected = b"graphgrad: standard output cannot be written: No space left on device\n"
    assert done.stderr == expected


@pytest.mark.parametrize("command", ["render feedforward", "render feedforward --format html"])
def test_a_reader_that_goes_away_ends_the_program_quietly(tmp_path, command):
    done = shell(f"graphgrad {command} | true; exit ${{PIPESTATUS[0]}}", tmp_path)
    assert (done.returncode, done.stderr) == (1, b"")
    done = shell(f"set -o pipefail; graphgrad {command} | head -c 10", tmp_path)
    assert done.stderr == b"" and len(done.stdout) == 10


def test_an_output_that_is_closed_is_one_line(tmp_path):
    done = shell("graphgrad render feedforward >&-", tmp_path)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1
    assert b"standard output cannot be written: Bad file descriptor" in done.stderr


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("> /dev/full", b"No space left on device"),
        (">&-", b"Bad file descriptor"),
        ("| true; exit ${PIPESTATUS[0]}", b""),
        ("> /dev/full 2>&1", b""),
        (">&- 2>&- <&-", b""),
    ],
)
def test_training_goes_on_whatever_becomes_of_the_output(tmp_path, ending, said):
    done = shell(f"graphgrad {TRAIN} {ending}", tmp_path)
    assert done.returncode == 0 and b"Traceback" not in done.stderr
    assert done.stderr.count(b"\n") == bool(said) and said in done.stderr
    run = RunFolder.open(tmp_path / "run")
    assert checkpoint_steps(run.checkpoints)[-2:] == (2, 3) and len(run.metrics()) == 3


def test_notes_never_take_the_place_of_a_closed_stream(tmp_path):
    """`2>&-`: what is meant for standard error does not become a line of the output."""
    assert shell(TRAIN.join(["graphgrad ", ""]), tmp_path).returncode == 0
    for name in ("step-000000002", "step-000000003"):
        assert (tmp_path / "run" / "checkpoints" / name).is_dir()
    with open(tmp_path / "run/checkpoints/step-000000003/state.safetensors", "r+b") as file:
        file.write(b"damaged")
    noted = shell("graphgrad evaluate run --json", tmp_path)
    assert noted.stderr.startswith(b"note: ") and json.loads(noted.stdout)["step"] == 2
    silent = shell("graphgrad evaluate run --json 2>&-", tmp_path)
    assert (silent.returncode, silent.stdout) == (0, noted.stdout)
    full = shell("graphgrad evaluate run --json 2> /dev/full", tmp_path)
    assert (full.returncode, full.stdout) == (0, noted.stdout)


# ---------------------------------------------------------------- encodings


STRICT = {"PYTHONIOENCODING": "utf-8:strict"}
OLD = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, OLD])
def test_every_character_of_the_help_can_be_written(tmp_path, environment):
    done = shell("graphgrad inspect --help", tmp_path, **environment)
    assert done.returncode == 0 and not done.stderr and b"\\u03b4" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_no_help_needs_more_than_ascii(name, monkeypatch):
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, encoding="ascii"))
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0 and b"usage: graphgrad" in output.getvalue()
    assert sys.stdout.errors == "strict", "the stream is as it was"


@pytest.mark.parametrize(
    "words",
    [
        "render feedforward --format txt",
        "render feedforward --format dot",
        "render feedforward --format mermaid",
        "inspect feedforward --explain hidden.h1.a --json",
    ],
)
def test_formats_that_programs_read_are_utf8_whatever_the_encoding(words, monkeypatch):
    written = []
    for encoding in ("utf-8", "ascii", "cp1252"):
        output = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, encoding=encoding))
        assert main(words.split()) == 0
        written.append(output.getvalue())
    assert written[0] == written[1] == written[2]
    assert not written[0].isascii() and written[0].decode("utf-8")


@pytest.mark.parametrize("environment", [OLD, STRICT])
def test_a_run_of_any_name_is_trained_and_told(tmp_path, environment):
    done = shell(
        TRAIN.replace("train", "graphgrad train", 1).replace("run run", r"run $'é\xff'"),
        tmp_path,
        **environment,
    )
    assert done.returncode == 0 and not done.stderr and b"finished" in done.stdout
    (folder,) = os.listdir(os.fsencode(tmp_path))
    assert folder == "é".encode() + b"\xff"
    done = shell(r"graphgrad plot $'é\xff' -o $'\xff.png'", tmp_path, **environment)
    assert done.returncode == 0 and b"written" in done.stdout and not done.stderr


def test_streams_are_put_back(monkeypatch, capsys):
    before = sys.stdin, sys.stdout, sys.stderr
    assert main([]) == 0
    assert (sys.stdin, sys.stdout, sys.stderr) == before
    assert "usage: graphgrad" in capsys.readouterr().out
