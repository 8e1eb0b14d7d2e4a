"""Machine code on disk: kept, found, replaced when damaged, never half there, not without end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llvmlite", reason="it is what compiles")

from graphgrad import kept_code
from graphgrad.loops import compiled_functions, kernel_cache, machine_code
from graphgrad.loops.machine_code import Code, kernel_folder

PACKAGE = Path(machine_code.__file__).parent
OTHER_PROCESS = """
import ctypes, sys
from graphgrad.loops.machine_code import Code
code = Code()
for number in map(int, sys.argv[2:]):
    name = code.name_of(f"adds {number}")
    body = f"define i64 @{name}(i64 %a) {{ %b = add i64 %a, {number}\\n ret i64 %b }}"
    def text():
        assert sys.argv[1] == "compile", "it should be on disk"
        return body
    print(ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(code.address(name, text))(100))
"""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("GRAPHGRAD_CACHE", str(tmp_path))
    return tmp_path / "machine_code"


class Adding:
    """The text of a function that adds a number, and how often it was asked for."""

    def __init__(self, number: int) -> None:
        self.number, self.asked = number, 0

    def result(self, code: Code) -> int:
        """What its machine code adds to 100."""
        name = code.name_of(f"adds {self.number}")

        def text() -> str:
            self.asked += 1
            sum_ = f"%b = add i64 %a, {self.number}"
            return f"define i64 @{name}(i64 %a) {{ {sum_}\n ret i64 %b }}"

        address = code.address(name, text)
        return int(ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)(100))

    def file(self, code: Code, folder: Path) -> Path:
        return folder / f"{code.name_of(f'adds {self.number}')}.o"


def kept(folder: Path) -> set[Path]:
    """The machine code in the folder; the secret that it is marked with is no code."""
    return set(folder.iterdir()) - {folder / "key"}


def in_other_process(what: str, *numbers: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OTHER_PROCESS, what, *map(str, numbers)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)


def test_a_function_is_compiled_once_and_found_by_others(folder: Path) -> None:
    code, adding = Code(), Adding(7)
    assert code.missing(code.name_of("adds 7"))
    assert [adding.result(code) for _ in range(3)] == [107] * 3
    assert adding.asked == 1 and not code.missing(code.name_of("adds 7"))
    assert kept(folder) == {adding.file(code, folder)}
    later = Code()
    assert not later.missing(later.name_of("adds 7"))
    assert adding.result(later) == 107 and adding.asked == 1
    other = in_other_process("find", 7)
    assert other.communicate()[0].split() == ["107"] and other.returncode == 0
    lost = in_other_process("compile", 8)  # the script does compile what is missing
    assert lost.communicate()[0].split() == ["108"]


DAMAGE = {
    "empty": lambda content: b"",
    "a word of another": lambda content: b"damaged",
    "a checksum alone": lambda content: content[:32],
    "half": lambda content: content[: len(content) // 2],
    "without its last byte": lambda content: content[:-1],
    "more at the end": lambda content: content + b"\0",
    "another last byte": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "another checksum": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_as_good_as_none_and_is_replaced(folder: Path, kind: str) -> None:
    code, adding = Code(), Adding(9)
    assert adding.result(code) == 109
    file = adding.file(code, folder)
    content = file.read_bytes()
    file.write_bytes(DAMAGE[kind](content))
    assert adding.result(Code()) == 109 and adding.asked == 2
    assert file.read_bytes() == content
    assert adding.result(Code()) == 109 and adding.asked == 2


def test_without_a_folder_each_process_compiles_for_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("GRAPHGRAD_CACHE", str(tmp_path / "file"))
    adding = Adding(10)
    assert kernel_folder() is None
    assert [adding.result(Code()) for _ in range(2)] == [110] * 2 and adding.asked == 2
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    assert kernel_folder() is None
    assert Adding(11).result(Code()) == 111 and not list(folder.iterdir())


def test_a_full_disk_leaves_nothing_half_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        assert Adding(12).result(Code()) == 112
    assert not kept(folder)
    assert kernel_folder() == folder
    shutil.rmtree(folder)  # somebody tidies up meanwhile
    assert Adding(12).result(Code()) == 112


def test_processes_at_once(folder: Path) -> None:
    numbers = range(20, 28)
    others = [in_other_process("compile", *numbers) for _ in range(3)]
    for other in others:
        assert other.communicate()[0].split() == [str(100 + number) for number in numbers]
        assert other.returncode == 0
    code = Code()
    wanted = {Adding(number).file(code, folder) for number in numbers}
    assert kept(folder) == wanted  # and nothing that was written on the way
    found = [Adding(number) for number in numbers]
    assert [one.result(code) for one in found] == [100 + number for number in numbers]
    assert not any(one.asked for one in found)


@pytest.mark.parametrize("shared", [True, False], ids=["one code", "a code each"])
def test_threads_at_once(folder: Path, shared: bool) -> None:
    codes = [Code()] * 4 if shared else [Code() for _ in range(4)]
    found, results = [Adding(number) for number in range(30, 36)], []
    barrier = threading.Barrier(4)

    def work(code: Code) -> None:
        barrier.wait()
        results.append([one.result(code) for one in found])

    workers = [threading.Thread(target=work, args=(code,)) for code in codes]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [[130 + place for place in range(6)]] * 4
    assert [one.asked for one in found] == [1] * 6 if shared else all(one.asked for one in found)
    assert kept(folder) == {one.file(codes[0], folder) for one in found}


def test_names_tell_texts_and_machines_apart() -> None:
    code, other = Code(), Code()
    assert code.name_of("a") == other.name_of("a") != code.name_of("b")
    assert code.name_of("a")[0].isalpha() and code.name_of("a").isalnum()
    other._identity += " another processor"
    assert code.name_of("a") != other.name_of("a")
    for part in (machine_code.llvmlite.__version__, machine_code.llvm.get_host_cpu_name()):
        assert part in code._identity


@pytest.mark.parametrize(
    "file",
    [
        "translate.py",
        "expressions.py",
        "operations.py",
        "llvm_text.py",
        "library/mathematics.py",
        "library/philox.py",
        "library/rows.py",
        "library/summary.py",
        "library/threads.py",
        "library/more.py",
    ],
)
def test_what_another_translator_has_made_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: str
) -> None:
    for path in [*PACKAGE.glob("*.py"), *(PACKAGE / "library").glob("*.py")]:
        copy = tmp_path / path.relative_to(PACKAGE)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    monkeypatch.setattr(compiled_functions, "__file__", str(tmp_path / "compiled_functions.py"))
    digest = compiled_functions.translator_digest.__wrapped__
    before = digest()
    assert before == compiled_functions.translator_digest() == digest()
    with (tmp_path / file).open("a") as changed:
        changed.write("\n")
    assert digest() != before
    name = kernel_cache._name("text")
    monkeypatch.setattr(kernel_cache, "translator_digest", digest)
    assert kernel_cache._name("text") != name


def test_the_oldest_files_go_where_there_are_too_many(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_code, "KEPT", 4)
    assert kernel_folder() == folder
    for number in range(9):
        (folder / f"f{number}.o").write_bytes(b"")
        os.utime(folder / f"f{number}.o", (1e9 + number, 1e9 + number))
    code = Code()
    assert Adding(40).result(code) == 140
    newest = {folder / f"f{number}.o" for number in range(5, 9)}
    left = kept(folder)
    assert Adding(40).file(code, folder) in left and len(left) <= 5
    assert left - {Adding(40).file(code, folder)} <= newest
    assert Adding(41).result(code) == 141  # once a process: what it writes itself stays
    assert Adding(40).file(code, folder) in kept(folder)


def test_a_file_that_another_process_removes_meanwhile_is_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_code, "KEPT", 4)
    assert kernel_folder() == folder
    for number in range(9):
        (folder / f"f{number}.o").write_bytes(b"")
        os.utime(folder / f"f{number}.o", (1e9 + number, 1e9 + number))
    scan = os.scandir

    @contextlib.contextmanager
    def listed(path: Path) -> Iterator[list[os.DirEntry[str]]]:
        with scan(path) as entries:
            found = list(entries)
        (folder / "f3.o").unlink()
        yield found

    monkeypatch.setattr(kept_code.os, "scandir", listed)
    assert Adding(43).result(Code()) == 143
    monkeypatch.undo()
    assert len(kept(folder)) == 5 and folder / "f8.o" in kept(folder)


def test_a_folder_with_room_keeps_everything(folder: Path) -> None:
    assert kernel_folder() == folder
    for number in range(9):
        (folder / f"f{number}.o").write_bytes(b"")
    assert Adding(42).result(Code()) == 142
    assert len(kept(folder)) == 10


def test_threads_that_start_at_once_share_the_code_of_the_process() -> None:
    script = (
        "import threading\n"
        "from graphgrad.loops.machine_code import machine_code\n"
        "barrier, found = threading.Barrier(4), []\n"
        "def ask():\n    barrier.wait()\n    found.append(machine_code())\n"
        "threads = [threading.Thread(target=ask) for _ in range(4)]\n"
        "[thread.start() for thread in threads], [thread.join() for thread in threads]\n"
        "print(len(found), len(set(map(id, found))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "4 1\n", done.stderr
