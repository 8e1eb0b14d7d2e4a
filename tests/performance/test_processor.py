"""Processors and limits of containers, read from made-up files."""

import sys
from pathlib import Path

import pytest

from graphgrad.performance.processor import read_container_limits, read_processor


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_cores_are_counted_once_for_their_hardware_threads(tmp_path: Path) -> None:
    block = (
        "processor\t: {}\nmodel name\t: Some Chip @ 2: fast\nphysical id\t: 0\ncore id\t\t: {}\n"
        "siblings\t: 8\ncpu cores\t: 4\n"
        "flags\t\t: fpu avx avx2 avx512f avx512vbmi\n\n"
    )
    text = "".join(block.format(number, number % 4) for number in range(8))
    root = write(tmp_path, {"proc/cpuinfo": text})
    name, extensions, cores = read_processor(root, range(8))
    assert (name, extensions, cores) == ("Some Chip @ 2: fast", ("avx", "avx2", "avx512f"), 4)
    assert read_processor(root, {0, 4})[2] == 1  # two threads of one core
    assert read_processor(root, {0, 1, 5})[2] == 2
    alike = text.replace("siblings\t: 8", "siblings\t: 4")  # no hardware threads
    assert read_processor(write(tmp_path, {"proc/cpuinfo": alike}), range(8))[2] == 8


def test_processors_of_other_kinds(tmp_path: Path) -> None:
    arm = "".join(
        f"processor\t: {n}\nFeatures\t: fp asimd sve\nCPU part\t: 0xd4f\n\n" for n in (0, 1)
    )
    name, extensions, cores = read_processor(write(tmp_path, {"proc/cpuinfo": arm}), (0, 1))
    assert name and (extensions, cores) == (("asimd", "sve"), 2)
    name, _, cores = read_processor(tmp_path / "nowhere", (0, 1))
    assert name and cores == 0


@pytest.mark.parametrize(
    ("files", "limits"),
    [
        ({}, (sys.maxsize, sys.maxsize)),
        (
            {
                "proc/self/cgroup": "0::/pod/box\n",
                "sys/fs/cgroup/pod/box/cpu.max": "max 100000\n",
                "sys/fs/cgroup/pod/cpu.max": "250000 100000\n",
                "sys/fs/cgroup/pod/box/memory.max": "1000\n",
                "sys/fs/cgroup/pod/memory.max": "max\n",
            },
            (3, 1000),
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/a\n2:cpu,cpuacct:/\n1:name=systemd:/x\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "2000\n",
            },
            (1, 2000),
        ),
        (
            {
                "proc/self/cgroup": "2:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            (sys.maxsize, sys.maxsize),
        ),
    ],
    ids=["none", "version 2", "version 1", "version 1 without limit"],
)
def test_limits_of_containers(
    tmp_path: Path, files: dict[str, str], limits: tuple[int, int]
) -> None:
    assert read_container_limits(write(tmp_path, files)) == limits
