"""The section of metrics: windows and spreads hold what plain loops over the records find."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
import pytest

from graphgrad.page.build import json_block
from graphgrad.page.section_training import MOST_WINDOWS, training_section
from graphgrad.reports.over_steps import SPREAD_BINS, SPREAD_WINDOWS, distinct


def unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


def figure(section: dict[str, Any], name: str) -> dict[str, Any]:
    return next(item for item in section["figures"] if item["name"] == name)


def records(count: int, seed: int = 0) -> list[dict[str, Any]]:
    generator = np.random.default_rng(seed)
    return [
        {"step": step, "loss": float(np.exp(generator.normal())), "tokens": 7, "signature": "x"}
        for step in range(1, count + 1)
    ]


def test_few_records_are_kept_as_they_are() -> None:
    made = records(5)
    made[3]["held_out_loss"] = 0.25
    section = training_section([("a", made), ("b", [])])
    assert section is not None and section["runs"] == ["a", "b"]
    assert [item["name"] for item in section["figures"]] == ["loss", "held_out_loss", "tokens"]
    series, nothing = figure(section, "loss")["series"]
    assert nothing is None and series["first"] == series["last"] == [1, 2, 3, 4, 5]
    wanted = np.float32([record["loss"] for record in made])
    for name in ("mean", "low", "high"):
        assert np.array_equal(unpacked(series[name]), wanted)
    assert figure(section, "held_out_loss")["series"][0]["first"] == [4]
    assert all(item["spread"] is None for item in section["figures"])


@pytest.mark.parametrize("count", [MOST_WINDOWS, MOST_WINDOWS + 1, 1000])
def test_windows_hold_every_record_once(count: int) -> None:
    made = records(count)
    made[10]["loss"], made[11]["loss"] = math.nan, math.inf
    section = training_section([("a", made)])
    assert section is not None
    [series] = figure(section, "loss")["series"]
    windows = list(zip(series["first"], series["last"], strict=True))
    assert len(windows) == min(count, MOST_WINDOWS)
    assert [step for a, b in windows for step in range(a, b + 1)] == list(range(1, count + 1))
    lost = []
    for place, (first, last) in enumerate(windows):
        inside = [made[step - 1]["loss"] for step in range(first, last + 1)]
        finite = [value for value in inside if math.isfinite(value)]
        lost += [place] if len(finite) < len(inside) else []
        found = [unpacked(series[name])[place] for name in ("mean", "low", "high")]
        if finite:
            wanted = [sum(finite) / len(finite), min(finite), max(finite)]
            assert found == pytest.approx(wanted, rel=1e-6)
        else:
            assert np.isnan(found).all()
    assert series["lost"] == lost and lost


def test_a_spread_counts_every_finite_number_of_each_run() -> None:
    runs = [("a", records(400)), ("b", records(150, 1))]
    runs[0][1][20]["loss"] = math.nan
    section = training_section(runs)
    assert section is not None
    spread = figure(section, "loss")["spread"]
    assert spread["log"] and len(spread["edges"]) == SPREAD_BINS + 1
    assert len(spread["first"]) == SPREAD_WINDOWS and spread["last"][-1] == 400
    edges = spread["edges"]
    for counts, (_, made) in zip(spread["counts"], runs, strict=True):
        for first, last, column in zip(spread["first"], spread["last"], counts, strict=True):
            inside = [record["loss"] for record in made[first - 1 : last]]
            for place, count in enumerate(column):
                low, high = edges[place] * (1 - 1e-6), edges[place + 1] * (1 + 1e-6)
                assert sum(low <= value <= high for value in inside) >= count
            assert sum(column) == sum(math.isfinite(value) for value in inside)
    assert figure(section, "tokens")["spread"] is None, "all are equal"


def test_numbers_of_both_signs_have_bins_of_equal_width() -> None:
    made = [{"step": step, "x": float(step - 100)} for step in range(300)]
    section = training_section([("a", made)])
    assert section is not None
    spread = figure(section, "x")["spread"]
    assert not spread["log"] and (spread["edges"][0], spread["edges"][-1]) == (-100, 199)


def test_what_is_no_number_is_left_out_and_json_is_strict() -> None:
    assert training_section([("a", [])]) is None
    made = [{"step": 1, "loss": math.nan, "done": True, "note": {"a": 1}}]
    section = training_section([("a", made)])
    assert section is not None and [item["name"] for item in section["figures"]] == ["loss"]
    json_block(section)
    assert distinct(["a", "a", "b", "a", "a (2)"]) == ["a", "a (2)", "b", "a (3)", "a (2) (2)"]
