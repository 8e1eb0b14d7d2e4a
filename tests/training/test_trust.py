"""A run that others made runs no Python file of theirs, whatever its configuration says."""

import dataclasses
import hashlib
import os
import shutil
from pathlib import Path

import pytest

from graphgrad.errors import ConfigurationError, GraphgradError, UnknownNameError
from graphgrad.models import BUILTIN
from graphgrad.tools.main import main
from graphgrad.training.configuration import read_configuration, write_configuration
from graphgrad.training.run_folder import RunFolder
from graphgrad.training.runs import create_run, open_run
from graphgrad.training.task import load_model
from graphgrad.training.trust import is_trusted, trust

MODEL = """
from dataclasses import dataclass
import pathlib
import numpy as np
from graphgrad.graph import Graph, full, parameter
from graphgrad.ops import sum
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.task import Task

pathlib.Path(__file__).with_name("was_run").touch()

@dataclass(frozen=True)
class Settings(TrainingSettings):
    steps: int = 2

def task(settings, files):
    w = parameter("w", (3,), full(1.0))
    return Task(Graph({"loss": sum(w * w, name="loss")}), lambda step: {},
                lambda state: {"loss": float((state["w"] ** 2).sum()), "examples": 1},
                tokens=lambda feeds: 1)
"""


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A user who has trained with nothing yet; the whole suite shares the machine code."""
    monkeypatch.setenv("GRAPHGRAD_CACHE", str(tmp_path / "cache"))
    return tmp_path


def written(folder, text=MODEL):
    folder.mkdir(exist_ok=True)
    (folder / "payload.py").write_text(text, encoding="utf-8")
    return folder / "payload.py"


def made(path, run):
    model = load_model(str(path), BUILTIN)
    create_run(model, model.settings, run)
    (path.parent / "was_run").unlink()
    return run


def was_run(path):
    return (path.parent / "was_run").exists()


@pytest.fixture
def strange(home, monkeypatch):
    """A run folder of somebody else with the payload in it, and the path of that."""
    with monkeypatch.context() as patch:
        patch.setenv("GRAPHGRAD_CACHE", str(home / "the cache of somebody else"))
        payload = written(home / "stranger")
        return made(payload, home / "stranger" / "run"), payload


COMMANDS = [
    ["evaluate"],
    ["translate"],
    ["inspect"],
    ["render"],
    ["plot", "--what", "attention"],
    ["train", "--resume"],
    ["inspect", "--explain", "loss"],
    ["render", "--format", "html"],
    ["plot", "--what", "flow"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_runs_a_file_that_the_run_of_a_stranger_names(strange, command, capsys):
    run, payload = strange
    words = [*command, str(run)] if command[0] == "train" else [command[0], str(run), *command[1:]]
    if command == ["translate"]:
        words.append("text")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "names a Python file that you have not trained with" in error
    assert f"--model {payload}" in error
    assert not was_run(payload)


def test_the_second_run_of_a_comparison_runs_no_file_either(strange, capsys, home):
    run, payload = strange
    ours = home / "ours"
    assert main(["train", "feedforward", "--set", "steps=1", "--run", str(ours)]) == 0
    assert main(["inspect", str(ours), "--compare", str(run)]) == 2
    assert "not trained with" in capsys.readouterr().err and not was_run(payload)


@pytest.mark.parametrize("name", ["payload.py", "./payload.py", "run/../payload.py"])
def test_a_path_that_is_not_absolute_is_never_run(strange, monkeypatch, name):
    run, payload = strange
    trust(dataclasses.replace(load_model(str(payload), BUILTIN), name=name))
    (payload.parent / "was_run").unlink()
    monkeypatch.chdir(payload.parent)
    folder = RunFolder.open(run)
    write_configuration(folder, dataclasses.replace(read_configuration(folder), model=name))
    with pytest.raises(ConfigurationError, match="without its full path"):
        open_run(run, BUILTIN)
    assert not was_run(payload)


def test_ones_own_file_is_run_as_ever(home):
    path = written(home / "mine")
    run = made(path, home / "run")
    opened = open_run(run, BUILTIN)
    assert was_run(path) and opened.model.name == str(path)
    assert is_trusted(str(path), hashlib.sha256(path.read_bytes()).hexdigest())


def test_the_file_is_run_where_the_user_names_it_and_trusted_once_they_train(strange, capsys):
    run, payload = strange
    assert main(["evaluate", str(run), "--model", str(payload)]) == 0
    assert was_run(payload)
    assert main(["evaluate", str(run)]) == 2, "to look is not to train"
    assert main(["train", "--resume", str(run), "--model", str(payload)]) == 0
    assert main(["evaluate", str(run)]) == 0
    capsys.readouterr()


def test_a_trusted_file_is_trusted_at_its_place_only(home, strange):
    """Its neighbours are its own there; a copy elsewhere would find those of somebody else."""
    run, payload = strange
    ours = written(home / "mine")
    made(ours, home / "run")
    assert ours.read_bytes() == payload.read_bytes()
    with pytest.raises(ConfigurationError, match="not trained with"):
        open_run(run, BUILTIN)
    assert not was_run(payload)


def test_an_edited_file_is_refused_and_used_only_where_it_is_named(home, capsys):
    path = written(home / "mine")
    run = made(path, home / "run")
    written(home / "mine", MODEL.replace("w * w", "w * w * w"))
    for words in (["evaluate", str(run)], ["train", "--resume", str(run)]):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert "was changed since the run was trained with it" in error
        assert f"--model {path}" in error
    assert not was_run(path)
    assert main(["evaluate", str(run), "--model", str(path)]) == 0
    error = capsys.readouterr().err
    assert "is not the file that the run was trained with" in error
    assert "the graph of the model is not the one" in error


def test_a_file_that_was_moved_is_named_by_its_new_place(home, capsys):
    path = written(home / "mine")
    run = made(path, home / "run")
    shutil.move(home / "mine", home / "new")
    with pytest.raises(UnknownNameError, match="no model file") as error:
        open_run(run, BUILTIN)
    assert "--model FILE" in error.value.fix
    assert open_run(run, BUILTIN, model_file=str(home / "new" / "payload.py")).warnings[:-1] == ()
    words = ["train", "--resume", str(run), "--model", str(home / "new" / "payload.py")]
    assert main(words) == 0
    capsys.readouterr()
    assert open_run(run, BUILTIN).model.name == str(home / "new" / "payload.py")


def test_a_built_in_model_takes_no_file(home, capsys):
    run = home / "run"
    assert main(["train", "feedforward", "--set", "steps=1", "--run", str(run)]) == 0
    with pytest.raises(ConfigurationError, match="built-in model feedforward"):
        open_run(run, BUILTIN, model_file=str(written(home / "mine")))
    for words in (
        ["render", "feedforward"],
        ["train", "feedforward"],
        ["inspect", "feedforward", "--explain", "loss"],
    ):
        assert main([*words, "--model", "payload.py"]) == 2
        assert "there is no run" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["relative", "world-writable"])
def test_where_no_record_can_be_kept_the_file_is_named_each_time(monkeypatch, tmp_path, kind):
    if kind == "relative":
        monkeypatch.setenv("GRAPHGRAD_CACHE", "nowhere")
    else:
        monkeypatch.setenv("GRAPHGRAD_CACHE", str(tmp_path / "cache"))
        (tmp_path / "cache" / "trained_models").mkdir(parents=True)
        (tmp_path / "cache" / "trained_models").chmod(0o777)
    path = written(tmp_path / "mine")
    run = made(path, tmp_path / "run")
    with pytest.raises(ConfigurationError, match="not trained with"):
        open_run(run, BUILTIN)
    assert open_run(run, BUILTIN, model_file=str(path)).step == 0


def test_a_record_that_others_could_have_written_counts_for_nothing(strange, home, monkeypatch):
    run, payload = strange
    trust(load_model(str(payload), BUILTIN))
    (payload.parent / "was_run").unlink()
    assert open_run(run, BUILTIN)
    (payload.parent / "was_run").unlink()
    for record in (home / "cache" / "trained_models").iterdir():
        record.chmod(0o666)
    with pytest.raises(GraphgradError, match="not trained with"):
        open_run(run, BUILTIN)
    assert not was_run(payload)


def test_an_unreadable_model_file_is_one_error(home, monkeypatch):
    path = written(home / "mine")
    run = made(path, home / "run")

    def refuse(*arguments, **keywords):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_file", refuse)
        with pytest.raises(GraphgradError, match="no permission"):
            load_model(str(path), BUILTIN)
        with pytest.raises(GraphgradError, match="no permission"):
            open_run(run, BUILTIN)
    os.unlink(path)
    os.mkfifo(path)
    with pytest.raises(GraphgradError, match="no model file"):
        open_run(run, BUILTIN)
    os.unlink(path)  # whoever reads the sources of all modules (hypothesis does) waits for a pipe
