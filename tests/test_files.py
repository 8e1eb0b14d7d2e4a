"""Durable writing: whole or not at all, with clear errors."""

import errno
import os
import resource
import stat

import pytest

from graphgrad import files
from graphgrad.errors import DataError, EnvironmentLimitError
from graphgrad.files import append_line, explain_os_error, make_folder, write_atomically, write_new


class Death(BaseException):
    """The process ends here: nothing may catch it and go on."""


def refuse(number):
    def call(*arguments, **options):
        raise OSError(number, os.strerror(number))

    return call


def test_write_atomically_creates_and_replaces(tmp_path):
    path = tmp_path / "a.json"
    write_atomically(path, "größer\n")
    assert path.read_bytes() == "größer\n".encode()
    write_atomically(str(path), b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert os.listdir(tmp_path) == ["a.json"]


def test_new_files_obey_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.parametrize("name", ["write", "fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, name, number):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, name, refuse(number))
        with pytest.raises(EnvironmentLimitError):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_the_content_is_flushed_before_the_rename_and_the_folder_after(tmp_path, monkeypatch):
    events = []
    real_fsync, real_replace = os.fsync, os.replace
    kinds = {True: "folder", False: "file"}

    def fsync(descriptor):
        events.append(kinds[stat.S_ISDIR(os.fstat(descriptor).st_mode)])
        real_fsync(descriptor)

    def replace(source, target):
        events.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_atomically(tmp_path / "a", b"x")
    assert events == ["file", "rename", "folder"]


def test_a_real_short_write_is_noticed(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / "log"
    append_line(path, "kept")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(EnvironmentLimitError, match="larger than"):
            append_line(path, "x" * 5000)
        with pytest.raises(EnvironmentLimitError, match="larger than"):
            write_atomically(path, b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"kept\n"
    assert os.listdir(tmp_path) == ["log"]


def test_a_full_disk_names_the_bytes_and_the_way_out(tmp_path):
    error = explain_os_error(OSError(errno.ENOSPC, "x"), tmp_path / "state", "write", 123456)
    assert "cannot write state: the disk is full: it needs 123,456 bytes and" in error.problem
    assert error.where == str(tmp_path / "state")
    assert error.fix == "free 123,456 bytes or choose another place"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "permission"),
        (errno.EROFS, "read-only"),
        (errno.ENOENT, "does not exist"),
        (errno.ENAMETOOLONG, "too long"),
        (errno.EMFILE, "too many open files"),
        (errno.EDEADLK, os.strerror(errno.EDEADLK)),
    ],
)
def test_each_cause_is_worded(tmp_path, monkeypatch, number, words):
    def refuse_file(path, *arguments, **options):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(files, "open", refuse_file, raising=False)
    with pytest.raises(EnvironmentLimitError) as caught:
        write_atomically(tmp_path / "a", b"x")
    assert words in str(caught.value)
    assert "cannot write a:" in caught.value.problem
    assert os.listdir(tmp_path) == []


def test_real_causes_are_worded_too(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentLimitError, match="does not exist"):
        write_atomically(tmp_path / "missing" / "a", b"")
    with pytest.raises(EnvironmentLimitError, match="is a file, not a folder"):
        write_atomically(tmp_path / "file" / "a", b"")
    with pytest.raises(EnvironmentLimitError, match="in the way"):
        make_folder(tmp_path / "file")
    with pytest.raises(EnvironmentLimitError, match="too long"):
        append_line(tmp_path / ("n" * 300), "")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into any folder")
def test_a_read_only_folder_is_worded(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(EnvironmentLimitError, match="permission"):
        write_atomically(tmp_path / "a", b"x")


def test_half_a_character_is_refused_before_the_disk_is_touched(tmp_path):
    with pytest.raises(DataError, match="position 2"):
        write_atomically(tmp_path / "a", "ab\ud800")
    assert os.listdir(tmp_path) == []


def test_write_new_never_overwrites(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "a", [b"new"])
    size, digest = write_new(tmp_path / "b", [b"", b"ab", memoryview(b"c")])
    assert (size, (tmp_path / "b").read_bytes()) == (3, b"abc")
    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_append_line_appends_and_ends_a_torn_line(tmp_path):
    path = tmp_path / "log"
    append_line(path, "one")
    append_line(path, "zwei ü", durable=True)
    assert path.read_text(encoding="utf-8") == "one\nzwei ü\n"
    path.write_bytes(b"one\nto")
    append_line(path, "three")
    assert path.read_bytes() == b"one\nto\nthree\n"


def test_a_failed_append_is_cut_off_again(tmp_path, monkeypatch):
    path = tmp_path / "log"
    append_line(path, "kept")
    real_write = os.write
    calls = []

    def half(descriptor, data):
        if calls:
            raise OSError(errno.ENOSPC, "full")
        calls.append(1)
        return real_write(descriptor, data[: len(data) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(EnvironmentLimitError, match="disk is full"):
            append_line(path, "a long line")
    assert path.read_bytes() == b"kept\n"


def test_a_write_that_writes_nothing_does_not_hang(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "write", lambda descriptor, data: 0)
    with pytest.raises(EnvironmentLimitError, match="input/output error"):
        write_atomically(tmp_path / "a", b"x")


def test_death_between_write_and_rename_leaves_only_a_temporary_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def die(*arguments, **options):
        raise Death

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        patch.setattr(os, "unlink", die)
        with pytest.raises(Death):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    leftover = [name for name in os.listdir(tmp_path) if name != "a"]
    assert len(leftover) == 1 and leftover[0].startswith(files.TEMPORARY_PREFIX)


def test_make_folder_flushes_every_new_parent(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(files, "sync_folder", synced.append)
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    assert set(synced) == {tmp_path, tmp_path / "a"}
    make_folder(tmp_path / "a" / "b")
    assert len(synced) == 2


def test_a_disk_that_cannot_flush_folders_is_accepted(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", refuse(errno.EINVAL))
    files.sync_folder(tmp_path)
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        files.sync_folder(tmp_path)
