"""The order of a bench and its measurements, with contenders made for the test."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from graphgrad.errors import EnvironmentLimitError
from graphgrad.performance.bench_process import default_threads
from graphgrad.performance.bench_results import Bench
from graphgrad.performance.bench_runner import (
    Conditions,
    Contender,
    UnequalError,
    batches_of,
    bench,
    compare,
)
from graphgrad.performance.bench_worker import Workload

WORKLOAD = Workload(4, 4, 1, 1, 50, 6, 7, 3)
PARAMETERS = {"w": np.arange(3, dtype=np.float32)}
FLOPS = 10**9

CONTENDER = """
import os, time, pathlib
DELAYS = {"slow": 0.04, "quick": 0.01}
def facts(variant, threads):
    return {"version": "1.2", "detail": os.environ.get("OPENBLAS_CORETYPE", "own kernel"),
            "threads": threads}
def build(variant, workload, parameters, batch, dropout):
    if variant == "broken":
        raise OSError("no compiler")
    padding = int((batch["target_output"] == 0).sum())
    assert (padding > 0) == (dropout == 0), (padding, dropout)
    total = float(parameters["w"].sum()) + int(batch["source"].sum())
    done = 0
    def step():
        nonlocal done, total
        done += 1
        if variant == "late" and done == 3 and dropout:
            raise RuntimeError("worn out")
        time.sleep(0.2 if variant == "warming" and done < 4 else DELAYS.get(variant, 0.0))
        total = total * (0.9 if variant != "unequal" else 0.91)
        log = pathlib.Path(__file__).with_name("order.txt")
        with log.open("a") as stream:
            stream.write(f"{variant}{' checks' if not dropout else ''}\\n")
        return total / 0.9
    return step
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Bench]:
    """Runs the bench with contenders of these variants."""
    file = tmp_path / "contender.py"
    file.write_text(CONTENDER)

    def running(variants: Sequence[str], steps: int = 3) -> Bench:
        contenders = [Contender(variant, str(file), variant) for variant in variants]
        contenders.append(Contender("missing", str(file), "", "a_module_that_is_not_there"))
        conditions = Conditions(steps, default_threads())
        return bench(WORKLOAD, PARAMETERS, FLOPS, contenders, conditions)

    return running


def test_figures_absentees_and_the_environment(
    run: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    found = run(["quick", "slow", "broken", "late"])
    quick, slow = found.records["quick"], found.records["slow"]
    assert list(found.records) == ["quick", "slow"]
    assert 10 <= quick.min_ms <= quick.median_ms
    assert 40 <= slow.min_ms <= slow.median_ms
    assert quick.ratio == 1 and slow.ratio == pytest.approx(slow.median_ms / quick.median_ms, 0.01)
    assert quick.first_step_s >= 0.01 and quick.peak_mb > 10
    assert quick.tokens_per_s == pytest.approx(3 * 7 / (quick.median_ms / 1e3), 0.01)
    peak = found.peaks["fp32"]
    assert quick.mfu == pytest.approx(1 / peak / (quick.median_ms / 1e3), 0.05)
    assert quick.losses == pytest.approx([slow.losses[0] * factor for factor in (1, 0.9, 0.81)])
    assert ("OPENBLAS_CORETYPE", "Prescott") in found.dropped
    assert quick.detail == "own kernel" and quick.threads == default_threads()
    assert set(found.absent) == {"missing", "broken", "late"}
    assert found.absent["missing"] == "a_module_that_is_not_there is not installed"
    assert "no compiler" in found.absent["broken"] and "worn out" in found.absent["late"]
    printed = found.to_dict()
    assert printed["quick"]["median_ms"] == quick.median_ms and printed["steps"] == 3


def test_contenders_take_turns(run: Callable[..., Bench], tmp_path: Path) -> None:
    run(["slow", "quick"], steps=13)
    order = (tmp_path / "order.txt").read_text().split("\n")[:-1]
    assert order[:6] == ["slow checks"] * 3 + ["quick checks"] * 3
    timed = order[6:]
    assert timed[:2] == ["slow", "quick"], "the first step of each"
    assert timed[2:6] == ["slow", "slow", "quick", "quick"], "steps that are not counted"
    assert timed.count("slow") == timed.count("quick") == 13 + 3
    changes = sum(a != b for a, b in itertools.pairwise(timed[6:]))
    assert changes >= 3, "13 steps of 40 ms are more than one turn"


def test_what_warms_up_is_not_counted(run: Callable[..., Bench]) -> None:
    record = run(["warming"], steps=1).records["warming"]
    assert record.first_step_s >= 0.2 and record.median_ms < 200


def test_another_computation_is_an_error(run: Callable[..., Bench]) -> None:
    with pytest.raises(UnequalError, match=r"unequal computes something else than quick.* step 1"):
        run(["quick", "unequal"])


def test_the_first_contender_has_to_work(run: Callable[..., Bench]) -> None:
    with pytest.raises(EnvironmentLimitError, match="broken failed: OSError: no compiler"):
        run(["broken", "quick"])


@pytest.mark.parametrize(
    ("others", "step"),
    [
        ([5.00004, 4.0, 3.0002], 0),
        ([5.0001, 4.0, 3.0], 1),
        ([5.0, 4.0002, 3.0], 2),
        ([5.0, 4.0, 3.001], 3),
        ([5.0, np.nan, 3.0], 2),
    ],
)
def test_losses_agree_at_every_step_or_not(others: list[float], step: int) -> None:
    if not step:
        compare("a", [5.0, 4.0, 3.0], "b", others)
        return
    with pytest.raises(UnequalError, match=f"at step {step} is"):
        compare("a", [5.0, 4.0, 3.0], "b", others)


def test_one_batch_has_padding_and_the_other_has_none() -> None:
    batches = batches_of(WORKLOAD)
    assert batches["timing.source"].shape == (3, 6)
    assert batches["timing.target_input"].shape == (3, 7)
    for name, ids in batches.items():
        assert ids.dtype == np.int32 and ids.max() < 50
        assert np.all(ids[:, 0] != 0), "nobody may look at padding alone"
        if name.startswith("timing."):
            assert np.all(ids != 0)
        else:
            ended = np.maximum.accumulate(ids == 0, axis=1)
            assert np.all((ids == 0) == ended), "padding is at the end"
    assert (batches["check.source"] == 0).any() and (batches["check.target_output"] == 0).any()
    following = batches["check.target_input"][:, 1:]
    assert np.array_equal(following, batches["check.target_output"][:, :-1])
