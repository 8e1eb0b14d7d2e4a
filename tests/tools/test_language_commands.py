"""`train`, `evaluate`, `generate`, `fill` and `recipes` on models that read one text."""

import json

import numpy as np
import pytest

from graphgrad.models import BUILTIN
from graphgrad.models.huggingface import read_weights
from graphgrad.tools.main import main
from graphgrad.training.runs import open_run

SMALL = ("layers=1", "heads=2", "width=16", "inner=16", "steps=4", "context=16", "fuse=false")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    generator = np.random.default_rng(0)
    words = ["one", "two", "three", "four", "five\n"]
    documents = [" ".join(generator.choice(words, 40)) + "\n" for _ in range(20)]
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("<|endoftext|>\n".join(documents))
    return path


def trained(model, text, folder, *more):
    settings = [f"--set={each}" for each in (*SMALL, *more)]
    assert main(["train", model, "--text", str(text), "--run", str(folder), *settings]) == 0
    return str(folder)


@pytest.fixture(scope="module")
def gpt_run(text, tmp_path_factory):
    return trained("gpt", text, tmp_path_factory.mktemp("gpt") / "run")


@pytest.fixture(scope="module")
def bert_run(text, tmp_path_factory):
    return trained("bert", text, tmp_path_factory.mktemp("bert") / "run")


def output(capsys, *words):
    capsys.readouterr()
    code = main(list(words))
    return code, capsys.readouterr()


def test_training_says_what_there_is_and_what_to_try(text, tmp_path, capsys):
    trained("gpt", text, tmp_path / "run", "evaluate_every=2")
    shown = capsys.readouterr().out
    assert "documents of" in shown and "held out" in shown
    assert "step 2  held-out: loss" in shown and "perplexity" in shown
    assert "bits_per_byte" in shown and "lzma_bits_per_byte" in shown
    assert f"try: graphgrad generate {tmp_path / 'run'}" in shown


def test_gpt_is_evaluated_in_bits_beside_lzma(gpt_run, capsys):
    code, shown = output(capsys, "evaluate", gpt_run, "--json")
    figures = json.loads(shown.out)
    assert code == 0 and figures["step"] == 4
    assert 7 < figures["bits_per_byte"] < 9 and 0.5 < figures["lzma_bits_per_byte"] < 8


def test_bert_is_evaluated_beside_the_unigram_baseline(bert_run, capsys):
    code, shown = output(capsys, "evaluate", bert_run)
    assert code == 0
    for name in ("masked_accuracy", "unigram_accuracy", "unigram_loss", "examples"):
        assert f"\n{name}" in shown.out


def test_generate_prints_the_prompt_and_what_follows(gpt_run, capsys):
    words = ["generate", gpt_run, "one two", "--length", "30", "--seed", "3"]
    code, first = output(capsys, *words)
    assert code == 0 and first.out.startswith("one two") and len(first.out) > 15
    assert output(capsys, *words)[1].out == first.out
    assert output(capsys, *words[:-1], "4")[1].out != first.out
    for option in (["--temperature", "0"], ["--top-k", "1"], ["--top-p", "1e-9"]):
        greedy = [output(capsys, *words[:-1], seed, *option)[1].out for seed in "56"]
        assert greedy[0] == greedy[1] != first.out


def test_generate_writes_several_samples_of_seeds_that_follow(gpt_run, capsys):
    words = ["generate", gpt_run, "one", "--length", "8"]
    _, both = output(capsys, *words, "--samples", "2")
    alone = [output(capsys, *words, "--seed", seed)[1].out for seed in "01"]
    assert both.out == "---\n".join(alone)


def test_without_a_prompt_a_document_begins(gpt_run, capsys):
    code, shown = output(capsys, "generate", gpt_run, "--length", "5")
    assert code == 0 and shown.out.strip("\n")


def test_fill_lists_words_with_their_probabilities(bert_run, capsys):
    code, shown = output(capsys, "fill", bert_run, "one [MASK] three", "--top", "3")
    lines = shown.out.splitlines()
    assert code == 0 and len(lines) == 3
    assert all(line.split()[0].endswith("%") and len(line.split()) == 2 for line in lines)
    code, shown = output(capsys, "fill", bert_run, "[MASK] two [MASK]", "--json")
    gaps = json.loads(shown.out)
    assert len(gaps) == 2 and len(gaps[0]) == 5 and set(gaps[0][0]) == {"word", "probability"}


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (["generate", "GPT", "--temperature", "-1"], "temperature"),
        (["generate", "GPT", "--length", "0"], "--length 0"),
        (["generate", "GPT", "--samples", "0"], "--samples 0"),
        (["generate", "GPT", "--top-p", "2"], "top_p"),
        (["generate", "BERT"], "does not continue a text"),
        (["fill", "GPT", "[MASK]"], "fills no gaps"),
        (["fill", "BERT", "no gap"], "no gap to fill"),
        (["fill", "BERT", "[MASK]", "--top", "0"], "--top 0"),
        (["train", "feedforward", "--text", "x"], "reads no file of text"),
        (["train", "gpt", "--text", "nowhere.txt"], "no such file"),
        (["train", "shakespeare-char"], "--text FILE"),
        (["train", "sorted"], "did you mean 'sort'"),
        (["train", "nowhere.toml"], "no recipe file"),
        (["recipes", "sorted"], "did you mean 'sort'"),
        (["translate", "GPT", "one"], "does not translate"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_is_said(command, named, gpt_run, bert_run, capsys):
    runs = {"GPT": gpt_run, "BERT": bert_run}
    code, shown = output(capsys, *(runs.get(word, word) for word in command))
    assert code == 2 and named in shown.err


def test_weights_are_exported_once(gpt_run, bert_run, tmp_path, capsys):
    for number, run in enumerate((gpt_run, bert_run)):
        folder = tmp_path / str(number)
        code, shown = output(capsys, "export", run, str(folder))
        assert code == 0 and "step 4, a vocabulary of" in shown.out
        state = open_run(run, BUILTIN).state
        weights = read_weights(folder)
        assert weights.settings.width == 16
        for name, array in weights.state.items():
            np.testing.assert_array_equal(array, state[name], err_msg=name)
        code, shown = output(capsys, "export", run, str(folder))
        assert code == 2 and "holds a model already" in shown.err


def test_recipes_are_listed_and_shown_with_their_meaning(capsys):
    code, shown = output(capsys, "recipes")
    assert code == 0
    for name in ("sort", "reverse", "shakespeare-char"):
        assert f"graphgrad train {name}" in shown.out
    code, shown = output(capsys, "recipes", "shakespeare-char")
    assert code == 0 and "published: validation loss 1.88" in shown.out
    assert "final_share = 0.1" in shown.out and "Layers of the model." in shown.out


def test_a_recipe_of_ones_own_is_trained_and_resumed(text, tmp_path, capsys):
    path = tmp_path / "mine.toml"
    path.write_text(
        'model = "gpt"\nabout = "a test"\nneeds = ["text"]\n[settings]\ncontext = 16\nwidth = 16\n'
        "layers = 1\nsteps = 2\nfuse = false\n"
    )
    run = tmp_path / "run"
    assert main(["train", str(path), "--run", str(run), "--text", str(text)]) == 0
    assert f"run {run}: mine, " in capsys.readouterr().out
    assert main(["train", "--resume", str(run), "--set", "steps=3"]) == 0
    assert "finished after step 3" in capsys.readouterr().out
