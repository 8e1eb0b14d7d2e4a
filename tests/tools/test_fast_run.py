"""`train --fast-dev-run` and `--overfit-batch`, and `evaluate` on files, from the command line."""

import gzip
import json
import re
import tempfile
from pathlib import Path

import pytest
from train_command import SMALL, sets

from graphgrad.tools.main import main

FILES = ["--source", "train.en", "--target", "train.de"]


def settings(**values):
    given = dict(part.split("=") for part in SMALL if "=" in part) | values
    return sets(*(f"{key}={value}" for key, value in given.items()))


def test_a_fast_run_goes_through_everything_and_leaves_nothing(place, capsys, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(place / "temporary"))
    (place / "temporary").mkdir()
    before = {entry.name for entry in place.iterdir()}
    assert main(["train", "transformer", *FILES, *settings(), "--fast-dev-run"]) == 0
    out = capsys.readouterr().out
    for words in (
        "pairs of train.en and train.de to train on",
        r"step: loss \d",
        r"validation: held_out_loss \d.*held_out_bleu",
        "checkpoint: saved and read again, step 1",
        "an example: .* → ",
        "everything ran; the temporary folder is removed",
    ):
        assert re.search(words, out), words
    assert {entry.name for entry in place.iterdir()} == before
    assert not list((place / "temporary").iterdir())
    assert main(["train", "transformer", "--run", "run", "--fast-dev-run"]) == 2
    assert "leave --resume and --run out" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["gpt", "bert"])
def test_a_fast_run_of_a_language_model_uses_it(place, capsys, model):
    (place / "text.txt").write_text("one two three four five. " * 60, encoding="utf-8")
    values = {"layers": 1, "width": 16, "heads": 2, "context": 16, "batch_size": 4}
    given = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    assert main(["train", model, "--text", "text.txt", *given, "--fast-dev-run"]) == 0
    out = capsys.readouterr().out
    assert ("generated: " if model == "gpt" else "filled: ") in out


def test_a_batch_is_learnt_by_heart(place, capsys):
    words = ["train", "transformer", *FILES, "--run", "run", "--overfit-batch"]
    values = {"steps": 30, "evaluate_every": 60, "warmup": 5, "learning_rate": 0.01, "dropout": 0.0}
    assert main([*words, *settings(**values)]) == 0
    assert "only the first 1 batches are used, again and again" in capsys.readouterr().out
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert len({line["tokens"] for line in lines}) == 1  # the same batch each time
    assert lines[-1]["loss"] < lines[0]["loss"] / 2
    assert main(["train", "--resume", "run", "--set", "overfit_batches=0"]) == 2
    assert "a run keeps its overfit_batches (1)" in capsys.readouterr().err


# ---------------------------------------------------------------- evaluate on files


def evaluated(capsys, *words):
    assert main(["evaluate", "run", "--json", *words]) == 0
    captured = capsys.readouterr()
    return json.loads(captured.out), captured.err


def test_figures_of_a_users_files_are_those_of_the_same_pairs_held_out(finished, place, capsys):
    sources = (place / "train.en").read_text(encoding="utf-8").splitlines()[:5]
    targets = (place / "train.de").read_text(encoding="utf-8").splitlines()[:5]
    (place / "some.en.gz").write_bytes(gzip.compress("\n".join([*sources, ""]).encode()))
    (place / "some.de").write_text("\n".join([*targets, ""]), encoding="utf-8")
    pairs = [f"{a}\t{b}" for a, b in zip(sources, targets, strict=True)]
    (place / "some.tsv").write_text("\n".join([*pairs, "only one\t"]), encoding="utf-8")
    found, _ = evaluated(capsys, "--source", "some.en.gz", "--target", "some.de")
    again, told = evaluated(capsys, "--pairs", "some.tsv")
    assert found == again and found["examples"] == 5 and found["loss"] > 0
    assert "1 pairs have a blank side" in told
    whole, _ = evaluated(capsys)
    assert whole["loss"] != found["loss"] and whole.keys() == found.keys()
    beam, _ = evaluated(capsys, "--pairs", "some.tsv", "--beam", "2")
    assert beam["loss"] == found["loss"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--source", "train.en"], "belong together"),
        ([*FILES, "--pairs", "x"], "belong together"),
        (["--source", "train.en", "--target", "nowhere"], "nowhere"),
        (["--pairs", "train.en"], "have no tab"),
        ([*FILES, "--by-language"], "--by-language is of the run's own data"),
    ],
)
def test_files_that_cannot_be_used(finished, capsys, words, problem):
    assert main(["evaluate", "run", *words]) == 2
    assert problem in capsys.readouterr().err
