"""`graphgrad profile`: text, JSON and trace of a small Transformer's training step."""

import argparse
import json
from pathlib import Path

import pytest

from graphgrad.errors import ConfigurationError, GraphgradError
from graphgrad.tools import profile

SETTINGS = ("width=16", "heads=2", "inner=16", "layers=1", "batch_size=4", "dropout=0.1")
Words = tuple[str, ...]


@pytest.fixture
def small(tmp_path: Path) -> Words:
    """The words for a small Transformer with little data."""
    words = ["transformer", "--steps", "1"]
    for number, side in enumerate(("source", "target")):
        file = tmp_path / side
        file.write_text("".join(f"{line} {line * number}\n" for line in range(30)))
        words += ["--set", f"{side}={file}"]
    for assignment in SETTINGS:
        words += ["--set", assignment]
    return tuple(words)


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=profile.DESCRIPTION)
    profile.add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.usefixtures("small_kernels")
def test_json_and_trace_hold_every_node(
    small: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "step.json"
    assert profile.run(parse(*small, "--json", "--trace", str(file))) == 0
    found = json.loads(capsys.readouterr().out)
    names = {name for node in found["nodes"] for name in node["name"].split(", ")}
    assert {"encoder.0.attention.weights", "encoder.0.attention.values"} <= names
    kernels = [node for node in found["nodes"] if node["operation"].startswith("kernel_")]
    assert kernels and all(node["type"].endswith(" nodes") for node in kernels)
    assert any(node["bytes"] > 0 for node in kernels)
    assert any(name.endswith(".delta") for name in names), "deltas too"
    assert any(name.startswith("optimiser.") for name in names), "and updates"
    for node in found["nodes"]:
        assert node["seconds"] >= 0 and node["bytes"] >= 0
        assert (node["flops"] > 0) == (node["operation"] == "matmul"), node
    products = [node for node in found["nodes"] if node["operation"] == "matmul"]
    (together,) = [each for each in found["operations"] if each["operation"] == "matmul"]
    assert together["calls"] == len(products)
    declared = [node["origin"] for node in products]
    assert all("models/transformer.py:" in origin for origin in declared)
    trace = json.loads(file.read_text())
    assert len(trace["traceEvents"]) == len(found["nodes"])
    assert {event["ph"] for event in trace["traceEvents"]} == {"X"}


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("encoding", ["encoder.0.attention.key.product", "decoder.0.cross_attention.key.product"]),
        ("decoding", ["decoder.0.attention.key.product", "candidate_logits"]),
    ],
)
@pytest.mark.usefixtures("small_kernels")
def test_what_runs_when_a_model_is_used_is_timed_too(
    small: Words, capsys: pytest.CaptureFixture[str], what: str, names: list[str]
) -> None:
    """Of a batch as the decoder makes it: 8 sentences for a batch_size of 4."""
    assert profile.run(parse(*small, "--json", "--what", what)) == 0
    nodes = json.loads(capsys.readouterr().out)["nodes"]
    found = {name for node in nodes for name in node["name"].split(", ")}
    assert found.issuperset(names) and not any(".delta" in name for name in found)
    assert any(node["type"].startswith(("float32[8, ", "int32[8, ")) for node in nodes)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["feedforward", "--what", "decoding"], "feedforward is not decoded"),
        (["sort", "--what", "encoding"], "sort has no encoder"),
    ],
)
def test_a_model_without_the_program_is_refused(words: list[str], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        profile.run(parse(*words))


def test_the_text_lists_operations_and_the_longest_nodes(
    small: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    assert profile.run(parse(*small, "--top", "7")) == 0
    head, operations, nodes = capsys.readouterr().out.split("\n\n")
    assert head.startswith("a step takes ") and "medians of 1" in head
    rows = operations.splitlines()[1:]
    times = [float(row[28:38]) for row in rows]
    assert times == sorted(times, reverse=True) and len(rows) > 10
    shares = sum(float(row[38:45].strip().rstrip("%")) for row in rows)
    assert shares == pytest.approx(100, abs=0.1 * len(rows))
    assert len(nodes.splitlines()) == 1 + 7
    assert "models/transformer.py:" in nodes


@pytest.mark.usefixtures("small_kernels")
def test_a_kernel_is_printed_and_its_assembly(
    small: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("llvmlite")
    assert profile.run(parse(*small, "--kernel", "kernel_0")) == 0
    text = capsys.readouterr().out
    assert text.startswith("# kernel_0, called by these lines of the program:\n#   line ")
    assert "\ndef kernel(first: int64, last: int64, arguments: int64):\n" in text
    assert profile.run(parse(*small, "--kernel", "kernel_0", "--assembly")) == 0
    assert "kernel:" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ("transfomer",),
        ("transformer", "--set", "widht=3"),
        ("transformer", "--trace", "/nowhere/at/all.json"),
        ("transformer", "--assembly"),
        ("transformer", "--set", "width=16", "--kernel", "kernel_x"),
    ],
    ids=["model", "setting", "trace", "assembly of nothing", "kernel"],
)
def test_a_wrong_option_is_an_error_at_once(words: Words) -> None:
    with pytest.raises(GraphgradError):
        profile.run(parse(*words))


def test_the_help_is_one_line() -> None:
    assert "\n" not in profile.HELP and len(profile.HELP) < 80


def test_what_ranks_send_and_what_hides_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("attention", "--ranks", "2", "--steps", "2", "--link-delay", "2", "--link-rate", "1")
    assert profile.run(parse(*words, "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    ranks = found["ranks"]
    (each,) = ranks["collectives"]
    assert ranks["ranks"] == 2 and ranks["bytes"] == each["bytes"] == 129 * 4
    assert each["seconds"] >= 2 * 0.002 and each["hidden_seconds"] <= each["seconds"]
    assert {"wait", "all_reduce_start"} <= {node["operation"] for node in found["nodes"]}


def test_what_no_ranks_can_be_profiled_with(capsys: pytest.CaptureFixture[str]) -> None:
    for words, problem in (
        (("--ranks", "0"), "are no ranks between which anything is sent"),
        (("--ranks", "2", "--what", "decoding"), "done by one process"),
        (("--ranks", "2", "--link-rate", "0"), "lets nothing pass"),
        (("--ranks", "2", "--link-delay", "nan"), "no time of a message"),
    ):
        with pytest.raises(ConfigurationError, match=problem):
            profile.run(parse("attention", *words))
