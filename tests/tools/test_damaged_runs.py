"""What every command says of a run that is not as it was: the same, each time, and escaped."""

import json
import shutil

import pytest
from checkpoints import sealed_manifest

from graphgrad.tools.main import main
from graphgrad.training.checkpoint_format import MANIFEST, STATE

COMMANDS = [
    ["evaluate"],
    ["inspect"],
    ["inspect", "--explain", "loss"],
    ["render"],
    ["render", "--format", "html"],
    ["render", "--format", "dot"],
    ["plot", "--what", "flow", "-o", "x.png"],
    ["train", "--resume"],
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    words = ["train", "feedforward", "--run", str(folder / "run")]
    for value in ("steps=4", "checkpoint_every=2", "fuse=false"):
        words += ["--set", value]
    assert main(words) == 0
    return folder / "run"


@pytest.fixture
def run(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "run")
    capsys.readouterr()
    return tmp_path / "run"


def told(capsys, command, *more):
    """The exit code, and what a command told a person: `train` on its display, others beside."""
    code = main(
        [command[0], *command[1:], "run", *more]
        if command[0] == "train"
        else [command[0], "run", *command[1:], *more]
    )
    captured = capsys.readouterr()
    return code, captured.out if command[0] == "train" and not code else captured.err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_older_checkpoint_is_never_used_without_a_word(run, capsys, command):
    state = run / "checkpoints" / "step-000000004" / STATE
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.write_bytes(content)
    code, text = told(capsys, command)
    assert code == 0 and "note: step-000000004 is damaged: state.safetensors was altered" in text


@pytest.mark.parametrize("order", ["first", "second"])
def test_nor_in_a_comparison(run, trained, capsys, order):
    (run / "checkpoints" / "step-000000004" / STATE).write_bytes(b"")
    pair = ["run", "--compare", str(trained)]
    assert main(["inspect", *(pair if order == "first" else [pair[2], pair[1], pair[0]])]) == 0
    assert "step-000000004 is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_takes_lost_checkpoints_for_an_untrained_run(run, capsys, command):
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").symlink_to("/mnt/of/nobody")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    code, text = told(capsys, command)
    assert code == 2 and "the run's checkpoints are gone" in text and "mount it" in text
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_escapes_of_a_manifest_reach_no_terminal(run, capsys, command):
    path = run / "checkpoints" / "step-000000004" / MANIFEST
    body = json.loads(path.read_text(encoding="utf-8"))
    body["arrays"][0]["name"] = "\x1b]0;pwned\x07\x1b[2J"
    path.write_text(json.dumps(sealed_manifest(body)), encoding="utf-8")
    code, text = told(capsys, command)
    assert code == 0 and "\\x1b]0;pwned\\x07" in text and "\x1b" not in text


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_run_without_permission_is_one_error(run, capsys, command, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.is_file", refuse)  # chmod does not stop root
    code, text = told(capsys, command)
    assert code == 2 and "no permission" in text


def test_how_settings_are_read_is_the_same_everywhere(run, capsys):
    assert told(capsys, ["render"], "--set", "learning_rate = 0.5")[0] == 0
    code, text = told(capsys, ["train", "--resume"], "--set", "steps = 6")
    assert code == 0 and "steps 4 to 6" in text
    for command in (["render"], ["train", "--resume"]):
        code, text = told(capsys, command, "--set", "steps")
        assert code == 2 and "--set steps=VALUE" in text
        code, text = told(capsys, command, "--set", "seed=5")
        assert code == 2 and "a run keeps its seed (0)" in text and "what may change: steps" in text
