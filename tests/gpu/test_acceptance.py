"""tests/gpu/acceptance.py without a device: what it says, and its checks on a processor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import acceptance
import acceptance_checks as checks
import acceptance_speed as speed
import pytest
from acceptance import Row, rows_of, run_sections
from cpu_backend import CpuDevice, install
from cpu_device import needs_compiler

from graphgrad.performance.bench_worker import Workload

SCRIPT = Path(acceptance.__file__)


def test_without_a_device_it_runs_to_its_end_and_says_so(tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "cupy.py").write_text("raise ImportError('hidden from this test')\n")
    command = [sys.executable, str(SCRIPT), "--minutes", "3", "--json", "rows.json"]
    environment = {"PYTHONPATH": str(hidden), "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 1 and not done.stderr
    assert "no device" in done.stdout and "backend numpy" in done.stdout
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["what"] for row in rows] == ["missing", "no device"]
    assert [row["good"] for row in rows] == [True, False]


@needs_compiler
@pytest.mark.parametrize(
    "check", [checks.training_step, checks.one_launch, checks.bit_equal, checks.resume]
)
def test_a_check_is_good_where_the_device_is(check):
    rows = list(check(CpuDevice()))
    assert rows and all(row.good for row in rows), rows


@needs_compiler
def test_guards_and_memory_are_checked():
    rows = [*checks.guards(CpuDevice()), *checks.memory(CpuDevice(free=10**9))]
    assert len(rows) == 4 and all(row.good for row in rows), rows


@needs_compiler
def test_launches_that_are_not_captured_are_told():
    rows = list(checks.one_launch(CpuDevice(captures_products=False)))
    assert [row.good for row in rows] == [False, False, True]


def test_a_section_that_fails_is_a_row_and_the_next_one_runs(tmp_path):
    """Whatever ends its process: an error, the device, or the time."""
    begun = "print('row: ' + json.dumps(['a', 'begun', '', True]), flush=True)"
    begun = begun.replace("['a', 'begun', '', True]", "dict(section='a', what='begun', value='')")
    ends = {"kills": "os.abort()", "hangs": "time.sleep(60)", "works": "pass"}
    said: list[Row] = []

    def command(name: str) -> list[str]:
        return [sys.executable, "-c", f"import json, os, time; {begun}; {ends[name]}"]

    run_sections(["kills", "works"], command, 60, said.append)
    run_sections(["hangs"], command, 0.7, said.append)
    run_sections(["works"], command, -1, said.append)
    assert [(row.section, row.what, row.good) for row in said] == [
        ("a", "begun", True),
        ("kills", "failed", False),
        ("a", "begun", True),
        ("a", "begun", True),
        ("hangs", "failed", False),
        ("works", "not run", False),
    ]


def test_an_error_of_a_section_is_a_row():
    def fails(device):
        yield Row("first", "begun", "")
        raise RuntimeError("no\nluck")

    rows = list(rows_of("first", fails, None))
    assert rows[1] == Row("first", "failed", "RuntimeError: no luck", False)


@needs_compiler
def test_the_table_of_speed_says_whether_targets_are_met(monkeypatch):
    """Small, on this processor; PyTorch and JAX find no card here, which are rows as well."""
    install(monkeypatch, CpuDevice())
    monkeypatch.setattr(speed, "STEPS", 2)
    monkeypatch.setattr(speed, "peak_of", lambda precision: 1e-3)
    workload = Workload(16, 16, 2, 1, 30, 4, 4, batch=2)
    rows = {row.what: row for row in speed.timed("base", workload)(None)}
    assert "ms a step" in rows["graphgrad bf16"].value and rows["graphgrad bf16"].good
    assert rows["share of the peak"].good and "target 35%" in rows["share of the peak"].value
    assert not rows["jax bf16"].good and not rows["compile bf16"].good
