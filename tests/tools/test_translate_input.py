"""What `graphgrad translate` reads: bytes by the rules of files, and lines as they arrive."""

import errno
import gzip
import io
import os
import subprocess
import sys

import pytest

from graphgrad.errors import DataError
from graphgrad.models import BUILTIN
from graphgrad.tools import translate
from graphgrad.tools.main import main
from graphgrad.training.runs import open_run

SMALL = [
    "layers=1",
    "width=16",
    "heads=2",
    "inner=16",
    "batch_size=4",
    "steps=1",
    "maximum_length=8",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on letters, é and ü among them; what it says is of no matter."""
    folder = tmp_path_factory.mktemp("letters")
    lines = [a + b for a in "abcdéü" for b in "abcdéü"]
    for name in ("source", "target"):
        (folder / name).write_text("\n".join(lines), encoding="utf-8")
    words = [word for value in SMALL for word in ("--set", value)]
    assert (
        main(
            [
                "train",
                "transformer",
                "--source",
                str(folder / "source"),
                "--target",
                str(folder / "target"),
                "--run",
                str(folder / "run"),
                *words,
            ]
        )
        == 0
    )
    return str(folder / "run")


@pytest.fixture(scope="module")
def meant(run):
    """What the run says to each text, by the package itself."""
    opened = open_run(run, BUILTIN)
    return lambda *texts: opened.task.translate(opened.state, texts)


def told(capsys, monkeypatch, run, content, *texts):
    """The exit code, the lines and the errors for some bytes."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    code = main(["translate", run, *texts])
    captured = capsys.readouterr()
    return code, captured.out.split("\n")[:-1], captured.err


def test_the_rules_are_those_of_files(run, meant, capsys, monkeypatch):
    for content in ("\ufeffab\r\né\n".encode(), gzip.compress("ab\né\n".encode())):
        code, lines, error = told(capsys, monkeypatch, run, content)
        assert (code, lines, error) == (0, meant("ab", "é"), "")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii", "utf-8:strict"])
def test_the_encoding_of_the_terminal_does_not_change_what_is_read(run, meant, encoding):
    done = subprocess.run(
        [sys.executable, "-m", "graphgrad.tools.main", "translate", run],
        input="é\nab\n".encode(),
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    expected = "".join(f"{line}\n" for line in meant("é", "ab"))
    assert done.stdout == expected.encode(encoding.split(":")[0], "backslashreplace")
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_line_that_cannot_be_translated_loses_itself_alone(run, meant, capsys, monkeypatch):
    good = ["ab", "", "cd", "é"]
    code, lines, error = told(
        capsys, monkeypatch, run, b"ab\n\nabcdabcdabcd\ncd\nd\xff\n\xc3\xa9\n"
    )
    first, blank, second, third = meant(*good)
    assert code == 2 and blank == ""
    assert lines == [first, "", "", second, "", third]
    assert "line 3: the text has 12 tokens, the model takes 7" in error
    assert "line 5: this is not UTF-8: byte 0xff at place 2" in error
    assert error.count("graphgrad translate: ") == 2


def test_numbers_go_on_over_groups(run, meant, capsys, monkeypatch):
    monkeypatch.setattr(translate, "GROUP", 3)
    content = b"ab\n" * 7 + b"a" * 9 + b"\n" + b"cd\n" * 2
    code, lines, error = told(capsys, monkeypatch, run, content)
    assert code == 2 and lines == [*meant(*["ab"] * 7), "", *meant("cd", "cd")]
    assert "line 8: " in error


def test_words_of_the_command_line_are_told_by_number_too(run, meant, capsys, monkeypatch):
    code, lines, error = told(capsys, monkeypatch, run, b"", "ab", "a" * 9, " ", "cd")
    first, second = meant("ab", "cd")
    assert (code, lines) == (2, [first, "", "", second]) and "text 2: " in error


def test_a_word_that_the_locale_could_not_read_is_read_as_typed(run, meant, capsys, monkeypatch):
    word = os.fsdecode("é".encode()) if sys.getfilesystemencoding() == "ascii" else "é"
    for typed in (word, "\udcc3\udca9"):
        assert told(capsys, monkeypatch, run, b"", typed)[:2] == (0, meant("é"))
    code, lines, error = told(capsys, monkeypatch, run, b"", "\udcff")
    assert (code, lines) == (2, [""]) and "not UTF-8: byte 0xff" in error


def test_a_line_is_answered_before_the_next_is_sent(run, meant):
    process = subprocess.Popen(
        [sys.executable, "-m", "graphgrad.tools.main", "translate", run],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        for text in ("ab", "cd", "é"):
            process.stdin.write(f"{text}\n".encode())
            process.stdin.flush()
            assert process.stdout.readline().decode() == f"{meant(text)[0]}\n"
        process.stdin.close()
        assert process.stdout.read() == b"" and process.wait(timeout=60) == 0


def test_input_that_fails_is_one_error_after_what_came_before(run, meant, capsys, monkeypatch):
    class Failing(io.RawIOBase):
        pieces = iter([b"ab\nc"])

        def readable(self):
            return True

        def readinto(self, room):
            piece = next(self.pieces, None)
            if piece is None:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            room[: len(piece)] = piece
            return len(piece)

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Failing())))
    assert main(["translate", run]) == 2
    captured = capsys.readouterr()
    assert captured.out.splitlines() == meant("ab")
    assert "standard input cannot be read: Input/output error" in captured.err


def test_input_that_is_closed_is_one_error(run):
    done = subprocess.run(
        f"{sys.executable} -m graphgrad.tools.main translate {run} <&-",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("graphgrad translate: standard input cannot be read: Bad file")
    assert "Traceback" not in done.stderr


def test_each_failing_text_is_found_by_halves():
    calls = []

    def picky(texts, first):
        calls.append(len(texts))
        if any("x" in text for text in texts):
            raise DataError("an x")
        return [text.upper() for text in texts]

    texts = [f"x{n}" if n in (3, 97) else f"a{n}" for n in range(100)]
    work = translate._Work(picky)
    assert work._translated(texts, 1) == ["" if "x" in t else t.upper() for t in texts]
    assert sorted(work._problems) == [4, 98] and len(calls) < 40
