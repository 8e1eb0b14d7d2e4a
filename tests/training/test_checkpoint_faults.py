"""Checkpoints while the system fails: complete or absent after any fault, and nothing left over."""

import errno
import os
import resource
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checkpoints import assert_is, names_in, save

from graphgrad import files
from graphgrad.errors import EnvironmentLimitError
from graphgrad.training import checkpoint as module
from graphgrad.training.checkpoint import (
    checkpoint_steps,
    load_checkpoint,
    save_checkpoint,
)

ROOT = Path(module.__file__).parents[2]
pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


class Death(BaseException):
    """The process ends here; whatever it tries afterwards does nothing."""


class Faults:
    """Lets the system call number ``at`` and, when ``deadly``, all later ones fail.

    A failing write writes half its data first, as a crash or a full disk does.
    """

    def __init__(self, monkeypatch, at, deadly, number=errno.ENOSPC):
        self.count, self.at, self.deadly, self.number = 0, at, deadly, number
        self.write = os.write
        for name in ("write", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir"):
            monkeypatch.setattr(os, name, self.wrapped(getattr(os, name), name == "write"))
        monkeypatch.setattr(files, "open", self.wrapped(open, False), raising=False)

    def wrapped(self, call, writes):
        def guarded(*arguments, **options):
            position, self.count = self.count, self.count + 1
            if position == self.at or (self.deadly and position > self.at):
                if writes and position == self.at:
                    self.write(arguments[0], arguments[1][: len(arguments[1]) // 2])
                raise Death if self.deadly else OSError(self.number, os.strerror(self.number))
            return call(*arguments, **options)

        return guarded


def count_calls(tmp_path, monkeypatch, act):
    with monkeypatch.context() as patch:
        faults = Faults(patch, at=-1, deadly=False)
        act(tmp_path / "counting")
    return faults.count


def prepare(folder, kind):
    """Puts ``folder`` into the state from which ``act`` saves step 4 with keep=2."""
    for step in {"fresh": (), "older": (2, 3), "again": (3, 4), "future": (3, 5)}[kind]:
        save(folder, step)
    return {"fresh": None, "older": 3, "again": 4, "future": 5}[kind]


@pytest.mark.parametrize("kind", ["fresh", "older", "again", "future"])
def test_death_at_any_system_call_leaves_the_old_or_the_new_state(tmp_path, monkeypatch, kind):
    prepare(tmp_path / "counting", kind)
    total = count_calls(tmp_path, monkeypatch, lambda folder: save_changed(folder))
    assert total >= 10
    outcomes = set()
    for at in range(total):
        folder = tmp_path / f"{at}"
        old = prepare(folder, kind)
        with monkeypatch.context() as patch:
            Faults(patch, at, deadly=True)
            with pytest.raises(Death):
                save_changed(folder)
        outcomes.add(assert_old_or_changed(folder, old))
        save(folder, 6, keep=2)
        assert_is(load_checkpoint(folder), 6)
        assert all(name.startswith("step-") for name in names_in(folder))
        shutil.rmtree(folder)
    assert outcomes == {"old", "new"}


def save_changed(folder):
    return save_checkpoint(folder, 4, {"changed": np.arange(5)}, {"changed": True}, keep=2)


def assert_old_or_changed(folder, old):
    if not checkpoint_steps(folder):
        assert old is None
        return "old"
    found = load_checkpoint(folder)
    assert found.warnings == ()
    if found.details == {"changed": True}:
        assert found.step == 4
        np.testing.assert_array_equal(found.arrays["changed"], np.arange(5))
        return "new"
    assert_is(found, old)
    return "old"


@pytest.mark.parametrize("kind", ["fresh", "older", "again", "future"])
def test_an_error_at_any_system_call_is_clear_and_leaves_no_rest(tmp_path, monkeypatch, kind):
    prepare(tmp_path / "counting", kind)
    total = count_calls(tmp_path, monkeypatch, save_changed)
    refused = 0
    for at in range(total):
        folder = tmp_path / f"{at}"
        old = prepare(folder, kind)
        with monkeypatch.context() as patch:
            Faults(patch, at, deadly=False)
            try:
                save_changed(folder)
            except EnvironmentLimitError as error:
                refused += 1
                assert "the disk is full" in str(error) and "choose another place" in error.fix
        assert_old_or_changed(folder, old)
        rest = names_in(folder) if folder.exists() else []
        assert [name for name in rest if name.startswith(".saving")] == []
        shutil.rmtree(folder, ignore_errors=True)
    assert refused >= 8


def test_everything_is_flushed_before_the_rename_and_the_folder_after(tmp_path, monkeypatch):
    events = []
    real_rename = os.rename

    def fsync(descriptor):
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            events.append("outer" if os.path.samestat(status, tmp_path.stat()) else "inner")
        else:
            events.append("file")

    def rename(source, target):
        events.append("rename")
        real_rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    save(tmp_path, 1)
    assert events == ["file", "file", "inner", "rename", "outer"]


@pytest.mark.parametrize("name", ["write", "fsync", "rename"])
def test_an_impatient_second_ctrl_c_leaves_no_rest(two, monkeypatch, name):
    folder, _ = two

    def interrupt(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, name, interrupt)
        with pytest.raises(KeyboardInterrupt):
            save(folder, 3)
    assert names_in(folder) == ["step-000000001", "step-000000002"]


def test_leftovers_are_swept_by_the_next_save_and_never_read(two):
    folder, newest = two
    shutil.copytree(newest, folder / ".saving-1-abc")
    shutil.copytree(newest, folder / ".removing-1-abc")
    assert load_checkpoint(folder).warnings == ()
    assert len(names_in(folder)) == 4  # reading changes nothing
    save(folder, 3)
    assert names_in(folder) == [f"step-00000000{step}" for step in (1, 2, 3)]


def test_a_real_size_limit_leaves_the_old_state(two):
    folder, _ = two
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(EnvironmentLimitError, match="larger than"):
            save_checkpoint(folder, 3, {"big": np.zeros(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names_in(folder) == ["step-000000001", "step-000000002"]
    assert_is(load_checkpoint(folder), 2)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_refuses_writing_is_a_clear_error(two, monkeypatch, number):
    folder, _ = two
    with monkeypatch.context() as patch:
        faults = Faults(patch, at=0, deadly=False, number=number)
        with pytest.raises(EnvironmentLimitError, match="cannot save step-000000003"):
            save(folder, 3)
    assert faults.count >= 1
    assert_is(load_checkpoint(folder), 2)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into any folder")
def test_a_read_only_folder_is_a_clear_error(two):
    folder, _ = two
    folder.chmod(0o500)
    try:
        with pytest.raises(EnvironmentLimitError, match="permission"):
            save(folder, 3)
    finally:
        folder.chmod(0o700)
    assert_is(load_checkpoint(folder), 2)


# Real deaths: a parent that starts a writer, kills it at a random moment and judges the folder.
# One process forks all writers, so NumPy is imported once.
KILLER = """
import os, random, signal, sys, time
import numpy as np
from graphgrad.training.checkpoint import checkpoint_steps, load_checkpoint, save_checkpoint
from graphgrad.training.run_folder import RunFolder

def write_for_ever(run, pipe):
    with run.lock():
        start = load_checkpoint(run.checkpoints).step if checkpoint_steps(run.checkpoints) else 0
        run.truncate_metrics(start)
        for step in range(start + 1, start + 10_000):
            run.append_metrics({"step": step, "loss": 1 / step})
            arrays = {"a": np.full(3000, step), "b": np.full(7, step, np.float32)}
            save_checkpoint(run.checkpoints, step, arrays, {"step": step}, keep=2)
            os.write(pipe, b"%d\\n" % step)

random.seed(5)
run = RunFolder.create(sys.argv[1])
run.write_json("configuration.json", {})
steps, repaired = [], 0
for trial in range(25):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            write_for_ever(run, writer)
        finally:
            os._exit(1)
    os.close(writer)
    assert os.read(reader, 1)  # the first save of this writer is done
    time.sleep(random.random() * 0.03)
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    acknowledged = b""
    while piece := os.read(reader, 65536):
        acknowledged += piece
    os.close(reader)
    whole = [line for line in acknowledged.split(b"\\n")[:-1] if line]
    found = load_checkpoint(run.checkpoints)
    repaired += any(name.startswith(".") for name in os.listdir(run.checkpoints))
    assert not found.warnings, found.warnings
    if len(whole) > 1:
        assert found.step - int(whole[-1]) in (0, 1), (found.step, whole[-1])
    assert found.details == {"step": found.step}
    assert (found.arrays["a"] == found.step).all() and len(found.arrays["a"]) == 3000
    assert (found.arrays["b"] == found.step).all()
    with run.lock():  # the dead writer's lock blocks nobody
        run.truncate_metrics(found.step)
    numbers = [record["step"] for record in run.metrics()]
    assert numbers == list(range(1, found.step + 1)), numbers[-3:]
    assert len(checkpoint_steps(run.checkpoints)) <= 3
    steps.append(found.step)
assert steps == sorted(set(steps))
print(len(steps), steps[-1], repaired)
"""


def test_a_writer_killed_at_random_moments_loses_nothing(tmp_path):
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path / "run")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    trials, last, repaired = map(int, result.stdout.split())
    assert trials == 25 and last >= 25
    assert repaired >= 1  # at least one death left a half-written or half-removed checkpoint
