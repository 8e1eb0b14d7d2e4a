"""`kill -9` at moments of a training run: it ends with the bytes of an uninterrupted one.

    KILLS=20 python -m pytest -n 0 tests/training/test_kill.py     # a minute; without it 3 moments

A killed process cannot clean up, so what is on the disk at that moment is all there is. The moments
are random but seeded: most are a number of finished steps and a little time, so that they fall into
steps, appended lines, saves and removals; some fall into the start of the process.
"""

import os
import random
import subprocess
import sys
import time

import pytest

from graphgrad.reports.history import read_history
from graphgrad.training.checkpoint import load_checkpoint
from graphgrad.training.history_file import read_records
from graphgrad.training.run_folder import RunFolder

KILLS = int(os.environ.get("KILLS", "3"))
EARLY = -(-KILLS // 4)
STEPS = 30 * KILLS
SETTINGS = {
    "layers": 1,
    "width": 16,
    "heads": 2,
    "inner": 16,
    "batch_size": 4,
    "warmup": 20,
    "dropout": 0.1,
    "tokens": "whitespace",
    "steps": STEPS,
    "checkpoint_every": 5,
    "evaluate_every": STEPS // 2,
    "accumulate": 2,
    "average_decay": 0.95,
    "keep_best": 2,
    "inspect_every": 3,
    "inspect": "encoder.0.*",
}
LIMIT = 60.0
"""Seconds after which something hangs."""


def command(*arguments):
    return [sys.executable, "-m", "graphgrad.tools.main", "train", *arguments]


def started(arguments, folder):
    return subprocess.Popen(
        arguments, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finished_steps(metrics):
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def starts(log):
    return log.read_text(encoding="utf-8").count("training from") if log.exists() else 0


def wait_for(process, reached):
    limit = time.monotonic() + LIMIT
    while not reached():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < limit, "the run hangs"
        time.sleep(0.005)  # often enough; more would take the time of the run


@pytest.fixture
def begin(tmp_path):
    """The command that begins a run in a folder of that name."""
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
    generator = random.Random(0)
    lines = [" ".join(generator.choices(words, k=generator.randint(1, 6))) for _ in range(200)]
    for name, text in (("lines.en", lines), ("lines.de", [line[::-1] for line in lines])):
        (tmp_path / name).write_text("\n".join(text) + "\n", encoding="utf-8")
    values = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    return lambda name: command(
        "transformer", "--source", "lines.en", "--target", "lines.de", "--run", name, *values
    )


def test_a_run_that_is_killed_ends_with_the_same_bytes(tmp_path, begin):
    whole = started(begin("whole"), tmp_path)
    moments = random.Random(9)
    metrics, log = (tmp_path / "killed" / name for name in ("metrics.jsonl", "log.txt"))
    arguments = begin("killed")
    early = set(moments.sample(range(1, KILLS), EARLY))
    process = None
    try:
        for number in range(KILLS):
            process = started(arguments, tmp_path)
            if number in early:
                time.sleep(moments.uniform(0.0, 1.0))
            else:
                goal = finished_steps(metrics) + moments.randint(1, 16)
                begun = starts(log) + 1
                wait_for(process, lambda n=begun: starts(log) >= n)
                wait_for(process, lambda n=goal: finished_steps(metrics) >= n)
                time.sleep(moments.uniform(0.0, 0.01))
            assert process.poll() is None, "it ended before it was killed"
            process.kill()
            process.communicate()
            arguments = command("--resume", "killed")
        process = started(arguments, tmp_path)
        output, _ = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, output
        output, _ = whole.communicate(timeout=LIMIT)
        assert whole.returncode == 0, output
    finally:
        for each in (whole, process):
            if each is not None:
                each.kill()
                each.communicate()
    ends = [load_checkpoint(tmp_path / name / "checkpoints") for name in ("whole", "killed")]
    assert [end.step for end in ends] == [STEPS, STEPS]
    first, second = ({name: array.tobytes() for name, array in end.arrays.items()} for end in ends)
    assert first == second
    runs = [RunFolder.open(tmp_path / name) for name in ("whole", "killed")]
    lines = [
        [(line["step"], line["loss"], line["gradient_norm"]) for line in run.metrics()]
        for run in runs
    ]
    assert len(lines[0]) == STEPS and lines[0] == lines[1]
    kept, mended = (read_records(run.history, run.identity) for run in runs)
    assert kept.values.tobytes() == mended.values.tobytes() and kept.names == mended.names
    assert read_history(runs[0]).steps == (1, *range(3, STEPS + 1, 3))
    assert runs[0].read_json("evaluation.json") == runs[1].read_json("evaluation.json")
    assert not list((tmp_path / "killed").rglob(".saving-*")), "leftovers of a killed save"
