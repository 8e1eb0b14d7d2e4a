"""Checkpoints on a bad disk: whatever is damaged is noticed, named and passed over."""

import errno
import json
import os
import sys

import numpy as np
import pytest
from checkpoints import assert_falls_back, assert_is, names_in, save, sealed_manifest
from safetensors.numpy import save_file

from graphgrad import files
from graphgrad.errors import CheckpointError, EnvironmentLimitError
from graphgrad.training import checkpoint_format as module
from graphgrad.training.checkpoint import load_checkpoint, save_checkpoint, tidy_checkpoints
from graphgrad.training.checkpoint_format import MANIFEST, STATE

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


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


MANIFEST_EDITS = [
    (lambda b: b.update(extra=1), "missing or unknown keys: 'extra'"),
    (lambda b: b.pop("details"), "missing or unknown keys: 'details'"),
    (lambda b: b.update(details=[]), "details is not of type dict"),
    (lambda b: b.update(step="2"), "step is not of type int"),
    (lambda b: b.update(step=True), "step is not of type int"),
    (lambda b: b.update(step=3), "manifest.json is of step 3"),
    (lambda b: b.update(format="other"), "is not that of a checkpoint"),
    (lambda b: b.update(version=3), "format version 3; this program reads 1 and 2"),
    (lambda b: b.update(version=2), "manifest.json: files is not a list"),
    (lambda b: b.update(version=True), "format version True"),
    (lambda b: b.update(files={}), "files has missing or unknown keys: 'state.safetensors'"),
    (lambda b: b["files"].update({"../x": {}}), "files has missing or unknown keys: '../x'"),
    (lambda b: b["files"].update({STATE: 1}), "state.safetensors is not an object"),
    (lambda b: b["files"][STATE].update(bytes=1.0), "bytes is not of type int"),
    (lambda b: b["files"][STATE].update(bytes=1), "bytes instead of 1"),
    (lambda b: b["files"][STATE].update(sha256="0" * 64), "sha256 does not match"),
    (lambda b: b.update(arrays={}), "arrays is not a list"),
    (lambda b: b["arrays"].append(1), "arrays[2] is not an object"),
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
    (newest / MANIFEST).write_text(json.dumps(sealed_manifest(body)), encoding="utf-8")
    assert_falls_back(folder, reason)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"step": 2,', '"step": 2, "step": 2,', "the key 'step' is used twice"),
        ('"epoch": 2', '"epoch": 3', "its seal does not match"),
        ('"epoch": 2', '"epoch": NaN', "NaN is not a finite number"),
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
    (newest / MANIFEST).write_text(json.dumps(sealed_manifest(body)), encoding="utf-8")
    assert_falls_back(folder, "is not a safetensors file")


def test_a_huge_manifest_is_not_read(two):
    folder, newest = two
    os.truncate(newest / MANIFEST, 100 << 30)  # sparse: reading it would end in a MemoryError
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

    def refuse(path, limit):
        raise PermissionError(errno.EACCES, "no", str(path))

    monkeypatch.setattr(module, "read_file", refuse)
    with pytest.raises(EnvironmentLimitError, match=r"cannot read manifest\.json"):
        load_checkpoint(folder)


def test_a_bad_sector_is_damage(two, monkeypatch):
    folder, newest = two
    real = module.read_file

    def read(path, limit):
        if newest in path.parents:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path, limit)

    monkeypatch.setattr(module, "read_file", read)
    assert_falls_back(folder, "the disk cannot read it")


def test_a_checkpoint_that_is_replaced_while_being_read_is_no_damage(two, monkeypatch):
    folder, newest = two
    real = module.read_file

    def read(path, limit):
        if newest in path.parents:
            monkeypatch.setattr(module, "read_file", real)
            save(folder, 3, keep=1)  # removes steps 1 and 2
        return real(path, limit)

    monkeypatch.setattr(module, "read_file", read)
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
    (newest / MANIFEST).write_text(json.dumps(sealed_manifest(body)), encoding="utf-8")
    assert_falls_back(folder, "disagree about the dtype")


@pytest.mark.parametrize("name", [STATE, MANIFEST])
@pytest.mark.parametrize("kind", ["pipe", "link to a device"])
def test_what_is_no_file_is_damage_and_is_not_waited_for(two, name, kind):
    folder, newest = two
    (newest / name).unlink()
    if kind == "pipe":
        os.mkfifo(newest / name)
    else:
        (newest / name).symlink_to("/dev/zero")
    assert_falls_back(folder, f"{name} is not a regular file")


def test_thousands_of_empty_newer_folders_are_passed_over_soon_and_told_in_short(two, monkeypatch):
    folder, _ = two
    for step in range(3, 3003):
        (folder / f"step-{step:09d}").mkdir()
    listings, listed = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listings.append(path) or listed(path))
    found = load_checkpoint(folder)
    assert_is(found, 2)
    assert len(found.warnings) == 11 and found.warnings[-1] == "2,990 older ones are damaged too"
    assert found.warnings[0] == "step-000003002 is damaged: manifest.json is missing"
    assert len(listings) == 1


def test_a_manifest_that_could_not_be_read_back_is_not_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MANIFEST_LIMIT", 1000)
    with pytest.raises(CheckpointError, match="too large"):
        save_checkpoint(tmp_path / "c", 1, {f"array {n}": np.zeros(1) for n in range(20)}, {})
    assert names_in(tmp_path / "c") == []


def test_tidying_ends_what_was_begun_and_keeps_what_is_newer(two):
    folder, _ = two
    for step in (3, 4, 5):
        save(folder, step, keep=9)
    (folder / ".removing-1").mkdir()
    (folder / ".saving-1").mkdir()
    tidy_checkpoints(folder, folder / "step-000000004", 4, keep=2)
    assert names_in(folder) == ["step-000000003", "step-000000004", "step-000000005"]
