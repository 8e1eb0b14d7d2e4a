"""What a user keeps is theirs alone: owners, modes, links, pipes, and homes that are unknown."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
from pathlib import Path

import pytest

pytest.importorskip("llvmlite", reason="it is what compiles")

from graphgrad.loops.machine_code import Code, kernel_folder
from graphgrad.user_folder import read_own, unavailable_reason, user_folder, write_own


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("GRAPHGRAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def adds(code: Code, number: int, asked: list[int]) -> int:
    """What adding `number` to 100 gives; `asked` gets what had to be compiled for it."""
    name = code.name_of(f"adds {number}")

    def text() -> str:
        asked.append(number)
        return f"define i64 @{name}(i64 %a) {{ %b = add i64 %a, {number}\n ret i64 %b }}"

    address = code.address(name, text)
    return int(ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)(100))


def file_of(code: Code, number: int, base: Path) -> Path:
    return base / "machine_code" / f"{code.name_of(f'adds {number}')}.o"


def test_the_folder_and_its_files_are_the_users_alone(base: Path) -> None:
    before = os.umask(0)
    try:
        assert adds(Code(), 1, []) == 101
    finally:
        os.umask(before)
    folder = base / "machine_code"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert unavailable_reason("machine_code") == ""


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o1777])
def test_a_folder_that_others_may_write_is_not_used(base: Path, mode: int) -> None:
    folder = base / "machine_code"
    folder.mkdir(parents=True)
    folder.chmod(mode)
    asked: list[int] = []
    assert kernel_folder() is None
    assert [adds(Code(), 2, asked) for _ in range(2)] == [102, 102] and asked == [2, 2]
    assert not list(folder.iterdir())
    assert "not this user's alone" in unavailable_reason("machine_code")


def test_a_folder_of_another_user_is_not_used(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (base / "machine_code").mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert kernel_folder() is None


def test_a_link_to_a_folder_is_not_used(base: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    base.mkdir()
    (base / "machine_code").symlink_to(tmp_path / "elsewhere")
    assert kernel_folder() is None


PLANTED = {
    "nothing but a checksum": lambda path: path.write_bytes(hashlib.sha256(b"").digest()),
    "garbage with a checksum": lambda path: path.write_bytes(
        hashlib.sha256(b"garbage").digest() + b"garbage"
    ),
    "a pipe": lambda path: os.mkfifo(path),
    "a folder": lambda path: path.mkdir(),
    "a link into nothing": lambda path: path.symlink_to("nowhere"),
    "a file for everybody": lambda path: (path.write_bytes(b"x" * 99), path.chmod(0o666)),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_what_is_planted_is_not_run_and_does_not_hang(base: Path, kind: str) -> None:
    assert kernel_folder() is not None
    code, asked = Code(), []
    PLANTED[kind](file_of(code, 3, base))
    assert adds(code, 3, asked) == 103 and asked == [3]
    if kind != "a folder":
        assert adds(Code(), 3, asked) == 103 and asked == [3], "replaced by what is right"


def test_code_that_is_kept_under_another_name_is_not_run(base: Path) -> None:
    code, asked = Code(), []
    assert adds(code, 4, asked) == 104
    shutil.copy(file_of(code, 4, base), file_of(code, 5, base))
    assert adds(Code(), 5, asked) == 105 and asked == [4, 5]


def test_code_of_another_secret_is_not_run(base: Path) -> None:
    asked: list[int] = []
    assert adds(Code(), 6, asked) == 106
    kept = file_of(Code(), 6, base).read_bytes()
    shutil.rmtree(base / "machine_code")
    other = base.with_name("other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAPHGRAD_CACHE", str(other))
        assert adds(Code(), 7, asked) == 107  # makes the secret of the other folder
        file_of(Code(), 6, other).write_bytes(kept)
        assert adds(Code(), 6, asked) == 106 and asked == [6, 7, 6]


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 33])
def test_a_damaged_secret_is_made_anew(base: Path, damage: bytes) -> None:
    folder = kernel_folder()
    assert folder is not None
    (folder / "key").write_bytes(damage)
    asked: list[int] = []
    assert adds(Code(), 8, asked) == 108 == adds(Code(), 8, asked)
    assert asked == [8] and len((folder / "key").read_bytes()) == 32


def test_a_link_is_never_written_through(base: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    folder = user_folder("things")
    assert folder is not None
    (folder / "thing").symlink_to(victim)
    assert write_own(folder / "thing", b"new")
    assert victim.read_bytes() == b"precious" and read_own(folder / "thing") == b"new"
    (folder / "other").symlink_to(victim)
    assert read_own(folder / "other") is None
    assert not write_own(folder / "other", b"new", new=True)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_file_larger_than_the_limit_is_none(base: Path) -> None:
    folder = user_folder("things")
    assert folder is not None and write_own(folder / "thing", b"12345")
    assert read_own(folder / "thing", limit=5) == b"12345"
    assert read_own(folder / "thing", limit=4) is None


@pytest.mark.parametrize(
    ("variables", "where"),
    [
        ({"GRAPHGRAD_CACHE": "~/mine"}, "home/mine"),
        ({"GRAPHGRAD_CACHE": "relative"}, None),
        ({"XDG_CACHE_HOME": "relative"}, "home/.cache/graphgrad"),
        ({}, "home/.cache/graphgrad"),
    ],
)
def test_where_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], where: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("GRAPHGRAD_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert user_folder("things") == (tmp_path / where / "things" if where else None)
    assert not (tmp_path / "relative").exists()


def test_an_absolute_cache_home_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GRAPHGRAD_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_folder("things") == tmp_path / "graphgrad" / "things"


def test_an_unknown_home_makes_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("GRAPHGRAD_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert kernel_folder() is None
    assert "home folder is unknown" in unavailable_reason("machine_code")
    assert not list(tmp_path.iterdir())
