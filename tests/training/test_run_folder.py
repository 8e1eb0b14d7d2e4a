"""The folder of a run: fresh, never overwritten, resumable, one writer, strict files."""

import errno
import fcntl
import json
import math
import os
import re
import subprocess
import sys
import threading
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

from graphgrad.errors import (
    ConfigurationError,
    DataError,
    EnvironmentLimitError,
    UnknownNameError,
)
from graphgrad.training import run_folder as module
from graphgrad.training.history_file import HistoryWriter, read_records
from graphgrad.training.run_folder import METRICS, RunFolder

ROOT = Path(module.__file__).parents[2]
pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture
def run(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.write_json("configuration.json", {"seed": 1})
    return folder


def lines_of(run):
    return (run.path / METRICS).read_bytes().split(b"\n")


# Creating and opening


def test_runs_are_numbered(tmp_path):
    root = tmp_path / "runs"
    assert RunFolder.create(root=root).path == root / "transformer-001"
    assert RunFolder.create(root=root).path == root / "transformer-002"
    (root / "transformer-041").mkdir()
    (root / "transformer-x").mkdir()
    (root / "transformer-tiny-099").mkdir()
    assert RunFolder.create(root=root).path == root / "transformer-042"
    assert RunFolder.create(root=root, name="reverse").path == root / "reverse-001"


def test_simultaneous_runs_get_different_numbers(tmp_path):
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(RunFolder.create(root=tmp_path).path))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a\0b"])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path, name):
    with pytest.raises(ConfigurationError, match="is not a name for a run"):
        RunFolder.create(root=tmp_path, name=name)


def test_an_empty_folder_may_become_a_run_and_a_full_one_not(tmp_path, run):
    (tmp_path / "empty").mkdir()
    assert RunFolder.create(tmp_path / "empty").path == tmp_path / "empty"
    assert RunFolder.create(str(tmp_path / "a" / "b")).path.is_dir()
    with pytest.raises(ConfigurationError, match="already holds a run") as caught:
        RunFolder.create(run.path)
    assert f"--resume {run.path}" in caught.value.fix
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(ConfigurationError, match=r"not empty: it holds thesis\.tex") as caught:
        RunFolder.create(tmp_path / "full")
    assert "--resume" in caught.value.fix
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="is a file"):
        RunFolder.create(tmp_path / "file")


def test_a_folder_with_nothing_but_a_lock_is_empty(tmp_path):
    run = RunFolder.create(tmp_path / "run")
    with run.lock():
        pass
    assert RunFolder.create(tmp_path / "run") == run


def test_a_run_is_opened_and_frozen(run):
    opened = RunFolder.open(str(run.path))
    assert opened == run and opened.checkpoints == run.path / "checkpoints"
    with pytest.raises(FrozenInstanceError):
        opened.path = Path("/")


def test_what_is_no_run_is_named_with_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError, match="there is no run x") as caught:
        RunFolder.open("x")
    assert "none exists yet" in caught.value.fix
    for name in ("transformer-001", "transformer-002", "reverse-001"):
        RunFolder.create(tmp_path / "runs" / name).write_json("configuration.json", {})
    for path in ("runs/transfomer-002", "transformer-002", "elsewhere/transformer-02"):
        with pytest.raises(UnknownNameError, match="there is no run") as caught:
            RunFolder.open(path)
        assert caught.value.fix.startswith("did you mean runs/transformer-002")
    with pytest.raises(UnknownNameError) as caught:
        RunFolder.open("runs/qqqqqqqq")
    assert "the runs there are: runs/reverse-001, runs/transformer-001" in caught.value.fix
    with pytest.raises(UnknownNameError, match=r"it has no configuration\.json"):
        RunFolder.open("runs")
    (tmp_path / "file").write_text("")
    with pytest.raises(UnknownNameError, match="is a file, not the folder of a run"):
        RunFolder.open("file")


# JSON and text


def test_json_comes_back(run):
    value = {"a": [1, 2.5, None, True, "中 ü"], "b": {}}
    run.write_json("environment.json", value)
    assert run.read_json("environment.json") == value
    assert "中 ü" in (run.path / "environment.json").read_text(encoding="utf-8")
    run.write_text("vocabulary.source.json", '["中"]\n')
    assert run.read_text("vocabulary.source.json") == '["中"]\n'
    assert run.read_json("vocabulary.source.json") == ["中"]


def test_a_failed_write_keeps_the_old_json(run):
    with pytest.raises(DataError, match=r"configuration\.json\.rate is nan"):
        run.write_json("configuration.json", {"rate": math.nan})
    assert run.read_json("configuration.json") == {"seed": 1}
    assert os.listdir(run.path) == ["configuration.json"]


def test_unreadable_json_names_file_and_line(run):
    path = run.path / "configuration.json"
    path.write_text('{\n  "a": 1,\n  "a": 2\n}')
    with pytest.raises(DataError, match="lines 2, 3: the key 'a' stands twice") as caught:
        run.read_json("configuration.json")
    assert caught.value.where == str(path)
    path.write_text('{\n  "a": 1,\n')
    with pytest.raises(DataError, match=r"configuration\.json is not valid JSON: line 3, column 1"):
        run.read_json("configuration.json")
    with pytest.raises(DataError, match=r"vocabulary\.json is missing"):
        run.read_json("vocabulary.json")
    path.write_bytes(b"\xff")
    with pytest.raises(DataError, match="is not UTF-8"):
        run.read_text("configuration.json")


@pytest.mark.parametrize("name", ["../x", "a/b", ".lock", "", "metrics.jsonl", "log.txt"])
def test_other_files_cannot_be_written_by_name(run, name):
    for act in (lambda: run.write_text(name, ""), lambda: run.read_json(name)):
        with pytest.raises(ConfigurationError, match="is not a name for a file of a run"):
            act()


# Metrics


def test_metrics_come_back_in_order(run):
    assert run.metrics() == []
    run.append_metrics({"step": 1, "loss": np.float32(2.5), "tokens": np.int64(7), "ok": True})
    run.append_metrics({"step": 2, "text": "line\nbreak \u2028 ü", "list": [1.5]}, durable=True)
    assert run.metrics() == [
        {"step": 1, "loss": 2.5, "tokens": 7, "ok": True},
        {"step": 2, "text": "line\nbreak \u2028 ü", "list": [1.5]},
    ]
    assert len(lines_of(run)) == 3


def test_non_finite_numbers_are_valid_json_and_come_back(run):
    run.append_metrics({"step": 1, "a": math.nan, "b": np.float32(np.inf), "c": [-math.inf]})
    raw = json.loads(lines_of(run)[0], parse_constant=lambda name: pytest.fail(name))
    assert re.fullmatch("[0-9a-f]{8}", raw.pop("sum"))
    assert raw == {"step": 1, "a": "nan", "b": "inf", "c": ["-inf"]}
    record = run.metrics()[0]
    assert math.isnan(record["a"]) and record["b"] == math.inf and record["c"] == [-math.inf]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"loss": 1.0}, "whole number `step`"),
        ({"step": 1.0}, "whole number `step`"),
        ({"step": True}, "whole number `step`"),
        ({"step": 1, "weights": np.ones(2)}, "metrics.weights is a ndarray"),
        ({"step": 1, 2: 3}, "metrics has the key 2"),
    ],
)
def test_a_record_that_is_none_is_refused(run, record, words):
    with pytest.raises(DataError, match=words):
        run.append_metrics(record)
    assert run.metrics() == []


def test_resuming_drops_the_later_records_and_keeps_every_other_byte(run):
    for step in range(1, 6):
        run.append_metrics({"step": step, "loss": 1 / step})
    run.append_metrics({"step": 3, "validation": 0.5})
    before = lines_of(run)
    assert run.truncate_metrics(after_step=3) == 2
    assert lines_of(run) == [*before[:3], before[5], b""]
    assert run.truncate_metrics(after_step=3) == 0
    assert [record["step"] for record in run.metrics()] == [1, 2, 3, 3]


def test_truncating_is_atomic(run, monkeypatch):
    for step in range(1, 6):
        run.append_metrics({"step": step})
    before = lines_of(run)

    def fail(*arguments):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        with pytest.raises(EnvironmentLimitError, match="disk is full"):
            run.truncate_metrics(after_step=1)
    assert lines_of(run) == before


def test_a_line_torn_at_any_byte_is_passed_over_and_mended(run):
    for step in (1, 2):
        run.append_metrics({"step": step, "text": "ü"})
    path = run.path / METRICS
    content = path.read_bytes()
    first = content.index(b"\n") + 1
    for length in range(first, len(content)):
        path.write_bytes(content[:length])
        steps = [record["step"] for record in run.metrics()]
        assert steps == ([1, 2] if length == len(content) - 1 else [1])
        with run.lock():
            run.append_metrics({"step": 3})
        assert [record["step"] for record in run.metrics()] == [*steps, 3]
    path.write_bytes(content + b"\0" * 100)  # a journal replayed after a power failure
    assert [record["step"] for record in run.metrics()] == [1, 2]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"step": 1, "step": 2}', "the key 'step' stands twice"),
        ('{"step": 1', "column 11: Expecting ',' delimiter"),
        ('{"step": "1"}', "not a record with a `step`"),
        ("[]", "not a record with a `step`"),
        ("", "Expecting value"),
        ('{"step": 1, "loss": NaN}', "NaN is no finite number"),
    ],
)
def test_any_other_unreadable_line_is_named(run, line, words):
    run.append_metrics({"step": 1})
    with open(run.path / METRICS, "a", encoding="utf-8") as file:
        file.write(line + "\n")
    run.append_metrics({"step": 2})
    for act in (run.metrics, lambda: run.truncate_metrics(0)):
        with pytest.raises(DataError, match=words) as caught:
            act()
        assert caught.value.where == f"{run.path / METRICS}, line 2"
        assert caught.value.fix == "delete that line"


# The log


def test_the_log_is_dated_and_harmless(run):
    run.log("step 1\nzwei")
    run.log("\x1b[2Jü\ud800")
    text = (run.path / "log.txt").read_text(encoding="utf-8")
    lines = [
        re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  (.*)", line) for line in text.split("\n")
    ]
    assert [line and line[1] for line in lines] == ["step 1", "zwei", r"\x1b[2Jü\ud800", None]


# The lock

HOLDER = """
import sys, time
from graphgrad.training.run_folder import RunFolder
with RunFolder.open(sys.argv[1]).lock():
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_refused_and_a_dead_one_blocks_nobody(run):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run.path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
            words = f"run is being written by process {holder.pid} on"
            with pytest.raises(EnvironmentLimitError, match=words) as caught, run.lock():
                pytest.fail("two writers")
            assert "choose another" in caught.value.fix
            assert run.metrics() == []  # reading needs no lock
        finally:
            holder.kill()
        holder.wait()
        with run.lock():
            run.append_metrics({"step": 1})


def test_the_lock_is_given_back_and_excludes_the_same_process(run):
    with run.lock():
        run.append_metrics({"step": 1})
        with pytest.raises(EnvironmentLimitError, match=f"process {os.getpid()}"), run.lock():
            pytest.fail("locked twice")
    with pytest.raises(ZeroDivisionError), run.lock():
        raise ZeroDivisionError
    with run.lock():
        pass


def test_the_lock_sweeps_what_a_dead_writer_left(run):
    (run.path / ".saving-1-abc").write_text("half")
    with run.lock():
        assert sorted(os.listdir(run.path)) == [".lock", "configuration.json"]


def test_a_disk_without_locks_is_used_and_the_log_says_so(run, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with run.lock():
        pass
    assert "no file locks" in (run.path / "log.txt").read_text()


# The environment


def test_going_back_drops_metrics_and_figures_of_later_steps(run):
    writer = HistoryWriter(run.history, ("x",), ("norm",), 1)
    for step in (1, 2, 3):
        run.append_metrics({"step": step})
        writer.append(step, np.zeros((1, 1)))
    run.truncate(2)
    assert [line["step"] for line in run.metrics()] == [1, 2]
    assert read_records(run.history).steps.tolist() == [1, 2]
    with pytest.raises(ConfigurationError, match="not a name for a file"):
        run.write_text(run.history.name, "")
