"""Warnings of figures that look wrong, each with what to look at; silence where nothing is."""

import math

import pytest
from small_runs import QUIET, Model, new

from graphgrad.training.best import Validations
from graphgrad.training.doubts import Observer, doubts_of, given_figures
from graphgrad.training.scores import LENGTH_RATIO, Scorer
from graphgrad.training.trainer import train

GOOD = {"examples": 10, "distinct_share": 1.0, "unknown_share": 0.04, LENGTH_RATIO: 0.95}


def test_figures_of_what_a_model_gave():
    def words(text):
        return len(text.split())

    found = given_figures(["a <unk> b", "a <unk> b", "c"], words, "<unk>")
    assert found == {"unknown_share": 2 / 7, "distinct_share": 2 / 3}
    assert given_figures([], words, "<unk>") == {"unknown_share": 0.0, "distinct_share": 0.0}
    scored = Scorer("none").score(["a b c", "d"], ["a b", "d e f g"])
    assert scored[LENGTH_RATIO] == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, None),
        ({"distinct_share": 0.1}, "all 10 translations are equal"),
        ({"distinct_share": 0.2}, None),
        ({"distinct_share": 0.5, "examples": 2}, None),
        ({"unknown_share": 0.06}, "6.0% of the tokens given are unknown"),
        ({LENGTH_RATIO: 0.69}, "0.69 times as long as the references, too short"),
        ({LENGTH_RATIO: 1.31}, "1.31 times as long as the references, too long"),
        ({LENGTH_RATIO: 1.3}, None),
    ],
)
def test_each_fault_is_named(changed, words):
    said = doubts_of(GOOD | changed)
    assert len(said) == (words is not None) and all(words in line for line in said)
    assert doubts_of({"loss": 1.0, "examples": 100}) == []


def test_a_loss_near_that_of_knowing_nothing_is_said_once():
    observer, seen = Observer(math.log(50), warmup=20), Validations("loss")

    def after(step, loss):
        observer.step(loss)
        seen.add(step, {"loss": 4.0 - step / 1000})
        return observer.doubts(step, seen)

    assert after(100, 3.9) == []  # too early: 100 steps after the warm-up
    (line,) = after(120, 3.9)
    assert "3.9, is still that of a model which knows nothing" in line and "3.912" in line
    assert after(140, 3.9) == []
    learnt = Observer(math.log(50))
    learnt.step(3.0)
    assert learnt.doubts(500, seen) == []
    unknown = Observer()
    unknown.step(1e9)
    assert unknown.doubts(500, seen) == []


def test_no_improvement_is_said_every_fifth_look():
    observer, seen, said = Observer(), Validations("bleu"), []
    for step in range(1, 13):
        observer.step(1.0)
        seen.add(step, {"bleu": 30.0 if step == 2 else 20.0})
        if lines := observer.doubts(step, seen):
            said.append((step, *lines))
    assert [step for step, _ in said] == [7, 12]
    assert "held-out bleu has not improved in 5 looks, since step 2 (30)" in said[0][1]


def test_a_run_says_and_logs_them(tmp_path):
    model = Model()
    model.figures = {"distinct_share": 0.25, "unknown_share": 0.5}
    run, shown = new(model, tmp_path / "run"), []
    progress = QUIET()
    progress.message = shown.append
    train(run, progress=progress)
    text = "\n".join(shown)
    assert text.count("note: all 4 translations are equal") == 2  # steps 4 and 8
    assert "held-out: loss" in text and "distinct_share 0.25" not in text
    log = (run.folder.path / "log.txt").read_text(encoding="utf-8")
    assert "50.0% of the tokens given are unknown" in log
    assert run.folder.metrics()[3]["held_out_distinct_share"] == 0.25
