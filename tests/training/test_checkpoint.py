"""Checkpoints: complete or absent after any fault, and damage is always noticed."""

import errno
import json
import os
import resource
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from graphgrad.errors import CheckpointError, DataError, EnvironmentLimitError
from graphgrad.training import checkpoint as module
from graphgrad.training import files
from graphgrad.training.checkpoint import (
    DTYPES,
    MANIFEST,
    STATE,
    checkpoint_steps,
    load_checkpoint,
    save_checkpoint,
)

ROOT = Path(module.__file__).parents[2]


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """Flushing matters when the power fails, not here; the order of flushing has its own test."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def state_of(step):
    return {
        "encoder.0.weight": np.full((3, 4), step, np.float32),
        "adam.count": np.array(step, np.int64),
    }


def details_of(step):
    return {"epoch": step, "data": {"order": [step, 1, 2]}, "note": "für"}


def save(folder, step, keep=3):
    return save_checkpoint(folder, step, state_of(step), details_of(step), keep)


def assert_is(found, step):
    assert found.step == step
    assert found.details == details_of(step)
    assert list(found.arrays) == list(state_of(step))
    for name, array in state_of(step).items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)


def names_in(folder):
    return sorted(os.listdir(folder))


# Saving and loading


def test_every_allowed_array_comes_back_as_it_was(tmp_path):
    arrays = {dtype: np.arange(6).reshape(2, 3).astype(dtype) for dtype in DTYPES}
    arrays |= {
        "transposed": np.arange(12.0).reshape(3, 4).T,
        "strided": np.arange(20, dtype=np.int32)[::3],
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "swapped": np.arange(5, dtype=">f4"),
        "scalar": np.array(2.5),
        "empty": np.zeros((0, 3), np.float16),
        "special": np.array([np.nan, np.inf, -0.0], np.float32),
        'quote" \\ ü/中\n': np.ones(1),
    }
    path = save_checkpoint(tmp_path / "checkpoints", 12, arrays, {"a": 1})
    found = load_checkpoint(tmp_path / "checkpoints")
    assert path.name == "step-000000012" and found.path == path and found.warnings == ()
    assert list(found.arrays) == list(arrays)
    other_reader = load_file(path / STATE)
    for name, array in arrays.items():
        got = found.arrays[name]
        assert got.dtype == array.dtype.newbyteorder("=") and got.shape == array.shape
        assert got.flags.writeable
        np.testing.assert_array_equal(got, array)
        np.testing.assert_array_equal(other_reader[name], array)


def test_every_array_starts_at_a_multiple_of_its_element(tmp_path):
    arrays = {f"{dtype}.{size}": np.ones(size, dtype) for dtype in DTYPES for size in (1, 3)}
    content = (save_checkpoint(tmp_path, 1, arrays, {}) / STATE).read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0
    for name, entry in json.loads(content[8 : 8 + length]).items():
        assert entry["data_offsets"][0] % arrays[name].itemsize == 0


def test_no_arrays_and_no_details_are_a_state_too(tmp_path):
    save_checkpoint(tmp_path, 0, {}, {})
    found = load_checkpoint(tmp_path)
    assert (found.step, found.arrays, found.details) == (0, {}, {})


def test_the_manifest_is_strict_json_with_hash_size_dtype_and_shape(tmp_path):
    path = save(tmp_path, 7)
    manifest = files.parse_json((path / MANIFEST).read_bytes())
    assert manifest["files"][STATE]["bytes"] == (path / STATE).stat().st_size
    assert manifest["step"] == 7 and manifest["version"] == 1
    assert manifest["arrays"][0] == {
        "name": "encoder.0.weight",
        "dtype": "float32",
        "shape": [3, 4],
    }


def test_the_newest_is_found_by_number_not_by_text(tmp_path):
    for step in (999_999_999, 1_000_000_000):
        save(tmp_path, step)
    assert load_checkpoint(tmp_path).step == 1_000_000_000
    assert checkpoint_steps(tmp_path) == (999_999_999, 1_000_000_000)


def test_the_last_few_are_kept(tmp_path):
    for step in range(1, 7):
        save(tmp_path, step, keep=2)
    assert names_in(tmp_path) == ["step-000000005", "step-000000006"]


def test_one_step_can_be_asked_for(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step)
    assert_is(load_checkpoint(tmp_path, step=2), 2)
    with pytest.raises(CheckpointError, match="no checkpoint of step 9") as caught:
        load_checkpoint(tmp_path, step=9)
    assert "1, 2, 3" in caught.value.fix


def test_a_step_saved_again_stands_beside_the_first_until_it_is_complete(tmp_path):
    first = save(tmp_path, 5)
    second = save_checkpoint(tmp_path, 5, {"new": np.ones(2)}, {})
    assert second.name == "step-000000005-2" and not first.exists()
    assert list(load_checkpoint(tmp_path, step=5).arrays) == ["new"]
    assert save(tmp_path, 5).name == "step-000000005-3"
    assert names_in(tmp_path) == ["step-000000005-3"]


def test_saving_gives_up_the_future_that_the_run_left(tmp_path):
    for step in (10, 20, 30):
        save(tmp_path, step)
    save(tmp_path, 15)
    assert checkpoint_steps(tmp_path) == (10, 15)
    assert_is(load_checkpoint(tmp_path), 15)


def test_foreign_entries_are_left_alone(tmp_path):
    (tmp_path / "step-000000009").write_text("a file")
    (tmp_path / "step-9").mkdir()
    (tmp_path / "notes").mkdir()
    save(tmp_path, 9)
    assert_is(load_checkpoint(tmp_path), 9)
    assert names_in(tmp_path) == ["notes", "step-000000009", "step-000000009-2", "step-9"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((-1, {}, {}), "step of a checkpoint is a whole number from 0, not -1"),
        ((True, {}, {}), "not True"),
        ((1.0, {}, {}), "not 1.0"),
        ((1, {}, {}, 0), "keep, .* whole number from 1, not 0"),
        ((1, {"a": [1]}, {}), "a is a list"),
        ((1, {"a": np.array([None])}, {}), "a has the dtype object"),
        ((1, {"a": np.zeros(1, np.complex128)}, {}), "complex128"),
        ((1, {"a": np.zeros(1, "f4,i4")}, {}), "void64"),
        ((1, {"": np.ones(1)}, {}), "called ''"),
        ((1, {"__metadata__": np.ones(1)}, {}), "called '__metadata__'"),
        ((1, {"\ud800": np.ones(1)}, {}), "called"),
        ((1, {}, {"loss": float("nan")}), "details.loss is nan"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_the_disk_is_touched(tmp_path, arguments, words):
    with pytest.raises((CheckpointError, DataError), match=words):
        save_checkpoint(tmp_path / "checkpoints", *arguments)
    assert names_in(tmp_path) == []


def test_nothing_there_is_a_clear_error(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(CheckpointError, match="there is no checkpoint") as caught:
            load_checkpoint(folder)
        assert caught.value.where == str(folder) and "new run" in caught.value.fix
    assert checkpoint_steps(tmp_path / "missing") == ()


# Damage


@pytest.fixture
def two(tmp_path):
    """A folder with the checkpoints of steps 1 and 2, and the path of the second."""
    save(tmp_path, 1)
    return tmp_path, save(tmp_path, 2)


def assert_falls_back(folder, reason=""):
    found = load_checkpoint(folder)
    assert_is(found, 1)
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith("step-000000002 is damaged: ")
    assert reason in found.warnings[0]


@pytest.mark.parametrize("name", [STATE, MANIFEST])
def test_truncation_at_any_byte_is_noticed(two, name):
    folder, newest = two
    content = (newest / name).read_bytes()
    for length in [*range(0, len(content) - 2, 3), len(content) - 2, len(content) - 1]:
        (newest / name).write_bytes(content[:length])
        if name == MANIFEST and length == len(content) - 1:
            assert_is(load_checkpoint(folder), 2)  # without the last line break it is whole
        else:
            assert_falls_back(folder)
    (newest / name).write_bytes(content + b"\0")
    assert_falls_back(folder)


@pytest.mark.parametrize("name", [STATE, MANIFEST])
def test_a_flipped_bit_anywhere_is_noticed(two, name):
    folder, newest = two
    content = (newest / name).read_bytes()
    for position in range(0, len(content), 2):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position * 5 % 8
        (newest / name).write_bytes(damaged)
        assert_falls_back(folder)


@pytest.mark.parametrize("name", [STATE, MANIFEST])
def test_a_missing_file_is_named(two, name):
    folder, newest = two
    (newest / name).unlink()
    assert_falls_back(folder, f"{name} is missing")
    (newest / name).mkdir()
    assert_falls_back(folder)


def sealed(body):
    body.pop("seal", None)
    return body | {"seal": module._seal(body)}


MANIFEST_EDITS = [
    (lambda b: b.update(extra=1), "missing or unknown keys: 'extra'"),
    (lambda b: b.pop("details"), "missing or unknown keys: 'details'"),
    (lambda b: b.update(details=[]), "details is not of type dict"),
    (lambda b: b.update(step="2"), "step is not of type int"),
    (lambda b: b.update(step=True), "step is not of type int"),
    (lambda b: b.update(step=3), "manifest.json is of step 3"),
    (lambda b: b.update(format="other"), "foreign"),
    (lambda b: b.update(version=2), "format version 2; this program reads version 1"),
    (lambda b: b.update(version=True), "format version True"),
    (lambda b: b.update(files={}), "files has missing or unknown keys: 'state.safetensors'"),
    (lambda b: b["files"].update({"../x": {}}), "files has missing or unknown keys: '../x'"),
    (lambda b: b["files"].update({STATE: 1}), "state.safetensors is no object"),
    (lambda b: b["files"][STATE].update(bytes=1.0), "bytes is not of type int"),
    (lambda b: b["files"][STATE].update(bytes=1), "bytes instead of 1"),
    (lambda b: b["files"][STATE].update(sha256="0" * 64), "sha256 does not fit"),
    (lambda b: b.update(arrays={}), "arrays is no list"),
    (lambda b: b["arrays"].append(1), "arrays[2] is no object"),
    (lambda b: b["arrays"].append(b["arrays"][0]), "lists an array twice"),
    (lambda b: b["arrays"].pop(), "disagree about the arrays adam.count"),
    (lambda b: b["arrays"][0].update(dtype="object"), "dtype object, which is not allowed"),
    (lambda b: b["arrays"][0].update(dtype="int32"), "disagree about the dtype or shape"),
    (lambda b: b["arrays"][0].update(shape=[4, 3]), "disagree about the dtype or shape"),
    (lambda b: b["arrays"][0].update(shape=[4, 3.0]), "shape[1] is not of type int"),
    (lambda b: b["arrays"][0].update(name=None), "name is not of type str"),
]


@pytest.mark.parametrize(("edit", "reason"), MANIFEST_EDITS)
def test_a_manifest_that_is_wrong_although_sealed_is_damage(two, edit, reason):
    folder, newest = two
    body = json.loads((newest / MANIFEST).read_text(encoding="utf-8"))
    edit(body)
    (newest / MANIFEST).write_text(json.dumps(sealed(body)), encoding="utf-8")
    assert_falls_back(folder, reason)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"step": 2,', '"step": 2, "step": 2,', "the key 'step' stands twice"),
        ('"epoch": 2', '"epoch": 3', "its seal does not fit"),
        ('"epoch": 2', '"epoch": NaN', "NaN is no finite number"),
        ("{", "[" * 5000, "nested too deeply"),
        ("{", "null", "Extra data"),
        ("}", "", "line "),
    ],
)
def test_a_manifest_that_was_edited_is_damage(two, old, new, reason):
    folder, newest = two
    text = (newest / MANIFEST).read_text(encoding="utf-8")
    (newest / MANIFEST).write_text(text.replace(old, new, 1), encoding="utf-8")
    assert_falls_back(folder, reason)


def test_nesting_at_the_edge_of_what_can_be_read_is_damage(two):
    folder, newest = two
    text = (newest / MANIFEST).read_text(encoding="utf-8")
    for depth in range(sys.getrecursionlimit() - 150, sys.getrecursionlimit() + 2):
        deep = "[" * depth + "]" * depth
        edited = text.replace('"epoch": 2', f'"epoch": {deep}')
        (newest / MANIFEST).write_text(edited, encoding="utf-8")
        assert_falls_back(folder)


def test_a_hashed_file_that_is_no_safetensors_is_damage(two):
    folder, newest = two
    content = b"\xff" * 64
    (newest / STATE).write_bytes(content)
    body = json.loads((newest / MANIFEST).read_text(encoding="utf-8"))
    size, digest = files.write_new(newest / "copy", [content])
    body["files"][STATE] = {"bytes": size, "sha256": digest}
    (newest / MANIFEST).write_text(json.dumps(sealed(body)), encoding="utf-8")
    assert_falls_back(folder, "is no safetensors file")


def test_a_huge_manifest_is_not_read(two, monkeypatch):
    folder, newest = two
    os.truncate(newest / MANIFEST, 1 << 30)  # sparse
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("read"))
    with pytest.raises(pytest.fail.Exception):
        load_checkpoint(folder, step=1)
    with pytest.raises(CheckpointError, match="far too large"):
        load_checkpoint(folder, step=2)


def test_all_damaged_names_each_and_the_way_out(two):
    folder, newest = two
    (newest / STATE).write_bytes(b"")
    (folder / "step-000000001" / MANIFEST).unlink()
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    text = str(caught.value)
    assert "step-000000002 is damaged: state.safetensors has 0 bytes instead of" in text
    assert "step-000000001 is damaged: manifest.json is missing" in text
    assert "backup" in caught.value.fix


def test_a_damaged_step_that_was_asked_for_is_an_error(two):
    folder, newest = two
    (newest / STATE).write_bytes(b"")
    with pytest.raises(CheckpointError, match="of step 2 is left") as caught:
        load_checkpoint(folder, step=2)
    assert "those of step 1" in caught.value.fix


def test_a_run_goes_on_over_a_damaged_checkpoint(two):
    folder, newest = two
    (newest / STATE).write_bytes(b"")
    assert load_checkpoint(folder).step == 1
    save(folder, 2)
    assert_is(load_checkpoint(folder), 2)
    assert names_in(folder) == ["step-000000001", "step-000000002-2"]


def test_no_permission_is_no_damage(two, monkeypatch):
    folder, _ = two

    def refuse(path):
        raise PermissionError(errno.EACCES, "no", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(EnvironmentLimitError, match=r"cannot read manifest\.json"):
        load_checkpoint(folder)


def test_a_bad_sector_is_damage(two, monkeypatch):
    folder, newest = two
    real = Path.read_bytes

    def read(path):
        if newest in path.parents:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    assert_falls_back(folder, "the disk cannot read it")


def test_a_checkpoint_that_is_replaced_while_being_read_is_no_damage(two, monkeypatch):
    folder, newest = two
    real = Path.read_bytes

    def read(path):
        if newest in path.parents:
            monkeypatch.setattr(Path, "read_bytes", real)
            save(folder, 3, keep=1)  # removes steps 1 and 2
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    found = load_checkpoint(folder)
    assert_is(found, 3)
    assert found.warnings == ()


def test_extended_dtypes_of_the_format_are_not_taken_for_ours(two):
    folder, newest = two
    save_file({"encoder.0.weight": np.zeros((3, 4), np.complex64)}, newest / STATE)
    content = (newest / STATE).read_bytes()
    size, digest = files.write_new(newest / "copy", [content])
    body = json.loads((newest / MANIFEST).read_text(encoding="utf-8"))
    body["files"][STATE] = {"bytes": size, "sha256": digest}
    body["arrays"].pop()
    (newest / MANIFEST).write_text(json.dumps(sealed(body)), encoding="utf-8")
    assert_falls_back(folder, "disagree about the dtype")


# Faults while saving


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
                assert "the disk is full" in str(error) and "choose another --run" in error.fix
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
