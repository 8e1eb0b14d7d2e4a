"""What is there is compared with what is needed, before it is taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph, memory
from graphgrad.backends import choice
from graphgrad.backends.room import largest_fitting
from graphgrad.errors import EnvironmentLimitError
from graphgrad.memory import OutOfMemoryError, available_memory, need_memory, size_text

GIB = 1 << 30


def machine(root: Path, available: int = 8 * GIB, **files: str) -> Path:
    """A file system that says how much memory there is; `files` by path, with _ for /."""
    written = {
        "proc/meminfo": f"MemTotal: 1 kB\nMemAvailable:   {available >> 10} kB\nSwapFree:  0 kB\n",
        **files,
    }
    for name, text in written.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_what_the_kernel_estimates_is_available_with_swap(tmp_path):
    assert available_memory(machine(tmp_path)) == 8 * GIB
    text = f"MemAvailable: {GIB >> 10} kB\nSwapFree: {GIB >> 10} kB\n"
    assert available_memory(machine(tmp_path, **{"proc/meminfo": text})) == 2 * GIB
    assert available_memory(tmp_path / "nowhere") is None


GROUP = "sys/fs/cgroup/a/b"


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({f"{GROUP}/memory.max": str(3 * GIB), f"{GROUP}/memory.current": str(GIB)}, 2 * GIB),
        (
            {
                "sys/fs/cgroup/a/memory.max": str(3 * GIB),
                "sys/fs/cgroup/a/memory.current": str(GIB),
                f"{GROUP}/memory.max": "max",
                f"{GROUP}/memory.current": "5",
            },
            2 * GIB,
        ),
        (
            {
                f"{GROUP}/memory.max": str(3 * GIB),
                f"{GROUP}/memory.current": str(2 * GIB),
                f"{GROUP}/memory.stat": f"active_file 7\ninactive_file {GIB}\n",
            },
            2 * GIB,
        ),
        ({f"{GROUP}/memory.max": str(GIB), f"{GROUP}/memory.current": str(2 * GIB)}, 0),
        ({f"{GROUP}/memory.max": "max", f"{GROUP}/memory.current": "5"}, 8 * GIB),
    ],
)
def test_a_control_group_may_allow_less(tmp_path, files, left):
    root = machine(tmp_path, **{"proc/self/cgroup": "0::/a/b\n"}, **files)
    assert available_memory(root) == left


def test_a_control_group_of_version_1_too(tmp_path):
    folder = "sys/fs/cgroup/memory/a"
    root = machine(
        tmp_path,
        **{
            "proc/self/cgroup": "4:cpu,cpuacct:/a\n3:memory:/a\n",
            f"{folder}/memory.limit_in_bytes": str(4 * GIB),
            f"{folder}/memory.usage_in_bytes": str(3 * GIB),
            f"{folder}/memory.stat": "total_inactive_file 100\n",
        },
    )
    assert available_memory(root) == GIB + 100


def test_more_than_there_is_is_refused_with_both_figures(tmp_path):
    root = machine(tmp_path, 2 * GIB)
    need_memory(2 * GIB, "it", "less", root)
    need_memory(memory.UNCHECKED, "it", "less", machine(tmp_path / "full", 0))
    with pytest.raises(EnvironmentLimitError, match=r"it needs 3\.0 GiB .* 2\.0 GiB are") as error:
        need_memory(3 * GIB, "it", "less", root)
    assert error.value.fix == "less"
    need_memory(10**20, "it", "less", tmp_path / "nowhere")  # where nobody can tell


def test_sizes_are_told_as_people_read_them():
    assert [size_text(n) for n in (5, 2048, 80 * GIB, 10**20)] == [
        "5 bytes",
        "2.0 KiB",
        "80.0 GiB",
        "90949470.2 TiB",
    ]


@pytest.fixture
def half_a_gibibyte(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda root: GIB // 2)
    monkeypatch.setattr(choice, "available_memory", lambda: GIB // 2)


@pytest.mark.parametrize("fuse", [False, True])
def test_a_batch_that_is_too_large_is_refused_before_its_first_step(half_a_gibibyte, fuse):
    x, w = gg.input("x", ("n", 4)), gg.parameter("w", (4, 1000), gg.normal(1.0))
    graph = Graph({"y": gg.sum(gg.tanh(gg.tanh(x @ w) @ gg.transpose(w)))}, {w: w * 0.5})
    run = gg.compile(graph, fuse=fuse)
    state = gg.initial_state(graph)
    before = state["w"].copy()
    run(state, x=np.zeros((10, 4), "f4"))
    too_large = r"the program needs 1\.9 GiB of memory on this machine, and 512\.0 MiB are.*"
    with pytest.raises(EnvironmentLimitError, match=too_large + r"500000, 1000\]") as error:
        run(state, x=np.zeros((500_000, 4), "f4"))
    fits = int(error.value.fix.removeprefix("n ").split()[0])
    assert 0.97 < run.program(n=fits).plan.arena_bytes / (GIB // 2) < 1.03
    np.testing.assert_array_equal(state["w"], before * 0.5)
    run(state, x=np.zeros((20, 4), "f4"))  # and the others go on


def test_memory_that_runs_out_later_gives_the_same_error(half_a_gibibyte, monkeypatch):
    """It was there when the program was planned, and others took it before the first run."""
    x = gg.input("x", ("n", 1000))
    run = gg.compile(Graph({"y": gg.sum(gg.tanh(x) @ gg.transpose(x))}))
    program = run.program(n=10_000)
    monkeypatch.setattr(memory, "available_memory", lambda root: GIB // 8)
    monkeypatch.setattr(choice, "available_memory", lambda: GIB // 8)
    with pytest.raises(OutOfMemoryError, match=r"the largest values are .*10000, 10000") as error:
        run(x=np.zeros((10_000, 1000), "f4"))
    fits = int(error.value.fix.removeprefix("n ").split()[0])
    assert run.program(n=fits).plan.arena_bytes <= GIB // 8 < program.plan.arena_bytes


@pytest.mark.parametrize("power", [1, 2])
def test_the_batch_that_fits_is_found_though_memory_grows_faster_than_it(power):
    def bytes_of(batch):
        return 1000 + 7 * batch**power

    batch, free = 10_000, 50_000
    fits = largest_fitting(batch, bytes_of(batch), free, bytes_of)
    assert bytes_of(fits) <= free < bytes_of(fits * 2)
    assert power == 2 or free < bytes_of(int(fits * 1.03))
    assert largest_fitting(batch, bytes_of(batch), 1006, bytes_of) == 0


def test_a_state_that_is_too_large_is_refused_before_it_is_made(half_a_gibibyte):
    graph = Graph({"y": gg.sum(gg.parameter("w", (10**5, 10**4)))})
    with pytest.raises(EnvironmentLimitError, match=r"the state of 1 arrays needs 3\.7 GiB"):
        gg.initial_state(graph)


@pytest.mark.parametrize("size", [10**13, 10**19])
def test_a_state_that_no_machine_holds_is_one_clear_error(size):
    graph = Graph({"y": gg.sum(gg.parameter("w", (size,)))})
    with pytest.raises(EnvironmentLimitError, match=r"needs .* TiB of memory"):
        gg.initial_state(graph)


def test_an_arena_that_no_machine_holds_is_one_clear_error(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda root: None)
    with pytest.raises(EnvironmentLimitError, match="more than there is"):
        gg.backends.Workspaces().borrow(10**19)
