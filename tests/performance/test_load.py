"""Cores that other programs keep busy are noticed, and the remedy is that of the BLAS."""

import os
from dataclasses import replace

import pytest

from graphgrad.performance import load
from graphgrad.performance.blas import BlasReport
from graphgrad.performance.blas_trial import Trial
from graphgrad.performance.diagnosis import judge_blas
from graphgrad.performance.load import LOOKS, busy_note, ready_to_run
from graphgrad.tools import doctor, train
from graphgrad.tools.main import main

CORES = os.cpu_count() or 1
BLAS = BlasReport("openblas", "0.3.30", "SkylakeX", 2, cores=2, processors=2)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine on which so many threads are ready at each look, this one among them."""
    monkeypatch.setattr(load, "PAUSE", 0.0)
    (tmp_path / "proc").mkdir()

    def ready(*numbers):
        texts = [f"0.07 0.16 0.11 {number}/93 9130\n" for number in numbers]
        path = tmp_path / "proc/loadavg"
        path.write_text(texts[0], encoding="ascii")
        waiting = iter(texts[1:])
        monkeypatch.setattr(load.time, "sleep", lambda _: path.write_text(next(waiting, texts[-1])))
        return tmp_path

    return ready


def test_as_many_others_as_cores_are_told_with_the_remedy(machine):
    note = busy_note(BLAS, machine(CORES + 1))
    assert note is not None and note.startswith(f"{CORES} other programs")
    assert f"on {CORES} cores" in note and "export OPENBLAS_NUM_THREADS=1" in note
    assert "export MKL_NUM_THREADS=1" in (busy_note(replace(BLAS, name="mkl"), machine(99)) or "")
    assert "export OMP_NUM_THREADS=1" in (busy_note(replace(BLAS, name="blis"), machine(99)) or "")


def test_a_quiet_machine_and_one_thread_need_no_word(machine):
    assert busy_note(BLAS, machine(CORES)) is None
    assert busy_note(replace(BLAS, threads=1), machine(99)) is None


def test_one_look_at_a_burst_is_not_enough(machine):
    less = LOOKS // 2
    assert ready_to_run(machine(*[1] * (less + 1), *[99] * less)) == 0
    assert ready_to_run(machine(*[1] * less, *[99] * (less + 1))) == 98


@pytest.mark.parametrize("text", ["", "garbage", "0.1 0.2 0.3 x/93 1\n", "é"])
def test_a_system_that_does_not_say_is_not_judged(text, tmp_path):
    assert ready_to_run(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/loadavg").write_text(text, encoding="utf-8")
    assert ready_to_run(tmp_path) is None and busy_note(BLAS, tmp_path) is None


def test_a_limit_that_costs_nothing_is_no_problem():
    limited = replace(
        BLAS,
        threads=1,
        threads_limited_by=("OPENBLAS_NUM_THREADS",),
        measured=Trial("SkylakeX", 1, 134.0),
        free_threads=Trial("SkylakeX", 2, 25.0),
    )
    finding = judge_blas(limited)[-1]
    assert "134 GFLOP/s, and 25 with 2 threads" in finding.text
    assert finding.level == "ok" and finding.remedy == "" and "costs nothing" in finding.text
    assert not any(each.level == "problem" for each in judge_blas(limited))
    faster = replace(limited, free_threads=Trial("SkylakeX", 2, 268.0))
    assert any(each.level == "problem" for each in judge_blas(faster))


def test_the_commands_say_it(monkeypatch, tmp_path, capsys):
    for module in (doctor, train):
        monkeypatch.setattr(module, "busy_note", lambda: "the cores are busy (remedy: wait)")
    main(["doctor", "--no-measure"])
    assert "note        the cores are busy" in capsys.readouterr().out
    main(["doctor", "--no-measure", "--json"])
    assert '"busy": "the cores are busy' in capsys.readouterr().out
    main(["train", "feedforward", "--run", str(tmp_path / "run"), "--set", "steps=1"])
    assert "note: the cores are busy" in capsys.readouterr().out
