"""`graphgrad show`: topics, options, runs, files and mistakes; the commands of the guide run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from graphgrad.guide import guide_file
from graphgrad.lecture import TOPICS, Request
from graphgrad.lecture.decoding import distribution, prompts_of
from graphgrad.lecture.network import NETWORK, subject_of
from graphgrad.lecture.sentences import sentence_attentions
from graphgrad.models import BUILTIN
from graphgrad.tools.main import main
from graphgrad.training.runs import create_run, open_run
from graphgrad.training.settings import with_values
from graphgrad.training.task import load_model

TEXT = "de: 22. November 2026"
SMALL = {"layers": 1, "width": 16, "heads": 2, "inner": 16, "batch_size": 4, "steps": 3}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("shown") / "run"
    model = load_model("transformer", BUILTIN)
    create_run(model, with_values(model.settings, SMALL), folder)
    return str(folder)


def test_without_a_topic_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show"]) == 0
    shown = capsys.readouterr().out
    assert all(f"{topic.name} " in shown and topic.summary in shown for topic in TOPICS)
    assert "--set scores=112, 96" in shown


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["atention"], "did you mean 'attention'"),
        (["lookup", "--set", "score=1"], "did you mean 'scores'"),
        (["lookup", "--set", "scores"], "has no ="),
        (["network", "two words"], "there is no run two words"),
        (["lookup", "three words here"], "there are 2 scores and 3 words"),
        (["heads", "one two", "--set", "word=three"], "'three' is not among the tokens"),
        (["positions", "--set", "width=7"], "width must be even, not 7"),
        (["lookup", "-o", "folder"], "has no ending"),
        (["lookup", "-o", "no/such/x.svg"], "a folder on the way to it does not exist"),
        (["neuron", "--text", "word"], "neuron takes no text"),
        (["decoding"], "decoding needs a run and a text"),
        (["mask", "--model", "x.py"], "there is no run"),
        (["attention", "one two", "--text", "three four"], "given twice"),
        (["lookup", "-o", "x.gif"], "cannot be written as 'gif'"),
        (["output", "nowhere", "text"], "nowhere"),
    ],
)
def test_mistakes_are_named(
    words: list[str],
    named: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["show", *words]) == 2
    assert named in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "nothing is left"


def test_every_command_of_the_guide_runs(
    run_folder: str,
    neurons: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^graphgrad (\w.*)$", guide_file("lecture.md"), re.MULTILINE)
    shown = {command.split()[1] for command in commands if command.startswith("show")}
    assert shown == {topic.name for topic in TOPICS}, "every row has its command"
    for command in commands:
        folders = {"RUN": run_folder, "NEURONS": neurons}
        words = [folders.get(word, word) for word in shlex.split(command)]
        assert main(words) == 0, command
        written = capsys.readouterr().out
        if "-o" in words:
            assert (tmp_path / words[words.index("-o") + 1]).stat().st_size > 1000
        elif words[0] == "show":
            assert written.splitlines()[1].startswith("===")
        else:
            assert len(written) > 200


@pytest.fixture(scope="module")
def neurons(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("shown") / "neurons"
    model = load_model("feedforward", BUILTIN)
    create_run(model, with_values(model.settings, {"activation": "tanh"}), folder)
    return str(folder)


def test_the_network_of_a_run_has_its_numbers(neurons: str) -> None:
    run = open_run(neurons, BUILTIN)
    subject = subject_of(Request({**NETWORK, "example": "2"}, run=run))
    found, batch = subject.worked(), run.task.feeds(run.next_batch)
    x, truth = (
        np.array([batch[f"{name}{n}"][2] for n in "123"], float) for name in ("x", "truth.y")
    )
    first, second = (
        np.array([[run.state[f"w.{h}{i}->{t}{j}"] for i in "123"] for j in "123"], float)
        for h, t in ("xh", "hy")
    )
    hidden = np.tanh(first @ x)
    y = 1 / (1 + np.exp(-second @ hidden))
    wrong = (y - truth) * y * (1 - y)
    for n in range(3):
        assert found.z[f"h{n + 1}"] == pytest.approx(hidden[n], rel=1e-5)
        assert found.delta[f"y{n + 1}"] == pytest.approx(wrong[n], rel=1e-5)
        back = (1 - hidden[n] ** 2) * second[:, n] @ wrong
        assert found.delta[f"h{n + 1}"] == pytest.approx(back, rel=1e-4)
    assert "example 2 of its next batch" in subject.told


def test_what_is_no_network_of_neurons_is_named(
    neurons: str, run_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, named in (
        (["network", run_folder], "transformer is not the network of 3-3-3 neurons"),
        (["update", neurons, "--set", "x=1,2,3"], "x is that of the run"),
        (["network", neurons, "--set", "example=-1"], "example must be a whole number from 0"),
        (["network", neurons, "a text"], "network takes no text"),
        (["heads", neurons, "a text"], "feedforward reads no text"),
        (["decoding", neurons, "a text"], "feedforward does not translate"),
        (["heads", run_folder], "a sentence is needed"),
        (["heads", run_folder, TEXT, "--set", "attention=x"], "no attention is called 'x'"),
    ):
        assert main(["show", *words]) == 2
        assert named in capsys.readouterr().err


def test_words_that_the_vocabulary_lacks_are_named(
    run_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "decoding", run_folder, "de: 猫 2026"]) == 0
    assert "The vocabulary lacks '猫': the model reads <unk> there." in capsys.readouterr().out
    assert main(["show", "heads", run_folder, "de: 2026", "--set", "of=0"]) == 0
    assert "lacks" not in capsys.readouterr().out


def test_what_the_decoder_gives_is_what_translate_gives(run_folder: str) -> None:
    run, prompts = prompts_of(open_run(run_folder, BUILTIN), TEXT)
    own = prompts.answer(run.state, TEXT)
    found = distribution(run, prompts, TEXT, own)
    np.testing.assert_allclose(np.exp(found.log_probabilities).sum(axis=-1), 1.0, rtol=1e-5)
    best = [prompts.token(found.top(place, 1)[0][0]) for place in range(len(found.given))]
    assert own.startswith("".join(best)[: len(own)].partition("<eos>")[0])


def test_a_sentence_has_the_attention_of_every_layer(run_folder: str) -> None:
    run = open_run(run_folder, BUILTIN)
    names = ("encoder.0.attention", "decoder.0.attention", "decoder.0.cross_attention")
    found = sentence_attentions(run, TEXT, "2026")
    assert tuple(item.name for item in found) == names
    cross = found[2]
    assert cross.keys == (*TEXT[:2], ":", *cross.keys[3:]) and cross.queries[0] == "<bos>"
    np.testing.assert_allclose(cross.weights.sum(axis=-1), 1.0, rtol=1e-5)
    assert cross.deltas is not None and cross.deltas.any()
    later = np.triu(np.ones(found[1].weights.shape[1:], bool), 1)
    assert not found[1].weights[:, later].any() and not found[1].deltas[:, later].any()


def test_where_teacher_forcing_and_decoding_part(
    run_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "decoding", run_folder, TEXT, "--set", "answer=1234-56-78"]) == 0
    shown = capsys.readouterr().out
    assert "≠" in shown and re.search(r"They part at place \d", shown)
    assert main(["show", "decoding", run_folder, TEXT]) == 0
    assert "Both read and give the same tokens." in capsys.readouterr().out


def test_translate_shows_its_steps(run_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["translate", run_folder, TEXT]) == 0
    answer = capsys.readouterr().out.strip("\n")
    assert main(["translate", run_folder, "--steps", TEXT]) == 0
    first, _, heading, *rows = capsys.readouterr().out.rstrip().splitlines()
    assert first == f"{TEXT}  →  {answer}" and heading.split()[:3] == ["step", "read", "given"]
    assert rows[0].split()[:2] == ["0", "<bos>"]
    for row in rows:
        logs = [float(cell) for cell in row.split()[4::2]]
        assert len(logs) == 5 and logs == sorted(logs, reverse=True) and logs[0] <= 0
    assert main(["translate", run_folder, "--steps", "--beam", "2", TEXT]) == 2
    assert "--steps shows greedy decoding" in capsys.readouterr().err
    assert main(["translate", run_folder, "--steps"]) == 2
    assert "--steps needs a text" in capsys.readouterr().err


def test_heads_are_plotted_for_a_text(
    run_folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "heads.svg"
    words = ["plot", run_folder, "--what", "heads", "-o", str(file)]
    assert main([*words, "--text", TEXT, "--node", "*cross*"]) == 0
    drawn = file.read_text(encoding="utf-8")
    for name in ("decoder.0.cross_attention", "head 1", "δ of the scores"):
        assert name in drawn
    assert "encoder.0.attention" not in drawn
    assert main([*words, "--text", TEXT, "--word", "<bos>"]) == 0
    drawn = file.read_text(encoding="utf-8")
    assert "decoder.0.attention" in drawn and "encoder.0.attention" not in drawn
    assert "weights: from '&lt;bos&gt;'" in drawn
    capsys.readouterr()
    for wrong, named in (
        (words, "heads needs a text"),
        ([*words, "--text", TEXT, "--word", "cat"], "'cat' is not among the tokens"),
        ([*words, "--text", TEXT, "--node", "x"], "no attention has such a name"),
        (["plot", run_folder, "--text", TEXT], "--text, --target and --word are read by heads"),
    ):
        assert main(wrong) == 2
        assert named in capsys.readouterr().err
