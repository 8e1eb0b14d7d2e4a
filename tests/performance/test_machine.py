"""The machine doctor: verdicts on made-up reports, facts from made-up files, and real processes."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graphgrad.performance import machine
from graphgrad.performance.machine import BlasReport, Finding, MachineReport, Package, Trial

VARIABLES = {
    name
    for group in (*machine.KERNEL_VARIABLES.values(), *machine.THREAD_VARIABLES.values())
    for name in group
}
FREE = Trial("SkylakeX", 4, 400.0)
BLAS = BlasReport("openblas", "0.3.30", "SkylakeX", 4, cores=4, processors=4, measured=FREE)
REPORT = MachineReport(
    "A Processor",
    ("avx2", "avx512f"),
    2**34,
    "Linux",
    "3.12.1",
    "2.3.0",
    BLAS,
    environment=(("OMP_NUM_THREADS", "4"),),
    llvmlite=Package("0.65"),
    cupy=Package("14.0"),
    dot="12.0",
    gpus=("H100, 80 GiB",),
)


def forced(gflops: float, kernel: str = "Haswell", free: Trial | None = FREE) -> BlasReport:
    return replace(
        BLAS,
        kernel=kernel,
        kernel_forced_by=("OPENBLAS_CORETYPE",),
        measured=Trial(kernel, 4, gflops),
        free_kernel=free,
    )


def worst(blas: BlasReport) -> Finding:
    order = ["ok", "note", "problem"]
    return max(machine.judge_blas(blas), key=lambda finding: order.index(finding.level))


def levels(report: MachineReport) -> list[str]:
    return [finding.level for finding in report.findings]


def test_nothing_wrong_is_said_plainly() -> None:
    assert set(levels(REPORT)) == {"ok"}
    assert machine.one_line_warning(REPORT) is None
    assert not any(finding.remedy for finding in REPORT.findings)


def test_a_forced_kernel_is_a_problem_where_it_is_measured_to_be_slow() -> None:
    finding = worst(forced(200.0))
    assert finding.level == "problem"
    assert finding.remedy == "unset OPENBLAS_CORETYPE"
    for part in ("Haswell", "SkylakeX", "50%", "200", "400"):
        assert part in finding.text
    assert worst(forced(400 * 0.84)).level == "problem"
    assert worst(forced(400 * 0.86)).level == "ok"
    assert worst(forced(500.0)).level == "ok"


def test_a_forced_kernel_that_is_the_own_choice_is_no_problem_however_noisy_the_timing() -> None:
    assert worst(forced(100.0, kernel="SkylakeX")).level == "ok"


def test_a_forced_kernel_without_measurement_is_a_note_that_guesses_nothing() -> None:
    for blas in (replace(forced(200.0), measured=None, free_kernel=None), forced(200.0, free=None)):
        finding = worst(blas)
        assert finding.level == "note"
        assert "not measured" in finding.text and "unset" not in finding.remedy


def test_idle_cores_are_a_problem_with_the_measured_gain() -> None:
    one = replace(BLAS, threads=1, measured=Trial("SkylakeX", 1, 110.0), free_threads=FREE)
    finding = worst(replace(one, threads_limited_by=("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")))
    assert finding.level == "problem"
    assert finding.remedy == "unset OPENBLAS_NUM_THREADS OMP_NUM_THREADS"
    for part in ("1 of 4", "110 GFLOP/s", "400 with 4 threads"):
        assert part in finding.text
    unlimited = worst(replace(one, free_threads=None))
    assert unlimited.level == "problem"
    assert "export OPENBLAS_NUM_THREADS=4" in unlimited.remedy
    blis = worst(replace(one, name="blis", free_threads=None))
    assert "export BLIS_NUM_THREADS=4" in blis.remedy


def test_one_thread_a_core_is_enough_where_cores_have_two() -> None:
    assert worst(replace(BLAS, name="mkl", processors=8)).level == "ok"
    assert worst(replace(BLAS, threads=8, processors=8)).level == "ok"


def test_more_threads_than_a_container_may_run_are_a_note() -> None:
    finding = worst(replace(BLAS, threads=64))
    assert (finding.level, finding.remedy) == ("note", "export OPENBLAS_NUM_THREADS=4")


def test_a_blas_that_cannot_be_asked_is_a_note() -> None:
    (finding,) = machine.judge_blas(replace(BLAS, name="accelerate", kernel="", threads=0))
    assert finding.level == "note"
    assert "accelerate" in finding.text and "400" in finding.text


@pytest.mark.parametrize(
    ("change", "level", "part"),
    [
        ({"llvmlite": Package()}, "note", "pip install --upgrade llvmlite"),
        ({"llvmlite": Package(failure="ImportError: needs NumPy 9")}, "note", "needs NumPy 9"),
        ({"dot": ""}, "note", "apt install graphviz"),
        ({"gpus": ()}, "note", "no NVIDIA GPU"),
        ({"cupy": Package()}, "note", "pip install cupy"),
        ({"cupy": Package(failure="no libcublas")}, "note", "no libcublas"),
    ],
)
def test_what_is_absent_is_a_note(change: dict[str, Any], level: str, part: str) -> None:
    report = replace(REPORT, **change)
    (finding,) = [finding for finding in report.findings if finding.level != "ok"]
    assert finding.level == level
    assert part in finding.text + finding.remedy
    assert machine.one_line_warning(report) is None


def test_the_warning_is_one_line_with_every_problem_and_its_remedy() -> None:
    blas = replace(
        forced(50.0), threads=1, threads_limited_by=("OMP_NUM_THREADS",), free_threads=FREE
    )
    warning = machine.one_line_warning(replace(REPORT, blas=blas, dot=""))
    assert warning is not None and "\n" not in warning
    assert "unset OPENBLAS_CORETYPE" in warning and "unset OMP_NUM_THREADS" in warning
    assert "graphviz" not in warning


def test_a_report_is_json() -> None:
    whole = replace(REPORT, blas=forced(200.0)).to_dict()
    assert json.loads(json.dumps(whole)) == whole
    assert whole["environment"] == {"OMP_NUM_THREADS": "4"}
    assert whole["blas"]["free_kernel"] == {"kernel": "SkylakeX", "threads": 4, "gflops": 400.0}
    assert "problem" in [finding["level"] for finding in whole["findings"]]


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
    name, extensions, cores = machine.read_processor(root, range(8))
    assert (name, extensions, cores) == ("Some Chip @ 2: fast", ("avx", "avx2", "avx512f"), 4)
    assert machine.read_processor(root, {0, 4})[2] == 1  # two threads of one core
    assert machine.read_processor(root, {0, 1, 5})[2] == 2
    alike = text.replace("siblings\t: 8", "siblings\t: 4")  # no hardware threads
    assert machine.read_processor(write(tmp_path, {"proc/cpuinfo": alike}), range(8))[2] == 8


def test_processors_of_other_kinds(tmp_path: Path) -> None:
    arm = "".join(
        f"processor\t: {n}\nFeatures\t: fp asimd sve\nCPU part\t: 0xd4f\n\n" for n in (0, 1)
    )
    name, extensions, cores = machine.read_processor(write(tmp_path, {"proc/cpuinfo": arm}), (0, 1))
    assert name and (extensions, cores) == (("asimd", "sve"), 2)
    name, _, cores = machine.read_processor(tmp_path / "nowhere", (0, 1))
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
    assert machine.read_container_limits(write(tmp_path, files)) == limits


def test_a_quick_look_starts_no_process_and_measures_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("not cheap")

    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(machine, "run_trial", refuse)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        machine.one_line_warning()
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


def test_programs_and_packages_that_fail_are_absent_not_errors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(
        tmp_path,
        {"cupy.py": "raise RuntimeError('driver too old')\n", "dot": "#!/bin/sh\nexit 3\n"},
    )
    (tmp_path / "dot").chmod(0o755)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    report = machine.examine_machine(measure=False)
    assert report.cupy == Package(failure="RuntimeError: driver too old")
    assert (report.dot, report.gpus) == ("", ())
    assert report.blas.measured is None
    assert report.processor and report.memory > 2**20 and report.blas.cores >= 1


def in_fresh_process(expression: str, **variables: str) -> Any:
    """What ``expression`` is in a process whose BLAS obeys ``variables`` alone."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    script = (
        "import json, os\nfrom dataclasses import asdict\n"
        "from graphgrad.performance.machine import *\n"
        "before = dict(os.environ), examine_blas(False)\n"
        f"result = {expression}\n"
        "assert before == (dict(os.environ), examine_blas(False)), 'something was changed'\n"
        "print(json.dumps(result))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def need_openblas(extension: str) -> None:
    blas = machine.examine_blas(measure=False)
    if blas.name != "openblas" or not blas.kernel:
        pytest.skip(f"NumPy's BLAS is {blas.name}, not OpenBLAS with kernels to choose from")
    if extension not in machine.read_processor()[1]:
        pytest.skip(f"this processor has no {extension}")


def test_a_haswell_kernel_on_an_avx512_processor_is_measured_against_its_own_choice() -> None:
    """Its cost is the processor's affair: half the speed on some, nothing on others."""
    need_openblas("avx512f")
    blas = in_fresh_process("asdict(examine_blas())", OPENBLAS_CORETYPE="Haswell")
    assert blas["kernel"] == blas["measured"]["kernel"] == "Haswell"
    assert blas["kernel_forced_by"] == ["OPENBLAS_CORETYPE"]
    assert blas["free_kernel"]["kernel"] not in ("", "Haswell")
    assert blas["free_kernel"]["threads"] == blas["threads"]
    assert min(blas["measured"]["gflops"], blas["free_kernel"]["gflops"]) > 0
    assert blas["free_threads"] is None


def test_a_kernel_far_too_old_is_found_and_named_in_one_line() -> None:
    """Nehalem's kernel has no AVX: a third of the speed or less, far from the limit of 85 %."""
    need_openblas("avx2")
    for _ in range(3):  # other programs may use the machine during one of the trials
        warning = in_fresh_process("one_line_warning()", OPENBLAS_CORETYPE="Nehalem")
        if warning:
            break
    assert warning is not None
    assert "Nehalem" in warning and "(remedy: unset OPENBLAS_CORETYPE)" in warning


def test_one_thread_on_several_cores_is_found() -> None:
    need_openblas("sse4_2")
    if machine.examine_blas(measure=False).cores < 2:
        pytest.skip("one core: one thread is right")
    found = in_fresh_process(
        "(lambda blas: [asdict(blas), [asdict(f) for f in judge_blas(blas)]])(examine_blas())",
        OPENBLAS_NUM_THREADS="1",
    )
    blas, findings = found
    finding = findings[-1]
    assert blas["threads"] == blas["measured"]["threads"] == 1
    assert blas["free_threads"]["threads"] >= 2
    slower = blas["measured"]["gflops"] < blas["free_threads"]["gflops"]  # not on a busy machine
    assert finding["level"] == ("problem" if slower else "ok")
    assert finding["remedy"] == ("unset OPENBLAS_NUM_THREADS" if slower else "")
    assert f"1 of {blas['cores']} usable cores" in finding["text"]
