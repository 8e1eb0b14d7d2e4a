"""`graphgrad translate` and `graphgrad evaluate` on a small run that has really learnt."""

import io
import json
import os
import shutil
import subprocess
import sys

import pytest

from graphgrad.tools import translate
from graphgrad.tools.main import main
from graphgrad.training.checkpoint_format import STATE

WORDS = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf"}


def translated(line):
    """What the corpus says: word by word."""
    return " ".join(WORDS[word] for word in line.split())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on numbers in words, long enough to know them."""
    folder = tmp_path_factory.mktemp("numbers")
    names = list(WORDS)
    lines = [
        f"{a} {b} {c}".strip()
        for a in names
        for b in [*names, ""]
        for c in [*names, ""]
        if b or not c
    ]
    (folder / "train.en").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "train.de").write_text("\n".join(map(translated, lines)) + "\n", encoding="utf-8")
    values = [
        "layers=1",
        "width=32",
        "heads=2",
        "inner=32",
        "batch_size=16",
        "steps=300",
        "warmup=30",
        "learning_rate=5e-3",
        "tokens=whitespace",
        "evaluate_every=1000",
        "checkpoint_every=150",
    ]
    arguments = [
        "train",
        "transformer",
        "--source",
        str(folder / "train.en"),
        "--target",
        str(folder / "train.de"),
        "--run",
        str(folder / "run"),
    ]
    for value in values:
        arguments += ["--set", value]
    assert main(arguments) == 0
    for name in ("train.en", "train.de"):
        os.rename(folder / name, folder / f"away.{name}")
    return folder / "run"


@pytest.fixture
def copied(trained, tmp_path):
    """A copy to damage."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture(autouse=True)
def at_home(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


TEXTS = ["two four one", "five", "three three", "one two three"]


def test_texts_are_translated_one_line_each_without_the_data(trained, capsys):
    assert not (trained.parent / "train.en").exists()
    assert main(["translate", str(trained), *TEXTS]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [translated(text) for text in TEXTS]
    assert not captured.err


def given(monkeypatch, content):
    """Standard input that holds these bytes."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_lines_of_standard_input_are_translated_one_line_each(trained, capsys, monkeypatch):
    given(monkeypatch, b"two\r\n\nfour five\nthree")
    assert main(["translate", str(trained)]) == 0
    assert capsys.readouterr().out.splitlines() == ["zwei", "", "vier fünf", "drei"]


def test_many_lines_come_in_groups_and_in_order(trained, capsys, monkeypatch):
    monkeypatch.setattr(translate, "GROUP", 3)
    texts = [list(WORDS)[n % 5] for n in range(10)]
    given(monkeypatch, "\n".join(texts).encode() + b"\n")
    assert main(["translate", str(trained)]) == 0
    assert capsys.readouterr().out.splitlines() == [translated(text) for text in texts]


def test_no_lines_give_no_lines(trained, capsys, monkeypatch):
    given(monkeypatch, b"")
    assert main(["translate", str(trained)]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_real_pipe_in_any_encoding(trained, encoding):
    done = subprocess.run(
        [sys.executable, "-m", "graphgrad.tools.main", "translate", str(trained)],
        input=b"five one\n",
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 0, done.stderr
    expected = "fünf eins\n".encode(encoding, "backslashreplace")
    assert done.stdout == expected and not done.stderr


def test_a_terminal_is_told_to_type_and_gets_no_control_characters(trained, capsys, monkeypatch):
    class Terminal(io.TextIOWrapper):
        def isatty(self):
            return True

    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO(b"two\nfour\n")))
    monkeypatch.setattr(sys, "stdout", Terminal(output, encoding="utf-8"))
    assert main(["translate", str(trained)]) == 0
    assert output.getvalue() == b"zwei\nvier\n"
    assert "one text a line" in capsys.readouterr().err
    assert translate._shown("a\x1b[31m\u202eb") == "a\\x1b[31m\\u202eb"


# ---------------------------------------------------------------- errors


def refused(capsys, *arguments):
    assert main([*arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.count(f"graphgrad {arguments[0]}: ") == 1
    assert "Traceback" not in captured.err
    return captured.err


def test_a_text_that_is_too_long_says_how_long_and_what_to_do(trained, capsys):
    error = refused(capsys, "translate", str(trained), "one " * 200)
    assert "200 tokens" in error and "takes 127" in error and "maximum_length" in error


def test_an_unknown_run_names_those_there_are(trained, capsys):
    error = refused(capsys, "translate", str(trained.parent / "rum"), "one")
    assert "there is no run rum" in error and "did you mean" in error and "run?" in error


def test_a_folder_that_is_no_run_says_why(tmp_path, capsys):
    assert "no configuration.json" in refused(capsys, "translate", str(tmp_path), "one")


def test_truncated_checkpoints_are_each_named(copied, capsys):
    for state in (copied / "checkpoints").glob("*/" + STATE):
        state.write_bytes(state.read_bytes()[:1000])
    for command in (["translate", str(copied), "one"], ["evaluate", str(copied)]):
        error = refused(capsys, *command)
        assert "step-000000150 is damaged" in error and "step-000000300 is damaged" in error


def test_a_truncated_newest_checkpoint_is_a_note_and_the_one_before_is_used(copied, capsys):
    state = copied / "checkpoints" / "step-000000300" / STATE
    state.write_bytes(state.read_bytes()[:1000])
    assert main(["translate", str(copied), "one"]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("note: step-000000300 is damaged")
    assert len(captured.out.splitlines()) == 1


def test_a_run_without_a_checkpoint_has_lost_it(copied, capsys):
    shutil.rmtree(copied / "checkpoints")
    assert "checkpoints are gone" in refused(capsys, "translate", str(copied), "one")


def test_a_missing_vocabulary_is_named(copied, capsys):
    os.unlink(copied / "vocabulary-target.json")
    assert "vocabulary-target.json" in refused(capsys, "translate", str(copied), "one")


def test_an_unknown_node_gets_the_nearest_names(trained, capsys):
    for name in ("train.en", "train.de"):  # `inspect` computes a batch, so it needs the data
        shutil.copy(trained.parent / f"away.{name}", trained.parent / name)
    try:
        error = refused(capsys, "inspect", str(trained), "--node", "encoder.0.attention.weight")
        assert "'encoder.0.attention.weight'" in error
        assert "did you mean" in error and "encoder.0.attention.weights" in error
    finally:
        for name in ("train.en", "train.de"):
            os.unlink(trained.parent / name)


def test_a_model_that_does_not_translate_says_so(tmp_path, capsys):
    assert main(["train", "feedforward", "--run", "other", "--set", "steps=1"]) == 0
    capsys.readouterr()
    assert "feedforward does not translate" in refused(capsys, "translate", "other", "one")


def test_control_characters_of_a_text_are_shown_in_the_error(trained, capsys):
    error = refused(capsys, "translate", str(trained), "\x1b[31m " * 200)
    assert "\x1b" not in error


def test_json_errors_go_to_standard_error_only(trained, capsys):
    """The data is away, so evaluation is an error; what reads the output gets no half object."""
    assert main(["evaluate", str(trained), "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "no such file" in captured.err
    assert not captured.err.startswith("{")
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(captured.out)
