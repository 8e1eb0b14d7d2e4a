"""`train names` and its figures by language, in small; `--data`."""

import json
import re

import pytest
from train_command import sets

from graphgrad.data import builtin
from graphgrad.data.corpus import Corpus
from graphgrad.data.names import is_new, names_corpus
from graphgrad.tools.main import main

SMALL = "steps=2 layers=1 width=16 heads=2 inner=16 batch_tokens=256 buckets=2 maximum_length=24"


@pytest.fixture
def few(monkeypatch):
    """One name in a hundred."""
    whole = names_corpus()
    new = [pair for pair in whole.test if is_new(pair[0])]
    test = [*whole.test[:12], *new[:5]]
    some = Corpus("names", whole.train[::300], whole.validation[:9], test)
    monkeypatch.setattr(builtin, "names_corpus", lambda: some)
    return some


def test_names_are_trained_and_measured_by_language(few, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "names", "--run", "n", *sets(*SMALL.split())]) == 0
    output = capsys.readouterr().out
    assert "pairs of names to train on" in output
    assert 'graphgrad translate n "de: Marshall Islands"' in output
    assert main(["evaluate", "n", "--json", "--by-language"]) == 0
    found = json.loads(capsys.readouterr().out)
    known = [pair for pair in few.test if not is_new(pair[0])]
    fitting = [pair for pair in known if max(map(len, pair)) < 24]
    assert found["examples"] == len(fitting) and found["new_examples"] <= 5
    assert found["copy_exact_match"] == 0.0 and "neighbour_chrf" in found
    assert "chrF2" not in found and "chrf" in found["signatures"]
    languages = {source.split(":")[0] for source, _ in fitting}
    assert set(found["by_language"]) == languages
    assert sum(some["examples"] for some in found["by_language"].values()) == len(fitting)
    assert main(["evaluate", "n", "--by-language"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines[-len(languages) :]} == languages


def test_data_names_a_corpus_of_the_model(few, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "transformer", "--data", "names", "--settings"]) == 0
    assert re.search("^data +names ", capsys.readouterr().out, re.M)
    assert main(["train", "transformer", "--data", "nams"]) == 2
    assert "did you mean 'names'" in capsys.readouterr().err
    assert main(["train", "feedforward", "--data", "names"]) == 2
    assert "has its own data only" in capsys.readouterr().err


def test_data_names_the_folder_of_a_recipe(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "shakespeare-char", "--data", "nowhere"]) == 2
    error = capsys.readouterr().err
    assert "nowhere is not a folder" in error and "input.txt" in error
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "inptu.txt").write_text("abc\n")
    assert main(["train", "shakespeare-char", "--data", "texts"]) == 2
    error = capsys.readouterr().err
    assert "the folder has no input.txt" in error and "inptu.txt" in error
    (folder / "input.txt").write_text("abc\n")
    assert main(["train", "shakespeare-char", "--data", "texts", "--settings"]) == 0
    assert str(folder / "input.txt") in capsys.readouterr().out


def test_a_run_on_files_has_no_figures_by_language(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = "".join(f"{number}\n" for number in range(100, 160))
    for name in ("s", "t"):
        (tmp_path / name).write_text(lines)
    small = sets(*["steps=1", "layers=1", "width=8", "heads=2", "inner=8", "batch_size=4"])
    assert (
        main(["train", "transformer", "--source", "s", "--target", "t", "--run", "r", *small]) == 0
    )
    capsys.readouterr()
    assert main(["evaluate", "r", "--by-language"]) == 2
    assert "do not say in which language" in capsys.readouterr().err
