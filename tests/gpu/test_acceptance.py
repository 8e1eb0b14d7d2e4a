"""tests/gpu/acceptance.py without a device: what it says, and its checks on a processor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import acceptance
import acceptance_checks as checks
import pytest
from acceptance import Row, run_sections
from cpu_backend import CpuDevice
from cpu_device import needs_compiler

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


def test_a_section_that_fails_is_a_row_and_the_next_one_runs():
    def fails(device):
        yield Row("first", "begun", "")
        raise RuntimeError("no\nluck")

    def works(device):
        yield Row("second", "device", str(device))

    said: list[Row] = []
    rows = run_sections("it", {"first": fails, "second": works}, 60, said.append)
    assert rows == said
    assert [(row.section, row.what, row.good) for row in rows] == [
        ("first", "begun", True),
        ("first", "failed", False),
        ("second", "device", True),
        ("second", "seconds", True),
    ]
    assert rows[1].value == "RuntimeError: no luck"


def test_when_the_minutes_are_over_what_is_left_is_named():
    rows = run_sections("it", {"first": checks.resume}, -1, lambda row: None)
    assert rows == [Row("first", "not run", "the minutes are over", False)]
