"""`graphgrad train`: what it prints and leaves, and one clear error for every mistake."""

import errno
import json
import os
import re
import shutil
from functools import partial

import pytest
from threadpoolctl import threadpool_limits

from graphgrad.models import BUILTIN
from graphgrad.reports.history import read_history
from graphgrad.tools import train
from graphgrad.tools.main import main
from graphgrad.training import translation_data
from graphgrad.training.checkpoint_format import STATE
from graphgrad.training.run_folder import RunFolder

SOURCE = ["one", "two", "three", "four", "five", "six"]
TARGET = dict(zip(SOURCE, ["eins", "zwei", "drei", "vier", "fünf", "sechs"], strict=True))
LINES = [" ".join(SOURCE[(n * k + k) % 6] for k in range(1, n % 4 + 2)) for n in range(60)]
SMALL = ["layers=1", "width=16", "heads=2", "inner=16", "batch_size=4", "steps=12", "warmup=2",
         "checkpoint_every=5", "tokens=whitespace"]  # fmt: skip

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

UNGUARDED = """
from dataclasses import dataclass
import numpy as np
from graphgrad.graph import Graph, input, normal, parameter
from graphgrad.ops import log, sum
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.task import Task

@dataclass(frozen=True)
class Settings(TrainingSettings):
    steps: int = 1

def task(settings, files):
    w = parameter("w", 3, normal(1.0), settings.dtype)
    y = log(w * w * input("x", 3, settings.dtype), name="logarithm √")
    return Task(Graph({"loss": sum(y, name="loss")}), lambda step: {"x": np.ones(3)},
                lambda state: {})
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with nothing but two aligned files."""
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path)
    return tmp_path


def write_lines(folder):
    translated = [" ".join(TARGET[word] for word in line.split()) for line in LINES]
    (folder / "train.en").write_text("\n".join(LINES) + "\n", encoding="utf-8")
    (folder / "train.de").write_text("\n".join(translated) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of twelve steps, made once."""
    folder = tmp_path_factory.mktemp("trained")
    write_lines(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(begin()) == 0
    return folder


@pytest.fixture
def finished(place, trained, capsys):
    """A copy of that run in the working folder; its data stay where they were."""
    shutil.copytree(trained / "run", place / "run")
    capsys.readouterr()
    return place / "run"


def sets(*values):
    return [part for value in values for part in ("--set", value)]


def begin(*values, folder="run"):
    return ["train", "transformer", "--source", "train.en", "--target", "train.de", "--run",
            folder, *sets(*SMALL, *values)]  # fmt: skip


def refused(capsys, arguments):
    """The one error of a command that ends with 2."""
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"graphgrad {arguments[0]}: ")
    assert error.count("graphgrad train: ") == 1
    assert "Traceback" not in error
    assert "\n  fix:   " in error
    return error


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# ---------------------------------------------------------------- what goes well


def test_a_run_says_where_it_is_what_it_reached_and_what_to_try(place, capsys):
    assert main(begin()) == 0
    captured = capsys.readouterr()
    assert re.search(
        r"^run run: transformer, [\d,]+ parameters, steps 0 to 12$", captured.out, re.M
    )
    assert re.search(r"^step 12/12  loss \d", captured.out, re.M)
    assert re.search(r"^finished after step 12: loss \d.*exact_match .*examples \d+$", captured.out,
                     re.M)  # fmt: skip
    assert "try: graphgrad translate run TEXT" in captured.out
    assert not captured.err
    assert "\x1b" not in captured.out


def test_runs_get_numbers(place, capsys):
    for number in (1, 2):
        arguments = begin("steps=1")
        arguments[arguments.index("--run") : arguments.index("--run") + 2] = []
        assert main(arguments) == 0
        assert (place / "runs" / f"transformer-00{number}" / "configuration.json").is_file()


def test_data_files_are_kept_by_their_absolute_paths(trained):
    configuration = (trained / "run" / "configuration.json").read_text(encoding="utf-8")
    settings = json.loads(configuration)["settings"]
    assert settings["source"] == str(trained / "train.en")
    assert settings["target"] == str(trained / "train.de")


def test_resuming_a_finished_run_says_that_nothing_is_left(finished, capsys):
    assert main(["train", "--resume", "run"]) == 0
    output = capsys.readouterr().out
    assert "nothing is left to train" in output
    assert "graphgrad train --resume run --set steps=24" in output
    assert main(["train", "--resume", "run", "--set", "steps=14"]) == 0
    assert "steps 12 to 14" in capsys.readouterr().out


def test_a_damaged_newest_checkpoint_is_a_note(finished, capsys):
    state = finished / "checkpoints" / "step-000000012" / STATE
    state.write_bytes(state.read_bytes()[:100])
    assert main(["train", "--resume", "run"]) == 0
    output = capsys.readouterr().out
    assert re.search(r"^note: step-000000012 is damaged: .*100 bytes", output, re.M)
    assert "steps 10 to 12" in output


def test_the_other_built_in_models_train_too(place, capsys):
    for name in set(BUILTIN) - {"transformer"}:
        assert main(["train", name, "--run", name, *sets("steps=3")]) == 0
        output = capsys.readouterr().out
        assert "finished after step 3" in output and "try:" not in output


def test_the_first_command_in_small(place, capsys, monkeypatch):
    """`graphgrad train transformer`: fewer of the built-in dates, a smaller model, thirty steps."""
    few = partial(translation_data.dates_corpus, 2000)
    monkeypatch.setattr(translation_data, "dates_corpus", few)
    with threadpool_limits(1):  # threads that wait for a busy core would take most of the time
        train_on_dates(place, capsys)


def train_on_dates(place, capsys):
    small = sets("steps=30", "warmup=5", "layers=1", "width=32", "heads=2", "inner=32",
                 "batch_size=16", "evaluate_every=20")  # fmt: skip
    assert main(["train", "transformer", "--run", "dates", *small]) == 0
    output = capsys.readouterr().out
    lines = (place / "dates" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert len(losses) == 30
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert "    de: Sonntag, 22. November 2026  →  " in output
    assert re.search(r"step 20  held-out: loss \d\S+  exact_match \S+  examples 200", output)
    assert 'graphgrad translate dates "de: Sonntag, 22. November 2026"' in output
    assert json.loads((place / "dates" / "evaluation.json").read_text())["examples"] == 2000


def test_what_is_likely_to_go_wrong_is_noted_before_the_first_step(place, capsys, monkeypatch):
    monkeypatch.setattr(train, "busy_note", lambda: None)  # other programs may keep cores busy
    (place / "mine.py").write_text(UNGUARDED, encoding="utf-8")
    assert main(["train", "mine.py", "--run", "mine"]) == 0
    output = capsys.readouterr().out
    note = re.search(r"^note: logarithm √: log of what .*mine\.py:\d+\)$", output, re.M)
    assert note is not None and note.start() < output.index("step 1/1")
    assert main(["train", "--resume", "mine", "--set", "steps=2"]) == 0
    assert "logarithm" not in capsys.readouterr().out, "said once"
    assert main(["train", "feedforward", "--run", "clean", *sets("steps=1")]) == 0
    notes = re.findall(r"^note: (.*)$", capsys.readouterr().out, re.M)
    of_the_machine = [note for note in notes if "openblas" in note.lower()]  # when it is busy
    assert len(notes) - len(of_the_machine) == 1, "of the data alone"


# ---------------------------------------------------------------- what does not


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
        (["train", "transformer", "--source", "none.en", "--target", "train.de"],
         ["no such file", "none.en"]),
        (["train", "--resume", "none"], ["there is no run none"]),
        (["train", "transformer", "--resume", "none"], ["takes no model"]),
        (["train", "--resume", "none", "--run", "other"], ["takes no model, --run"]),
    ],
)  # fmt: skip
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
    error = refused(capsys, ["train", "transformer", "--source", "wrong.en", "--target",
                             "wrong.de", *sets(*SMALL)])  # fmt: skip
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


# ---------------------------------------------------------------- recording


def test_figures_are_recorded_and_go_on_being_recorded(place, capsys):
    recording = ["--inspect-every", "4", "--inspect", "encoder.0.*", "--inspect", "*.logits"]
    assert main([*begin("steps=10"), *recording]) == 0
    history = read_history(RunFolder.open("run"))
    assert history.steps == (1, 4, 8)
    tops = {".".join(name.split(".")[:2]) for name in history.names}
    assert "encoder.0" in tops and "encoder.1" not in tops
    assert {"decoder.output.logits", "decoder.output.logits.delta"} <= set(history.names)
    settings = json.loads((place / "run" / "configuration.json").read_text())["settings"]
    assert (settings["inspect_every"], settings["inspect"]) == (4, "encoder.0.*,*.logits")
    assert main(["train", "--resume", "run", *sets("steps=14")]) == 0
    assert read_history(RunFolder.open("run")).steps == (1, 4, 8, 12)
    assert main(["train", "--resume", "run", "--inspect-every", "0", *sets("steps=18")]) == 0
    assert read_history(RunFolder.open("run")).steps == (1, 4, 8, 12)


def test_mistakes_in_what_to_record_are_named(place, capsys):
    assert "add --inspect-every" in refused(capsys, [*begin(), "--inspect", "encoder.*"])
    assert "at least 0" in refused(capsys, [*begin(), "--inspect-every", "-1"])
    assert "not an integer" in refused(capsys, [*begin(), "--inspect-every", "often"])
    error = refused(capsys, [*begin(), "--inspect-every", "2", "--inspect", "enkoder.*"])
    assert "no node has a name like 'enkoder.*'" in error
    assert names(place) == ["train.de", "train.en"]  # nothing is left behind
