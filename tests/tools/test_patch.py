"""`graphgrad patch`, `lens` and `--by` on small runs, against the functions that they call."""

import csv
import io
import json

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.models import BUILTIN
from graphgrad.tools.main import main
from graphgrad.training.runs import open_run

SMALL = ("layers=2", "heads=2", "width=8", "inner=8", "steps=6", "fuse=false", "batch_size=4")
CLEAN, CORRUPT = "de: 14. Januar 1992", "de: 14. Juni 1992"


def trained(model, folder, *words):
    settings = [f"--set={each}" for each in SMALL]
    assert main(["train", model, "--run", str(folder), *settings, *words]) == 0
    return str(folder)


@pytest.fixture(scope="module")
def dates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dates") / "run"
    words = ("--inspect-every=3", "--inspect=*.scores", "--by=head")
    return trained("transformer", folder, *words)


@pytest.fixture(scope="module")
def gpt(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt")
    (folder / "text.txt").write_text("def f(self):\n    return self\n" * 60)
    return trained("gpt", folder / "run", "--text", str(folder / "text.txt"), "--set=context=16")


def output(capsys, *words, code=0):
    capsys.readouterr()
    assert main(list(words)) == code
    return capsys.readouterr()


def patch(capsys, run, *words, code=0):
    return output(capsys, "patch", run, "--clean", CLEAN, "--corrupt", CORRUPT, *words, code=code)


def test_effects_are_those_of_attribution_and_patching(dates, capsys):
    words = ("--target", "1992-01-14", "--exact", "--limit", "7", "--json")
    shown = json.loads(patch(capsys, dates, *words).out)
    opened = open_run(dates, BUILTIN)
    prompts = opened.task.prompts
    feeds = prompts.feeds([CLEAN, CORRUPT], "1992-01-14")
    clean, corrupt = ({key: rows[n : n + 1] for key, rows in feeds.items()} for n in (0, 1))
    found = gg.attribution(prompts.graph, clean, corrupt, opened.state)
    assert shown["loss"] == {"clean": found.clean, "corrupt": found.corrupt}
    largest = [(effect.name, effect.estimate) for effect in found.largest[:7]]
    assert [(row["node"], row["estimate"]) for row in shown["effects"]] == largest
    exact = gg.activation_patching(prompts.graph, clean, corrupt, opened.state, [largest[6][0]])
    assert shown["effects"][6]["exact"] == exact.runs[0].effect


def test_effects_of_heads_add_up(dates, capsys):
    words = ("--target", "1992-01-14", "--node", "decoder.1.cross_attention.values", "--csv")
    (whole,) = csv.DictReader(io.StringIO(patch(capsys, dates, *words).out))
    heads = list(csv.DictReader(io.StringIO(patch(capsys, dates, *words, "--by", "head").out)))
    assert sorted(row["value"] for row in heads) == [
        f"decoder.1.cross_attention.values[head={n}]" for n in range(2)
    ]
    total = sum(float(row["estimate"]) for row in heads)
    assert total == pytest.approx(float(whole["estimate"]))


def test_effects_are_printed_and_drawn(dates, tmp_path, capsys):
    shown = patch(capsys, dates, "--limit", "3", "-o", str(tmp_path / "effects.dot")).out
    assert "after the clean text" in shown and len(shown.splitlines()) == 8
    drawn = (tmp_path / "effects.dot").read_text()
    assert "fillcolor" in drawn and "blue lowers the loss" in drawn


def test_the_page_has_every_effect(dates, tmp_path, capsys):
    file = tmp_path / "effects.html"
    words = ("--target", "1992-01-14", "--limit", "1000", "--json", "-o", str(file))
    shown = json.loads(patch(capsys, dates, *words).out.partition("\nwritten")[0])
    data = file.read_text(encoding="utf-8").split('id="page-data">')[1].split("</script>")[0]
    section = json.loads(data)["sections"]["effects"]
    estimates = {row["node"]: row["estimate"] for row in shown["effects"]}
    assert dict(section["values"]) == pytest.approx(estimates, rel=1e-8)
    assert "Januar" in section["lines"][0] and "blue lowers" in section["lines"][1]


def test_a_language_model_is_patched_too(gpt, capsys):
    words = ("patch", gpt, "--clean", "def f(self", "--corrupt", "def f(retu", "--target", ")")
    shown = output(capsys, *words, "--node", "*_residual").out
    assert "decoder.1.feed_forward_residual" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--clean", "a", "--corrupt", "ab", "--target", "x"), "do not correspond"),
        (("--clean", "de", "--corrupt", "de", "--target", "x"), "the same tokens"),
        (("--clean", "de", "--corrupt", "ef", "--target", ""), "at least one token"),
        (("--clean", "de", "--corrupt", "ef", "--limit", "0"), "shows nothing"),
        (("--clean", "de", "--corrupt", "ef", "--node", "*.nothing"), "no node has a name like"),
        (("--clean", "de", "--corrupt", "ef", "--node", "decoder.0.scroes*"), "did you mean"),
        (("--clean", "de", "--corrupt", "ef", "--by", "hed"), "no chosen value has an axis 'hed'"),
        (("--clean", "de", "--corrupt", " "), "--corrupt is empty"),
        (("--clean", "de", "--corrupt", "ef", "-o", "x.txt"), "has no place for effects"),
    ],
)
def test_what_cannot_be_patched_is_refused(gpt, words, message, capsys):
    assert message in output(capsys, "patch", gpt, *words, code=2).err


def test_texts_of_different_length_are_noted(dates, capsys):
    target = ("--target", "1992-01-14", "--limit", "1")
    assert "positions behind the difference do not correspond" in patch(capsys, dates, *target).err
    words = ("--clean", "de: 14. Juni 1992", "--corrupt", "de: 14. Juli 1992")
    assert "correspond" not in output(capsys, "patch", dates, *words, *target).err


def test_a_lens_reads_each_layer(dates, capsys):
    words = ("lens", dates, CLEAN, "--target", "1992-01-14")
    shown = json.loads(output(capsys, *words, "--json", "--top", "3").out)
    assert [layer["node"] for layer in shown["layers"]] == [
        "decoder.with_positions",
        "decoder.0.feed_forward_norm.y",
        "decoder.1.feed_forward_norm.y",
    ]
    assert all(len(layer["positions"]) == 11 for layer in shown["layers"])
    lines = output(capsys, *words).out.splitlines()
    assert lines[0] == "answer: 1992-01-14" and len(lines) == 6
    details = output(capsys, *words, "--position", "6", "--top", "2").out
    first = shown["layers"][-1]["positions"][6]["tokens"][0]
    assert f"{first['value']:6.1%}  {first['token']}" in details


def test_the_backward_lens_names_the_true_token_last(dates, gpt, capsys):
    words = ("lens", dates, CLEAN, "--target", "1992-01-14", "--backward", "--position", "0")
    shown = output(capsys, *words, "--top", "1").out
    assert shown.count("towards") == shown.count("away from") == 3
    shown = json.loads(
        output(capsys, "lens", gpt, "def f(", "--target", "self", "--backward", "--json").out
    )
    assert shown["lens"] == "backward"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--position", "99"), "there are 11 positions"),
        (("--top", "0"), "shows nothing"),
        (("--node", "encoder.0.attention.scores", "--node", "decoder.with_positions"), "residual"),
    ],
)
def test_a_lens_that_reads_nothing_is_refused(dates, words, message, capsys):
    shown = output(capsys, "lens", dates, CLEAN, "--target", "1992-01-14", *words, code=2)
    assert message in shown.err


def test_scores_are_recorded_by_head_and_inspected_so(dates, capsys):
    shown = output(capsys, "inspect", dates, "--steps", "--node", "*scores*").out
    assert "encoder.0.attention.scores[head=1]" in shown
    assert "encoder.0.attention.scores.delta[head=1]" in shown
    words = ("inspect", dates, "--node", "*.scores", "--by", "head", "--json")
    nodes = json.loads(output(capsys, *words).out)["nodes"]
    assert len(nodes) == 6 * 2
    assert all(np.isfinite(node["delta"]["norm"]) for node in nodes)


def test_by_needs_something_to_record(dates, capsys):
    assert "--by says what to record" in output(capsys, "train", "gpt", "--by", "head", code=2).err
    shown = output(capsys, "inspect", dates, "--steps", "--by", "head", code=2)
    assert "--by divides the values of one batch" in shown.err


def test_a_run_that_reads_no_text_is_refused(tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["train", "feedforward", "--set=steps=2", "--set=fuse=false", "--run", run]) == 0
    words = (("patch", run, "--clean", "a", "--corrupt", "b"), ("lens", run, "a"))
    for given, instead in zip(words, ("gg.attribution", "gg.logit_lens"), strict=True):
        shown = output(capsys, *given, code=2).err
        assert "does not read a text" in shown and instead in shown
