"""`graphgrad bench`: its options and its output, and the engines themselves on a micro model."""

import argparse
import dataclasses
import importlib.util
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from graphgrad.errors import ConfigurationError
from graphgrad.passes import PASSES
from graphgrad.performance.bench_process import default_threads
from graphgrad.performance.bench_results import Bench, Record
from graphgrad.performance.bench_runner import Conditions, Contender
from graphgrad.performance.bench_worker import Workload
from graphgrad.tools import bench

MICRO = Workload(16, 24, 2, 2, 40, 5, 6, 3)
RECORD = Record(
    version="1.0",
    detail="",
    threads=2,
    precision="fp32",
    median_ms=10.0,
    min_ms=9.0,
    first_step_s=1.5,
    peak_mb=300.0,
    tokens_per_s=1000.0,
    mfu=0.25,
    ratio=1.0,
    losses=(7.0, 6.0, 5.0),
)
KEYS = {"median_ms", "min_ms", "first_step_s", "peak_mb", "tokens_per_s", "mfu", "ratio"}


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=bench.DESCRIPTION)
    bench.add_arguments(parser)
    return parser.parse_args(words)


@pytest.fixture
def micro(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The size `tiny` is a micro model, so that engines are quick."""
    monkeypatch.setitem(bench.SIZES, "tiny", MICRO)
    yield


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Workload, list[str], Conditions]]:
    """What would be measured; every engine's record is the same."""
    found: list[tuple[Workload, list[str], Conditions]] = []

    def measure(
        workload: Workload, contenders: Sequence[Contender], conditions: Conditions
    ) -> Bench:
        names = [f"{each.name}:{each.variant}" for each in contenders]
        found.append((workload, names, conditions))
        records = {each.name: RECORD for each in contenders if each.name != "jax"}
        own = RECORD
        if conditions.load:
            own = dataclasses.replace(own, loaded_ms=25.0, loaded_ratio=1.0)
        records |= {"graphgrad": dataclasses.replace(own, precision=contenders[0].precision)}
        return Bench(
            workload=workload,
            threads=2,
            device=conditions.device,
            steps=5,
            gflop=1.5,
            peaks={"fp32": 400.0},
            records=records,
            absent={"jax": "jax is not installed"},
            dropped=(("OPENBLAS_CORETYPE", "Haswell"),),
            busy_elsewhere=0.5,
            busy_processes=2 if conditions.load else 0,
        )

    monkeypatch.setattr(bench, "measure", measure)
    return found


def test_what_is_asked_for_is_what_is_measured(asked: list[Any]) -> None:
    assert bench.run(parse()) == 0
    workload, names, conditions = asked.pop()
    assert workload == bench.SIZES["small"]
    assert names == ["graphgrad:", "torch:eager", "jax:fp32"]
    assert conditions == Conditions(bench.STEPS["small"], default_threads())
    words = (
        "--size",
        "base",
        "--peers",
        "torch-compile,torch-compile",
        "--steps",
        "3",
        "--threads",
        "1",
        "--without",
        "prune",
        "--depth",
        "2,4",
        "--batch",
        "8,16",
        "--time-limit",
        "9",
    )
    assert bench.run(parse(*words)) == 0
    assert [(each[0].layers, each[0].batch) for each in asked] == [(2, 8), (2, 16), (4, 8), (4, 16)]
    for workload, names, conditions in asked:
        assert names == ["graphgrad:", "graphgrad without prune:prune", "torch-compile:compile"]
        assert workload.width == 512 and conditions == Conditions(3, 1, 9.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--peers", "tensorflow,jaxx"), "no peer called 'tensorflow'"),
        (("--peers", "jaxx"), "did you mean 'jax'"),
        (("--without", "simplfy"), "did you mean 'simplify'"),
        (("--depth", "2,x"), "'x' is not a number"),
        (("--depth", "0"), "--depth must be greater than 0"),
        (("--steps", "0"), "--steps must be greater than 0"),
    ],
)
def test_a_wrong_option_is_one_clear_error(
    words: tuple[str, ...], message: str, asked: list[Any]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        bench.run(parse(*words))
    assert message in str(caught.value)
    assert not asked


def test_the_text_names_conditions_engines_and_absentees(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    bench.run(parse("--size", "tiny"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tiny: width 64, inner 256, heads 4, layers 2+2, vocabulary 1000")
    assert lines[1] == "threads 2, steps 5, 1.5 GFLOP a step, peak 400 GFLOP/s"
    assert lines[2] == "dropped from the environment: OPENBLAS_CORETYPE=Haswell"
    header, own = lines[4], lines[5]
    assert own.split() == ["graphgrad", "1.0", "10.0", "9.0", "1.5", "300", "1000", "25.0%", "1.00"]
    assert header.index("median ms") + len("median ms") == own.index("10.0") + len("10.0")
    text = "\n".join(lines)
    assert "absent: jax is not installed" in text
    assert "first losses agree: 7, 6, 5" in text
    assert "other programs kept 0.5 processors busy" in text


def test_what_load_costs_is_a_column(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    bench.run(parse("--size", "tiny", "--load", "--peers", "none"))
    lines = capsys.readouterr().out.splitlines()
    header, own = lines[4], lines[5]
    assert header.split()[-4:] == ["loaded", "ms", "slower", "ratio"]
    assert own.split()[-3:] == ["25.0", "2.50", "1.00"] and len(own) == len(header)
    assert "the median beside 2 busy processes" in "\n".join(lines)
    assert asked[0][2].load


@pytest.mark.parametrize(("precision", "said"), [("bf16", True), ("tf32", True), ("fp32", False)])
def test_that_a_precision_is_not_faster_on_a_processor_is_said(
    precision: str, said: bool, asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    bench.run(parse("--size", "tiny", "--precision", precision, "--peers", "none"))
    assert asked[0][1] == [f"graphgrad:{precision if said else ''}"]
    text = capsys.readouterr().out
    assert (f"so {precision} is not faster than fp32" in text) == said


def test_several_cases_are_still_one_object(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    bench.run(parse("--depth", "1,2", "--json"))
    cases = json.loads(capsys.readouterr().out)["cases"]
    assert [(case["size"], case["layers"]) for case in cases] == [("small", 1), ("small", 2)]


def test_graphgrad_alone_and_without_a_pass(
    micro: None, capsys: pytest.CaptureFixture[str]
) -> None:
    without = PASSES[-1].__name__
    words = ("--size", "tiny", "--peers", "none", "--without", without, "--steps", "4", "--json")
    assert bench.run(parse(*words, "--precision", "bf16", "--load")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["size"] == "tiny" and found["threads"] == default_threads()
    assert found["absent"] == {} and found["peaks"].keys() == {"bf16"}
    assert found["peaks"]["bf16"] > 0 and found["busy_processes"] == default_threads()
    own, other = found["graphgrad"], found[f"graphgrad without {without}"]
    for record in (own, other):
        assert set(record) >= KEYS
        assert 0 < record["min_ms"] <= record["median_ms"] < record["first_step_s"] * 1e3
        assert record["threads"] == default_threads() and record["precision"] == "bf16"
        assert record["loaded_ms"] > 0
    assert own["loaded_ratio"] == 1
    assert other["loaded_ratio"] == pytest.approx(other["loaded_ms"] / own["loaded_ms"], 0.01)
    assert own["ratio"] == 1 and own["losses"][0] > own["losses"][2]


@pytest.mark.parametrize(
    ("peer", "module"),
    [("torch", "torch"), ("jax", "jax"), ("pytensor", "pytensor")],
)
def test_a_peer_computes_the_same(
    peer: str, module: str, micro: None, capsys: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    assert bench.run(parse("--size", "tiny", "--peers", peer, "--steps", "2", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["absent"] == {}, found["absent"]
    own, other = found["graphgrad"], found[peer]
    assert other["losses"] == pytest.approx(own["losses"], 2e-5)
    assert set(other) >= KEYS and other["threads"] == found["threads"]
    assert other["ratio"] == pytest.approx(other["median_ms"] / own["median_ms"], 0.01)


def test_the_help_is_one_line() -> None:
    assert "\n" not in bench.HELP and len(bench.HELP) < 80
