"""A run folder on a bad disk, or put together of two: a named error, or the right result.

One small run with everything that a run can have is damaged hundreds of times, one bit, one cut or
one foreign file at a time, and used as commands use it. What comes out is an error that names what
is wrong, or an older checkpoint with a word about the newer one, or exactly what came out before.
"""

import os
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest

from graphgrad.errors import GraphgradError
from graphgrad.models import BUILTIN, transformer
from graphgrad.models.transformer import Settings
from graphgrad.passes import sizes_of
from graphgrad.reports.history import read_history
from graphgrad.training.optimisers import training_step
from graphgrad.training.run_folder import RunFolder
from graphgrad.training.runs import create_run, open_run
from graphgrad.training.task import load_model
from graphgrad.training.trainer import train

TURNS = 110
MODELS = {}
LINES = [" ".join(random.Random(n).choices("abcdef", k=n % 5 + 1)) for n in range(40)]
FREE = ("log.txt", "environment.json", "evaluation.json")
"""What is kept for people to read: no command reads it back."""


def made(folder, name, seed):
    for side, lines in (("en", LINES), ("de", [line.upper() for line in LINES])):
        (folder / f"lines.{side}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = Settings(
        layers=1,
        width=8,
        heads=2,
        inner=8,
        batch_size=4,
        steps=6,
        checkpoint_every=3,
        evaluate_every=100,
        inspect_every=2,
        inspect="*.logits",
        tokens="whitespace",
        fuse=False,
        source=str(folder / "lines.en"),
        target=str(folder / "lines.de"),
        seed=seed,
    )
    model = load_model("transformer", BUILTIN)
    run = create_run(model, settings, folder / name)
    train(run)
    return folder / name


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory, once_for_each):
    folder = tmp_path_factory.mktemp("damage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        return made(folder, "run", 0), made(folder, "other", 1)


def metrics_of(folder):
    return [
        {key: value for key, value in line.items()} for line in RunFolder.open(folder).metrics()
    ]


def history_of(folder):
    history = read_history(RunFolder.open(folder))
    return [
        (step, history.names, history.figures, values.tobytes())
        for step, values in zip(history.steps, history.values, strict=True)
    ]


class OnceForEach:
    """The transformer, whose task is made once for equal settings and texts: what takes the time of
    opening a run depends on nothing else."""

    Settings = Settings

    def __init__(self):
        self.tasks, self.graphs = {}, {}

    def task(self, settings, files):
        key = settings, tuple(sorted(files.items()))
        if key not in self.tasks:
            task = transformer.task(settings, files)
            self.tasks[key] = replace(task, step=self.training_step)
        return self.tasks[key]

    def training_step(self, graph, settings):
        key = id(graph), settings
        if key not in self.graphs:
            self.graphs[key] = training_step(graph, settings)
        return self.graphs[key]


@pytest.fixture(scope="module", autouse=True)
def once_for_each():
    model = OnceForEach()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "transformer", model)
        yield


def use_of(folder):
    """What commands get of a run: all that a translation, an evaluation or a step is made of."""
    opened = open_run(folder, MODELS)
    feeds = opened.task.feeds(opened.step)
    return {
        "step": opened.step,
        "settings": opened.settings,
        "state": {name: array.tobytes() for name, array in opened.state.items()},
        "graph": opened.graph,
        "sizes": sizes_of(opened.graph, feeds),
        "feeds": {name: array.tobytes() for name, array in feeds.items()},
        "files": dict(opened.task.files),
        "longest": opened.task.translate.target_length,
        "notes": opened.warnings,
    }


@pytest.fixture(scope="module")
def right(two_runs):
    """The uses of the whole run, at each step that it has a checkpoint of."""
    folder, _ = two_runs
    uses = {6: use_of(folder)}
    older = folder.with_name("older")
    shutil.copytree(folder, older)
    for step in (6, 3):
        shutil.rmtree(older / "checkpoints" / f"step-{step:09d}")
        found = use_of(older)
        uses[found["step"]] = found
    assert set(uses) == {6, 3, 0} and uses[6]["notes"] == uses[3]["notes"] == ()
    return uses, metrics_of(folder), history_of(folder)


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")


def outcome(folder, right):
    """`refused`, `older` or `right`; a failed test for anything else."""
    uses, metrics, history = right
    ends = set()
    try:
        found = use_of(folder)
        wanted = uses[found["step"]]
        for part in wanted.keys() - {"notes"}:
            assert found[part] == wanted[part], part
        if found["step"] != 6:
            assert "is damaged" in found["notes"][0]
            ends.add("older")
    except GraphgradError as error:
        assert error.where or error.fix
        ends.add("refused")
    for read, whole in ((metrics_of, metrics), (history_of, history)):
        try:
            lines = read(folder)
            assert lines == whole[: len(lines)], read.__name__  # a cut end is told on resuming
        except GraphgradError:
            ends.add("refused")
    return ends


def damaged(path, generator, cut):
    content = path.read_bytes()
    place = generator.randrange(len(content))
    if cut:
        return content[:place]
    changed = bytearray(content)
    changed[place] ^= 1 << generator.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("number", range(6))
def test_no_flipped_bit_and_no_cut_goes_unnoticed(two_runs, right, number):
    folder, _ = two_runs
    generator = random.Random(number)
    files = files_of(folder)
    counts = {path: 0 for path in files}
    for turn in range(TURNS):
        path = files[turn % len(files)]
        content = path.read_bytes()
        path.write_bytes(damaged(path, generator, turn % 5 == 4))
        try:
            ends = outcome(folder, right)
        except AssertionError as error:
            raise AssertionError(f"{path.relative_to(folder)} was damaged in silence") from error
        finally:
            path.write_bytes(content)
        counts[path] += bool(ends)
    for path, noticed in counts.items():
        newest = path.parent.name == "step-000000006"
        read = path.name not in FREE and (path.parent == folder or newest)
        assert (noticed > 0) == read, path.relative_to(folder)


def test_no_file_of_another_run_goes_unnoticed(two_runs, right):
    folder, other = two_runs
    for path in files_of(folder):
        theirs = other / path.relative_to(folder)
        content = path.read_bytes()
        if theirs.read_bytes() == content:
            continue
        path.write_bytes(theirs.read_bytes())
        try:
            ends = outcome(folder, right)
        finally:
            path.write_bytes(content)
        newest = path.parent.name == "step-000000006"
        assert bool(ends) == (path.name not in FREE and (path.parent == folder or newest)), path


def test_the_checkpoint_and_the_texts_of_another_run_go_unnoticed_neither(two_runs, right):
    """Whole files that fit each other, only not the rest of the run."""
    folder, other = two_runs
    copy = folder.with_name("mixed")
    for pattern in ("checkpoints", "vocabulary-*.json", "*.json", "*.bin", "*.jsonl"):
        shutil.copytree(folder, copy)
        for theirs in other.glob(pattern):
            ours = copy / theirs.name
            if ours.is_dir():
                shutil.rmtree(ours)
                shutil.copytree(theirs, ours)
            else:
                shutil.copy(theirs, ours)
        assert "refused" in outcome(copy, right), pattern
        shutil.rmtree(copy)


def test_a_missing_file_is_named(two_runs, right):
    folder, _ = two_runs
    for path in files_of(folder):
        content = path.read_bytes()
        path.unlink()
        try:
            ends = outcome(folder, right)
        finally:
            path.write_bytes(content)
        newest = path.parent.name == "step-000000006"
        needed = path.name not in (*FREE, "metrics.jsonl") and (path.parent == folder or newest)
        assert bool(ends) == needed, path


def test_what_is_no_file_is_never_waited_for(two_runs, right):
    folder, _ = two_runs
    for path in files_of(folder):
        for kind in ("pipe", "device", "huge"):
            content = path.read_bytes()
            path.unlink()
            if kind == "pipe":
                os.mkfifo(path)
            elif kind == "device":
                path.symlink_to("/dev/zero")
            else:
                path.touch()
                os.truncate(path, 100 << 30)
            try:
                ends = outcome(folder, right)
            finally:
                path.unlink()
                path.write_bytes(content)
            newest = path.parent.name == "step-000000006"
            assert bool(ends) == (path.name not in FREE and (path.parent == folder or newest))


def test_every_state_of_the_run_is_what_it_was_and_differs_from_the_others(two_runs, right):
    folder, other = two_runs
    assert outcome(folder, right) == set()
    uses = right[0]
    assert len({use["state"]["encoder.embedding"] for use in uses.values()}) == 3
    assert use_of(other)["state"] != uses[6]["state"]
    assert all(np.isfinite(array).all() for array in open_run(folder, MODELS).state.values())
