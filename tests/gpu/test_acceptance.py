"""tests/gpu/acceptance.py without a device: what it says, and its checks on a processor."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import acceptance
import acceptance_checks as checks
import acceptance_speed as speed
import pytest
from acceptance import DONE, MARK, Row, rows_of, run_here, run_parts
from cpu_device import needs_compiler
from fake_cuda import Cuda
from fake_cupy import install

from graphgrad.performance.bench_worker import load_contender

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


OWN = [
    *("training step", "attention", "one launch", "bit-equal", "resume", "guards", "memory"),
    "ranks",
]
USES = ["dates", "decoding", "accumulation"]


@needs_compiler
@pytest.mark.parametrize("names", [OWN, USES])
def test_sections_are_good_where_the_device_is(monkeypatch, capsys, names):
    """By the command's own loop, over the calls that CuPy would get; where babel is missing."""
    install(monkeypatch, Cuda())
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *r: None if n == "babel" else find(n, *r)
    )
    assert run_here(names, small=True) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [json.loads(line.removeprefix(MARK)) for line in lines if line.startswith(MARK)]
    assert [line.removeprefix(DONE) for line in lines if line.startswith(DONE)] == names
    assert all(row["good"] for row in rows), rows
    assert not any("dates," in row["what"] for row in rows)  # they were not written
    assert {row["section"] for row in rows} == {*names}
    assert all(sum(row["section"] == name for row in rows) > 1 for name in names)


@needs_compiler
def test_launches_that_are_not_captured_are_told(monkeypatch):
    rows = list(checks.one_launch(install(monkeypatch, Cuda(), libraries=False)))
    assert [row.good for row in rows] == [False, False, True]


def test_what_ends_a_process_is_a_row_and_the_next_section_has_another(tmp_path):
    """Whatever ends it: an error, the device, or the time."""
    ends = {"one": "", "dies": "os.abort()", "fails": "sys.exit(0)", "hangs": "time.sleep(60)"}
    commands: list[list[str]] = []
    said: list[Row] = []

    def command(names: list[str]) -> list[str]:
        commands.append(names)
        begun = dict.fromkeys(("section", "what", "value"), "begun")
        lines = ["import os, sys, time"]
        for name in names:
            lines.append(f"print({MARK + json.dumps({**begun, 'section': name})!r}, flush=True)")
            before, after = ("", ends[name]) if name == "fails" else (ends[name], "")
            lines += [before, f"print({DONE + name!r}, flush=True)", after]
        return [sys.executable, "-c", "\n".join(lines)]

    run_parts(dict.fromkeys(ends, "a") | {"two": "b"}, command, 1.5, said.append)
    assert commands == [[*ends], ["fails", "hangs"], ["hangs"]]
    assert [(row.section, row.what, row.good) for row in said] == [
        ("one", "begun", True),
        ("dies", "begun", True),
        ("dies", "failed", False),
        ("fails", "begun", True),
        ("hangs", "begun", True),
        ("hangs", "failed", False),
        ("two", "not run", False),
    ]
    assert "took more than" in said[5].value


def test_an_error_of_a_section_is_a_row():
    def fails(device):
        yield Row("first", "begun", "")
        raise RuntimeError("no\nluck")

    rows = list(rows_of("first", fails, None))
    assert rows[1] == Row("first", "failed", "RuntimeError: no luck", False)


@needs_compiler
def test_the_table_of_speed_says_whether_targets_are_met(monkeypatch):
    """Small, on this processor; PyTorch finds no card here, which is a row as well."""
    install(monkeypatch, Cuda())
    monkeypatch.setattr(speed, "STEPS", 2)
    monkeypatch.setattr(speed, "WARM", 0)
    monkeypatch.setattr(speed, "peak_of", lambda precision, size: 1e-3)
    ours = list(speed.own("base", "bf16", small=True)(None))
    assert [row.what for row in ours] == ["a step", "matrix peak", "share of the peak"]
    assert all(row.good for row in ours) and "target 35%" in ours[2].value
    (failed,) = rows_of("base bf16 eager", speed.peer("base", "bf16", "eager", small=True), None)
    assert failed.what == "failed" and not failed.good
    half = dataclasses.replace(ours[0], section="base bf16 jax", milliseconds=1.0)
    ours = [dataclasses.replace(ours[0], milliseconds=2.0)]
    assert [(row.value, row.good) for row in speed.compared(ours, half)] == [
        ("0.50 (target 1.0)", False)
    ]
    assert not list(speed.compared([], half)) and not list(speed.compared(ours, ours[0]))


@needs_compiler
def test_the_loss_of_a_peer_is_that_of_graphgrad_or_a_bad_row(monkeypatch):
    """PyTorch on this processor in place of the card; then one whose weights are others."""
    install(monkeypatch, Cuda())
    build = load_contender(str(acceptance.ROOT / "tools" / "peers" / "torch_peer.py")).build
    shift = 0.0

    def on_this_processor(variant: str, workload: Any, parameters: Any, *rest: Any) -> Any:
        changed = {name: value + shift for name, value in parameters.items()}
        return build("eager", workload, changed, *rest)

    contender = SimpleNamespace(build=on_this_processor)
    monkeypatch.setattr(speed, "load_contender", lambda path: contender)
    monkeypatch.setattr(speed, "LOSSES", {"eager": (("tiny", "fp32"),)})
    (row,) = speed.same_loss("eager", small=True)(None)
    assert row.good, row
    shift = 0.01
    (row,) = speed.same_loss("eager", small=True)(None)
    assert not row.good, row


def test_the_slowest_peers_are_the_last_and_alone():
    """Each that compiles has a process of its own; three minutes go to what is graphgrad's."""
    its = acceptance.parts()
    groups = [part.group for part in its.values()]
    own = groups.count("own")
    assert own > 9 and groups[: own + 1] == ["own"] * own + ["eager"] and len(set(groups)) == 2 + 6
    assert all(groups.count(group) == 1 for group in set(groups) - {"own", "eager"})
    assert list(its)[-1] == "base tf32 compile"
