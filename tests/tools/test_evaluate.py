"""`graphgrad evaluate`: figures as text and as one JSON object."""

import json
import math

import pytest

from graphgrad.models import feedforward
from graphgrad.tools import evaluate
from graphgrad.tools.main import main


@pytest.fixture(scope="module")
def translating(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lines")
    lines = "\n".join(f"{n % 7} {n % 5} {n % 3}" for n in range(60)) + "\n"
    (folder / "lines").write_text(lines, encoding="utf-8")
    arguments = [
        "train",
        "transformer",
        "--source",
        str(folder / "lines"),
        "--target",
        str(folder / "lines"),
        "--run",
        str(folder / "run"),
    ]
    for value in (
        "layers=1",
        "width=16",
        "heads=2",
        "inner=16",
        "batch_size=4",
        "steps=6",
        "warmup=2",
        "tokens=whitespace",
    ):
        arguments += ["--set", value]
    assert main(arguments) == 0
    return folder / "run"


FIGURES = [
    *("loss", "perplexity", "token_accuracy", "bleu", "chrf", "length_ratio"),
    *("unknown_share", "distinct_share", "exact_match", "examples"),
]


def test_json_is_one_object_with_the_figures_of_the_end_of_training(translating, capsys):
    assert main(["evaluate", str(translating), "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1 and "length" not in captured.out.split("{")[0]
    figures = json.loads(captured.out)
    assert figures.keys() == {"step", "signatures", *FIGURES}
    saved = json.loads((translating / "evaluation.json").read_text(encoding="utf-8"))
    assert figures.pop("signatures") == saved.pop("signatures")
    assert figures == pytest.approx(saved)
    assert figures["step"] == 6 and 0 <= figures["exact_match"] <= 1
    assert isinstance(figures["examples"], int) and figures["examples"] >= 1


def test_text_has_a_line_for_each_figure(translating, capsys):
    assert main(["evaluate", str(translating)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "step 6"
    assert [line.split()[0] for line in lines[1:]] == FIGURES
    assert all("nrefs:1|" in line for line in lines if line.startswith(("bleu", "chrf")))
    assert all(math.isfinite(float(line.split()[1])) for line in lines[1:])


def test_evaluating_changes_nothing_of_the_run(translating):
    def contents():
        return {path: path.read_bytes() for path in translating.rglob("*") if path.is_file()}

    before = contents()
    assert main(["evaluate", str(translating)]) == 0
    assert contents() == before


def test_other_models_have_their_own_figures(tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["train", "feedforward", "--run", run, "--set", "steps=5"]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, "--json"]) == 0
    assert {"loss", "examples", "accuracy"} <= json.loads(capsys.readouterr().out).keys()


def test_figures_that_are_no_numbers_are_null_in_json(tmp_path, capsys, monkeypatch):
    run = str(tmp_path / "run")
    assert main(["train", "feedforward", "--run", run, "--set", "steps=2"]) == 0
    capsys.readouterr()
    task = feedforward.task

    def spoilt(settings, files):
        made = task(settings, files)
        object.__setattr__(made, "evaluate", lambda state: {"loss": math.nan, "examples": 3})
        return made

    monkeypatch.setattr(feedforward, "task", spoilt)
    assert main(["evaluate", run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"step": 2, "loss": None, "examples": 3}
    assert main(["evaluate", run]) == 0
    assert "nan" in capsys.readouterr().out


def test_the_help_names_the_figures():
    for figure in ("loss", "exact_match", "examples"):
        assert figure in evaluate.DESCRIPTION
