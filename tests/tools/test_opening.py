"""A run where a model is wanted, and the reverse: what it is, and what to write instead."""

import pytest

from graphgrad.models import BUILTIN
from graphgrad.tools.main import main


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with two runs of one model."""
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for _ in range(2):
            assert main(["train", "feedforward", "--set", "steps=1"]) == 0
    return folder


@pytest.fixture(autouse=True)
def there(place, monkeypatch):
    monkeypatch.chdir(place)


def refused(capsys, *words):
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith(f"graphgrad {words[0]}: ")
    return captured.err


WANT_A_RUN = [
    ["translate"],
    ["evaluate"],
    ["inspect"],
    ["inspect", "--steps"],
    ["plot"],
    ["plot", "--what", "flow"],
    ["train", "--resume"],
]
WANT_A_MODEL = [["train"], ["train", "--settings"]]


@pytest.mark.parametrize("words", WANT_A_RUN, ids=" ".join)
def test_a_model_is_no_run(words, capsys):
    error = refused(capsys, *words, "feedforward")
    assert "feedforward is a model, and the folder of a run is wanted here" in error
    assert "runs of it: runs/feedforward-001, runs/feedforward-002" in error
    error = refused(capsys, *words, "transformer")
    assert "train it: graphgrad train transformer" in error


def test_a_model_beside_a_run_is_no_run(capsys):
    error = refused(capsys, "inspect", "runs/feedforward-001", "--compare", "feedforward")
    assert "feedforward is a model" in error


@pytest.mark.parametrize("words", WANT_A_MODEL, ids=" ".join)
def test_a_run_is_no_model(words, capsys):
    error = refused(capsys, *words, "runs/feedforward-001")
    assert "runs/feedforward-001 is a run, and a model is wanted here" in error
    assert "graphgrad train --resume runs/feedforward-001" in error
    assert all(name in error for name in BUILTIN)
    error = refused(capsys, *words, "runs")
    assert "runs is a folder, and a model is wanted here" in error


@pytest.mark.parametrize("batch", ["-1", "-2", str(2**63)])
@pytest.mark.parametrize(
    "words",
    [
        ["inspect"],
        ["plot", "--what", "flow"],
        ["inspect", "--explain", "hidden.h1.a"],
        ["inspect", "--compare", "runs/feedforward-002"],
    ],
    ids=" ".join,
)
def test_a_batch_that_there_is_not_is_one_error(words, batch, capsys):
    error = refused(capsys, *words, "runs/feedforward-001", f"--batch={batch}")
    assert f"--batch {batch}: the batches of a run are counted from 0" in error
    if words == ["inspect"]:
        assert main([*words, "runs/feedforward-001", "--batch", "7"]) == 0


def test_a_model_that_reads_no_files_says_so(capsys):
    error = refused(capsys, "train", "feedforward", "--source", "s", "--target", "t")
    assert "the model feedforward reads no lines of text" in error
    assert "--text FILE" in refused(capsys, "train", "gpt", "--source", "s", "--target", "t")
    assert "--source FILE --target FILE" in refused(capsys, "train", "transformer", "--text", "t")
    error = refused(capsys, "train", "feedforward", "--set", "source=s")
    assert "there is no setting 'source'" in error and "settings: seed, steps" in error


# ---------------------------------------------------------------- settings


def test_settings_are_listed_with_value_and_meaning(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["train", "transformer", "--settings", "--set", "width=32"]) == 0
    text = capsys.readouterr().out
    assert "settings of transformer" in text and max(map(len, text.splitlines())) <= 100
    rows = {line.split()[0]: line.split() for line in text.splitlines()[2:] if line[0] != " "}
    assert list(rows) == list(vars(BUILTIN["transformer"].Settings()))
    assert rows["width"][1] == "32" and rows["heads"][1] == "4" and rows["tie"][1] == "false"
    assert "Layers of the encoder" in text


def test_settings_of_a_wrong_value_or_without_a_model_are_refused(capsys):
    assert "width must be at least 1" in refused(
        capsys, "train", "transformer", "--settings", "--set", "width=0"
    )
    assert "train transformer --settings" in refused(capsys, "train", "--settings")


def test_a_users_own_settings_are_listed(capsys, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from graphgrad.training.settings import TrainingSettings\n"
        "@dataclass(frozen=True)\n"
        "class Settings(TrainingSettings):\n"
        "    size: int = 3\n"
        '    """How large \x1b[31mit is."""\n'
        "def task(settings, files): ...\n",
        encoding="utf-8",
    )
    assert main(["train", str(tmp_path / "mine.py"), "--settings"]) == 0
    text = capsys.readouterr().out
    assert "How large \\x1b[31mit is." in text and "\x1b" not in text
