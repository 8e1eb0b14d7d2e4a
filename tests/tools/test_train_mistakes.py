"""`graphgrad train`: one clear error for every mistake, which leaves nothing behind."""

import errno
import os
import re
import shutil

import pytest
from train_command import SMALL, begin, names, refused, sets

from graphgrad.tools.main import main
from graphgrad.training.checkpoint_format import STATE

WRONG_SHAPE = """
from dataclasses import dataclass
from graphgrad.graph import Graph, parameter
from graphgrad.ops import matmul, sum
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.task import Task

@dataclass(frozen=True)
class Settings(TrainingSettings):
    pass

def task(settings, files):
    x, w = parameter("x", (2, 3)), parameter("w", (4, 5))
    return Task(Graph({"loss": sum(matmul(x, w))}), lambda step: {}, lambda state: {})
"""


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["train"], ["needs a model", "graphgrad train transformer"]),
        (["train", "transfomer"], ["'transfomer'", "did you mean 'transformer'?"]),
        (["train", "mine.py"], ["no model file mine.py"]),
        (["train", "transformer", "--set", "learning_rat=1"], ["did you mean 'learning_rate'?"]),
        (["train", "transformer", "--set", "steps=many"], ["steps", "'many'", "an integer"]),
        (["train", "transformer", "--set", "learning_rate=nan"], ["learning_rate", "nan"]),
        (["train", "transformer", "--set", "clip_norm=inf"], ["clip_norm", "finite", "inf"]),
        (["train", "transformer", "--set", "steps"], ["'steps'", "--set steps=VALUE"]),
        (["train", "transformer", "--set", "width=30"], ["width 30", "heads 4"]),
        (["train", "transformer", "--source", "train.en"], ["source and target"]),
        (
            ["train", "transformer", "--source", "none.en", "--target", "train.de"],
            ["no such file", "none.en"],
        ),
        (["train", "--resume", "none"], ["there is no run none"]),
        (["train", "transformer", "--resume", "none"], ["takes no model"]),
        (["train", "--resume", "none", "--run", "other"], ["takes no model, --run"]),
    ],
)
def test_a_wrong_word_is_one_error_and_leaves_nothing(place, capsys, arguments, parts):
    before = names(place)
    error = refused(capsys, arguments)
    for part in parts:
        assert part in error
    assert names(place) == before


@pytest.mark.parametrize(
    ("source", "target", "parts"),
    [
        ("a\nb\nc\n", "A\nB\n", ["do not align", "3 source lines", "2 target lines"]),
        ("", "A\nB\n", ["empty", "wrong.en"]),
        ("a\nb\nc\n", "", ["empty", "wrong.de"]),
        ("a\n\n\n", "\nB\nC\n", ["none of the 3 pairs"]),
        ("a\na\na\n", "A\nA\nA\n", ["too few"]),
        (b"\xff\xfe\n", b"A\n", ["not UTF-8", "line 1"]),
    ],
)
def test_files_that_cannot_be_used_are_one_error(place, capsys, source, target, parts):
    for name, content in (("wrong.en", source), ("wrong.de", target)):
        data = content if isinstance(content, bytes) else content.encode()
        (place / name).write_bytes(data)
    before = names(place)
    files = ["--source", "wrong.en", "--target", "wrong.de"]
    error = refused(capsys, ["train", "transformer", *files, *sets(*SMALL)])
    for part in parts:
        assert part in error
    assert names(place) == before


def test_a_wrong_shape_in_a_model_file_is_told_with_its_line(place, capsys):
    (place / "mine.py").write_text(WRONG_SHAPE, encoding="utf-8")
    error = refused(capsys, ["train", "mine.py"])
    line = next(n for n, text in enumerate(WRONG_SHAPE.splitlines(), 1) if "matmul(x, w)" in text)
    assert "matmul" in error and "[2, 3]" in error and "[4, 5]" in error
    assert f"mine.py:{line}" in error
    assert not (place / "runs").exists()


def test_a_syntax_error_in_a_model_file_is_told_with_its_line(place, capsys):
    (place / "mine.py").write_text("x = 1\ny = = 2\n", encoding="utf-8")
    assert "mine.py:2" in refused(capsys, ["train", "mine.py"])


def test_a_folder_with_a_run_is_not_overwritten(finished, capsys):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    assert "--resume run" in refused(capsys, begin())
    assert before == {path: path.read_bytes() for path in before}


def test_truncated_checkpoints_are_each_named(finished, capsys):
    for state in (finished / "checkpoints").glob("*/" + STATE):
        state.write_bytes(state.read_bytes()[:-1])
    error = refused(capsys, ["train", "--resume", "run"])
    for step in (5, 10, 12):
        assert f"step-{step:09d} is damaged" in error


def test_another_architecture_does_not_resume(finished, capsys):
    error = refused(capsys, ["train", "--resume", "run", *sets("width=32")])
    assert "a run keeps its width (16)" in error and "what may change: steps" in error


def test_missing_data_is_told_before_anything_of_the_run_is_changed(finished, capsys):
    def times():
        return {name: (finished / name).stat().st_mtime_ns for name in names(finished)}

    before = times()
    gone = sets("steps=20", "source=gone.en")
    assert "gone.en" in refused(capsys, ["train", "--resume", "run", *gone])
    assert times() == before


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_at_the_start_leaves_nothing(place, capsys, monkeypatch, call):
    before = names(place)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        error = refused(capsys, begin())
    assert "the disk is full" in error and "free" in error
    assert names(place) == before


@pytest.mark.parametrize(("call", "allowed"), [("fsync", 28), ("fsync", 36), ("write", 200)])
def test_a_full_disk_later_keeps_what_was_saved(place, capsys, monkeypatch, call, allowed):
    original, left = getattr(os, call), [allowed]

    def filling(*arguments):
        left[0] -= 1
        return original(*arguments) if left[0] > 0 else full()

    with monkeypatch.context() as patch:
        patch.setattr(os, call, filling)
        error = refused(capsys, begin("checkpoint_every=2"))
    assert "the disk is full" in error
    assert not [name for name in names(place) if ".saving-" in name]
    assert main(["train", "--resume", "run"]) == 0
    assert "finished after step 12" in capsys.readouterr().out


def full(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_learning_rate_that_is_far_too_large_names_a_node(place, capsys):
    error = refused(capsys, begin("learning_rate=1e30", "clip_norm=0", "optimiser=sgd"))
    assert re.search(r"step \d+: the (value|delta|next value) [a-z]+\.", error)
    assert re.search(r"where: .*\.py:\d+", error)
    assert "lower learning_rate" in error
    shutil.rmtree(place / "run")


def test_mistakes_in_what_to_record_are_named(place, capsys):
    assert "add --inspect-every" in refused(capsys, [*begin(), "--inspect", "encoder.*"])
    assert "at least 0" in refused(capsys, [*begin(), "--inspect-every", "-1"])
    assert "not an integer" in refused(capsys, [*begin(), "--inspect-every", "often"])
    error = refused(capsys, [*begin(), "--inspect-every", "2", "--inspect", "enkoder.*"])
    assert "no node has a name like 'enkoder.*'" in error
    assert names(place) == ["train.de", "train.en"]  # nothing is left behind
