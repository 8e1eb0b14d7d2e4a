"""`graphgrad train --ranks N --elastic`: whoever is lost, the others finish the run."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from graphgrad.tools.elastic import words_of
from graphgrad.tools.main import main, parser
from graphgrad.tools.train import OPTIONS

SETTINGS = ["--set", "steps=900", "--set", "checkpoint_every=10", "--set", "dtype=float64"]


def children(process):
    """The processes that a process has started, and those that they have."""
    listed = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True).stdout
    found = [int(word) for word in listed.split()]
    return found + [each for child in found for each in children(child)]


def wait_until(holds, seconds=60):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def elastic(folder, ranks):
    """A training on several ranks, after its first steps; its supervisor and the processes."""
    words = ["train", "attention", "--run", str(folder), "--ranks", str(ranks), "--elastic"]
    process = subprocess.Popen(
        [sys.executable, "-m", "graphgrad.tools.main", *words, *SETTINGS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics = folder / "metrics.jsonl"
    wait_until(lambda: metrics.exists() and metrics.stat().st_size)
    return process, children(process.pid)


def ended(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_others_go_on_when_one_rank_and_then_the_first_is_killed(tmp_path):
    process, (first, *followers) = elastic(tmp_path / "run", 3)
    os.kill(followers[1], signal.SIGKILL)
    assert len(followers) == 2
    wait_until(lambda: len(children(process.pid)) == 2 and first not in children(process.pid))
    leader, other = children(process.pid)
    os.kill(leader, signal.SIGKILL)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert "the process of rank" in error and "lost a rank; it goes on with 2 ranks" in error
    assert "was ended by SIGKILL; it goes on with one rank" in error
    wait_until(lambda: all(map(ended, (first, leader, other, *followers))))
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 901))
    assert main(["train", "attention", "--run", str(tmp_path / "alone"), *SETTINGS]) == 0
    states = [
        load_file(next((tmp_path / name / "checkpoints" / "step-000000900").glob("*.safetensors")))
        for name in ("run", "alone")
    ]
    for name, value in states[1].items():
        np.testing.assert_allclose(states[0][name], value, rtol=1e-9, atol=1e-9)


def test_a_training_saves_and_ends_when_its_supervisor_is_killed(tmp_path):
    process, found = elastic(tmp_path / "run", 2)
    process.kill()
    process.communicate(timeout=60)
    wait_until(lambda: all(map(ended, found)))
    saved = max(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert saved == f"step-{json.loads(lines[-1])['step']:09d}"


def test_the_words_of_a_command_are_those_that_give_its_arguments():
    given = [
        *("train", "attention", "--run", "-a b", "--ranks", "3", "--elastic", "--verify"),
        *("--set", "x=1", "--set=seed=-2", "--overfit-batch", "--time-limit", "2.5"),
    ]
    parsed = parser().parse_args(given)
    words = words_of(parsed, OPTIONS)
    again = vars(parser().parse_args(["train", *words]))
    assert again == {**vars(parsed), "elastic": False}
    assert argparse.Namespace(**again).run == "-a b"


@pytest.mark.parametrize(
    ("ranks", "environment", "problem"),
    [("1", {}, "of 1 none is"), ("2", {"PMI_SIZE": "2"}, "mpiexec ends all ranks")],
)
def test_where_no_rank_could_be_spared_it_is_refused(
    tmp_path, capsys, monkeypatch, ranks, environment, problem
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    words = ["--run", str(tmp_path / "run"), "--ranks", ranks, "--elastic"]
    assert main(["train", "attention", *words]) == 2
    error = capsys.readouterr().err
    assert problem in error and "fix:" in error
    assert not (tmp_path / "run").exists()
