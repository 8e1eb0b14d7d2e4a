"""Checkpoints by name in every command, and their average, from the command line on real files."""

import json
import random
from pathlib import Path

import pytest

from graphgrad.tools.main import COMMANDS, main, parser

SETTINGS = {
    "layers": 1,
    "width": 16,
    "heads": 2,
    "inner": 16,
    "dropout": 0.1,
    "tokens": "words",
    "batch_tokens": 60,
    "buckets": 3,
    "accumulate": 3,
    "steps": 12,
    "warmup": 4,
    "evaluate_every": 4,
    "checkpoint_every": 3,
    "keep_last": 4,
    "keep_best": 2,
    "best_metric": "token_accuracy",
}
SAMPLE = "one two"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a run over two aligned files, made once; nothing in it is changed."""
    folder = tmp_path_factory.mktemp("run")
    words, generator = ["one", "two", "three", "four"], random.Random(0)
    lines = [" ".join(generator.choices(words, k=generator.randint(1, 6))) for _ in range(80)]
    (folder / "lines.en").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "lines.de").write_text("\n".join(lines).upper() + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(place):
    given = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr("os.fsync", lambda descriptor: None)
        files = ["--source", "lines.en", "--target", "lines.de", "--run", "run"]
        assert main(["train", "transformer", *files, *given]) == 0
    return place


@pytest.fixture(autouse=True)
def there(trained, monkeypatch):
    monkeypatch.chdir(trained)


def metrics():
    text = Path("run/metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def steps_and_figures():
    lines, key = metrics(), "held_out_token_accuracy"
    return {line["step"]: line[key] for line in lines if key in line}


def test_the_start_says_what_a_step_is_and_what_is_kept(trained, capsys):
    assert main(["train", "--resume", "run", "--set", "steps=13", "--set", "keep_last=40"]) == 0
    out = capsys.readouterr().out
    assert "steps: each is 3 batches, whose gradients are accumulated" in out
    assert "checkpoints: the last 40 and the best 2 by held-out token_accuracy are kept" in out
    lines = metrics()
    assert [line["step"] for line in lines] == list(range(1, 14))
    assert all(60 < line["tokens"] <= 180 for line in lines)  # of three batches


def test_every_command_that_opens_a_run_takes_the_name_of_a_checkpoint():
    named = set()
    for action in parser()._subparsers._group_actions:
        for name, each in action.choices.items():
            if "--checkpoint" in each.options():
                named.add(name)
    assert named == COMMANDS.keys() - {
        *("train", "average", "profile", "bench", "scale", "doctor", "guide", "new", "recipes"),
        "watch",
    }


def test_commands_use_the_state_that_is_named(capsys):
    figures = steps_and_figures()
    best = min(figures, key=lambda step: (-figures[step], step))
    for name, step in (("best", best), ("last", 13), ("9", 9)):
        assert main(["evaluate", "run", "--json", "--checkpoint", name]) == 0
        assert json.loads(capsys.readouterr().out)["step"] == step
    answers = []
    for name in ("6", "last"):
        assert main(["translate", "run", "--checkpoint", name, "--scores", SAMPLE]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] != answers[1]
    assert main(["inspect", "run", "--checkpoint", "9", "--json", "--node", "loss"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["step"], found["batch"]) == (9, 27)  # three batches a step
    assert main(["translate", "run", "--checkpoint", "beste", SAMPLE]) == 2
    assert "there is no checkpoint called 'beste'" in capsys.readouterr().err
    assert main(["check", "feedforward", "--checkpoint", "best"]) == 2
    assert "--checkpoint chooses a state of a run" in capsys.readouterr().err


def test_an_average_is_a_run_on_which_commands_work(capsys):
    assert main(["average", "run", "--last", "3", "-o", "mean"]) == 0
    out = capsys.readouterr().out
    assert "the mean of 3 checkpoints, of steps " in out and "graphgrad evaluate mean" in out
    assert main(["evaluate", "mean", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["step"] == 13 and figures["loss"] > 0
    assert main(["translate", "mean", SAMPLE]) == 0
    assert main(["average", "run", "--checkpoints", "6", "9", "--output", "other"]) == 0
    assert main(["average", "run", "--best", "2"]) == 0
    assert "runs/run-average-001" in capsys.readouterr().out
    for words, problem in (
        (["--last", "99"], "99 are to be averaged"),
        (["--checkpoints", "6", "6"], "names a step twice"),
        (["--last", "2", "-o", "run"], "run already holds a run"),
    ):
        assert main(["average", "run", *words]) == 2
        assert problem in capsys.readouterr().err
