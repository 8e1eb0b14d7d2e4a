"""The BLAS of NumPy, examined in real processes whose environment holds it back."""

import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest

from graphgrad.performance import blas as module
from graphgrad.performance.blas import KERNEL_VARIABLES, THREAD_VARIABLES, examine_blas
from graphgrad.performance.diagnosis import one_line_warning
from graphgrad.performance.processor import read_processor

VARIABLES = {
    name for group in (*KERNEL_VARIABLES.values(), *THREAD_VARIABLES.values()) for name in group
}


def test_a_quick_look_starts_no_process_and_measures_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("not cheap")

    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(module, "run_trial", refuse)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        one_line_warning()
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


def in_fresh_process(expression: str, **variables: str) -> Any:
    """What ``expression`` is in a process whose BLAS obeys ``variables`` alone."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    script = (
        "import json, os\nfrom dataclasses import asdict\n"
        "from graphgrad.performance.blas import examine_blas\n"
        "from graphgrad.performance.diagnosis import judge_blas, one_line_warning\n"
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
    blas = examine_blas(measure=False)
    if blas.name != "openblas" or not blas.kernel:
        pytest.skip(f"NumPy's BLAS is {blas.name}, not OpenBLAS with kernels to choose from")
    if extension not in read_processor()[1]:
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
    if examine_blas(measure=False).cores < 2:
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
