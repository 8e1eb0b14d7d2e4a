"""`graphgrad train --ranks N`: the run is that on one rank, and no lost rank damages it."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from graphgrad.errors import RanksError
from graphgrad.models import BUILTIN
from graphgrad.ranks import threads
from graphgrad.tools.main import main
from graphgrad.training.runs import open_run
from graphgrad.training.team import Team, part_of

STEPS = ["--set", "steps=8", "--set", "checkpoint_every=4", "--set", "dtype=float64"]


def state_of(run, step):
    (file,) = (run / "checkpoints" / f"step-{step:09d}").glob("*.safetensors")
    return load_file(file)


def begun(folder, *words):
    return main(["train", "attention", "--run", str(folder), *STEPS, *words])


def processes(folder):
    """The numbers of the processes that work at the run."""
    found = subprocess.run(["pgrep", "-f", "graphgrad.tools.ranks"], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split() if reads(word, folder)]


def reads(number, folder):
    try:
        return str(folder) in os.readlink(f"/proc/{number}/fd/1")
    except OSError:
        return False


def test_a_run_on_any_number_of_ranks_is_the_run_on_one(tmp_path, capsys):
    """It begins on two, goes on with three, and ends on one."""
    assert begun(tmp_path / "one") == 0
    link = ["--link-delay", "1", "--link-rate", "0.125"]
    assert begun(tmp_path / "run", "--set", "steps=4", "--ranks", "2", *link) == 0
    assert "2 ranks: a step adds up 1032 bytes over the ranks in 1 coll" in capsys.readouterr().out
    log = (tmp_path / "run" / "rank-1.log").read_text()
    assert "rank 1 of 2: from step 0" in log and "4 parts of batches computed" in log
    for steps, ranks in (("6", "3"), ("8", "1")):
        words = ["--resume", str(tmp_path / "run"), "--ranks", ranks, "--set", f"steps={steps}"]
        assert main(["train", *words]) == 0
    one, run = state_of(tmp_path / "one", 8), state_of(tmp_path / "run", 8)
    for name, value in one.items():
        np.testing.assert_allclose(run[name], value, rtol=1e-12, atol=1e-12)
    assert not processes(tmp_path)


def test_states_in_shares_and_deltas_of_16_bits_train_by_processes(tmp_path, capsys):
    """The program of each rank keeps half of the moments; the run is read by one process."""
    words = ["--set", "dtype=float32", "--set", "shard_states=true", "--set", "sent_deltas=bf16"]
    long = ["--set", "steps=120", "--set", "evaluate_every=120", "--set", "checkpoint_every=120"]
    assert begun(tmp_path / "run", *words, *long, "--ranks", "2") == 0
    text = capsys.readouterr().out
    assert "on each of 2 ranks" in text and "120 parts" in (tmp_path / "run/rank-1.log").read_text()
    assert "2 ranks: a step adds up" in (tmp_path / "run/log.txt").read_text()
    run = open_run(tmp_path / "run", BUILTIN)
    assert sorted(path.name for path in run.checkpoint.iterdir()) == [
        "manifest.json",
        "state-0.safetensors",
        "state-1.safetensors",
    ]
    assert run.state.keys() == run.graph.states.keys()
    losses = [record["loss"] for record in run.folder.metrics()]
    assert len(losses) == 120 and np.mean(losses[-10:]) < np.mean(losses[:10]) / 2


def started(folder):
    """A long training on two ranks, after its first steps."""
    words = ["train", "attention", "--run", str(folder), "--ranks", "2", *STEPS]
    process = subprocess.Popen(
        [sys.executable, "-m", "graphgrad.tools.main", *words, "--set", "steps=1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics, until = folder / "metrics.jsonl", time.monotonic() + 60
    while time.monotonic() < until and not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.05)
    (follower,) = processes(folder)
    return process, follower


def test_a_rank_that_is_killed_is_named_and_the_rest_saves(tmp_path, capsys):
    process, follower = started(tmp_path / "run")
    os.kill(follower, signal.SIGKILL)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 75
    assert "the process of rank 1 has ended" in error and "Traceback" not in error
    opened = open_run(tmp_path / "run", BUILTIN)
    assert opened.step > 0
    last = str(opened.step + 2)
    assert main(["train", "--resume", str(tmp_path / "run"), "--set", f"steps={last}"]) == 0


def test_when_the_first_rank_is_killed_nobody_is_left(tmp_path):
    process, _ = started(tmp_path / "run")
    process.kill()
    process.communicate()
    until = time.monotonic() + 20
    while time.monotonic() < until and processes(tmp_path):
        time.sleep(0.05)
    assert not processes(tmp_path)
    assert "the process of rank 0 has ended" in (tmp_path / "run" / "rank-1.log").read_text()


def test_ranks_that_differ_are_named_at_the_start(tmp_path, capsys):
    assert begun(tmp_path / "run", "--set", "steps=1") == 0
    assert begun(tmp_path / "other", "--set", "steps=1", "--set", "seed=5") == 0
    runs = [open_run(tmp_path / name, BUILTIN) for name in ("run", "other")]
    found = []

    def join(rank, communicator):
        try:
            Team(runs[rank], communicator)
        except RanksError as error:
            found.append(str(error))

    both = [threading.Thread(target=join, args=each) for each in enumerate(threads(2, 20.0))]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert len(found) == 2 and all("rank 1 has another" in text for text in found)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--ranks", "0"], "--ranks 0"),
        (["--ranks", "2", "--inspect-every", "2"], "recorded by one rank only"),
        (["--ranks", "500"], "no part for each of 500 ranks"),
        (["--set", "sent_deltas=bf16"], "deltas of float64 are not sent as bf16"),
        (["--set", "sent_deltas=bf17"], "sent_deltas must be one of fp32, bf16"),
    ],
)
def test_what_ranks_cannot_do_is_one_error(tmp_path, capsys, words, problem):
    assert begun(tmp_path / "run", *words) == 2
    error = capsys.readouterr().err
    assert problem in error and "fix:" in error and "Traceback" not in error
    assert not (tmp_path / "run").exists()
    assert not processes(tmp_path)


def test_parts_are_as_equal_as_can_be_and_in_order():
    feeds = {"x": np.arange(7), "all": np.arange(2), "y": np.arange(14).reshape(2, 7)}
    parts = [part_of(feeds, {"x": 0, "y": 1}, rank, 3) for rank in range(3)]
    assert [part["x"].tolist() for part in parts] == [[0, 1], [2, 3], [4, 5, 6]]
    assert np.array_equal(np.concatenate([part["y"] for part in parts], 1), feeds["y"])
    assert all(np.array_equal(part["all"], [0, 1]) for part in parts)
