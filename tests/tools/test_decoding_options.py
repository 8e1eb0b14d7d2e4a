"""`graphgrad translate` and `evaluate` with options of decoding, and Ctrl-C in their middle."""

from __future__ import annotations

import io
import json
import os
import signal
import sys

import pytest

from graphgrad.decoding import Options, decoder, nobody
from graphgrad.models import BUILTIN
from graphgrad.tools import translate
from graphgrad.tools.main import main
from graphgrad.training import waiting
from graphgrad.training.runs import open_run

LETTERS = "abcdef"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on pairs of letters; what it says is of no matter."""
    folder = tmp_path_factory.mktemp("letters")
    lines = [a + b for a in LETTERS for b in LETTERS]
    (folder / "lines").write_text("\n".join(lines), encoding="utf-8")
    words = ["layers=1", "width=16", "heads=2", "inner=16", "batch_size=4", "steps=1"]
    data = ["--source", str(folder / "lines"), "--target", str(folder / "lines")]
    settings = [word for value in words for word in ("--set", value)]
    assert main(["train", "transformer", *data, "--run", str(folder / "run"), *settings]) == 0
    return str(folder / "run")


def lines_of(capsys, *words):
    code = main([*words])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err


def test_n_best_gives_ranks_and_scores_of_each_text(run, capsys):
    words = ["--beam", "3", "--n-best", "3"]
    code, lines, _ = lines_of(capsys, "translate", run, *words, "ab", "cd")
    opened, options = open_run(run, BUILTIN), Options(beam=3, n_best=3)
    found = dict(opened.task.translations(opened.state, ["ab", "cd"], options, nobody, 0))
    assert code == 0 and lines == [
        f"{rank}\t{each.score:.4f}\t{each.text}"
        for place in range(2)
        for rank, each in enumerate(found[place], 1)
    ]
    assert len(lines) == 6
    _, alone, _ = lines_of(capsys, "translate", "--beam", "3", run, "--scores", "ab")
    assert alone == [lines[0].removeprefix("1\t")]


def test_what_is_drawn_is_the_seeds(run, capsys, monkeypatch):
    def drawn(*words):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"ab\n" * 9)))
        return lines_of(capsys, "translate", run, "--temperature", "2", *words)[1]

    first, again, other = drawn("--seed", "4"), drawn("--seed", "4"), drawn("--seed", "5")
    assert first == again != other and len(set(first)) > 3
    monkeypatch.setattr(translate, "GROUP", 2)
    assert drawn("--seed", "4") == first, "however the lines are cut into groups"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--beam", "0"], "beam must be from 1"),
        (["--n-best", "2"], "--beam 2 --n-best 2"),
        (["--top-k", "3"], "nothing is drawn"),
        (["--temperature", "1", "--beam", "2"], "leave one of them out"),
    ],
)
def test_options_that_make_no_sense_are_one_error(run, capsys, words, named):
    code, lines, error = lines_of(capsys, "translate", run, *words, "ab")
    assert code == 2 and not lines and named in error and "Traceback" not in error


def test_evaluate_takes_a_beam_and_a_model_without_words_does_not(run, tmp_path, capsys):
    code, lines, _ = lines_of(capsys, "evaluate", run, "--beam", "4", "--json")
    assert code == 0 and json.loads(lines[0])["examples"] > 0
    other = str(tmp_path / "run")
    assert main(["train", "feedforward", "--run", other, "--set", "steps=1"]) == 0
    code, _, error = lines_of(capsys, "evaluate", other, "--beam", "4")
    assert code == 2 and "feedforward decodes nothing" in error


@pytest.fixture
def interrupted(monkeypatch):
    """Ctrl-C when two sentences are done, of the longest first."""
    monkeypatch.setattr(decoder.Decoder.__init__, "__defaults__", (2, "numpy"))
    call = waiting.Waiting.__call__

    def told(self, stage, done, total):
        if stage == "translated" and done >= 2:
            os.kill(os.getpid(), signal.SIGINT)
        call(self, stage, done, total)

    monkeypatch.setattr(waiting.Waiting, "__call__", told)


def test_ctrl_c_prints_what_is_done(run, capsys, interrupted, monkeypatch):
    content = b"abcdef\na\nabcde\nb\nabcd\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    code, lines, error = lines_of(capsys, "translate", run)
    assert code == 130 and len(lines) == 3 and not lines[1]
    assert "interrupted after 3 of 5 lines; blank, as they are not done: line 2" in error
    assert lines[0] and lines[2]


def test_ctrl_c_gives_the_figures_of_what_is_done(run, capsys, interrupted):
    code, lines, error = lines_of(capsys, "evaluate", run, "--json")
    assert code == 130 and json.loads(lines[0])["examples"] == 2
    assert "figures are of the examples that were done" in error
