"""`--precision` of the commands: what is trained, kept, checked, profiled and drawn."""

from __future__ import annotations

import json
import shutil

from train_command import begin, refused, sets

from graphgrad.tools.main import main


def settings_in(folder):
    return json.loads((folder / "configuration.json").read_text())["settings"]


def test_a_run_keeps_its_precision_is_drawn_with_casts_and_can_have_another(place, capsys):
    assert main([*begin("fuse=false"), "--precision", "fp16"]) == 0
    said = capsys.readouterr().out
    assert "precision: fp16; products of the backend numpy are rounded" in said
    assert settings_in(place / "run")["precision"] == "fp16"
    lines = (place / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["loss_scale"] == 65536
    assert main(["render", "run", "--deltas", "nodes", "--output", "run.dot"]) == 0
    assert ": float16[" in (place / "run.dot").read_text()
    assert main(["train", "--resume", "run", *sets("steps=14")]) == 0
    assert settings_in(place / "run")["precision"] == "fp16"
    capsys.readouterr()
    assert main(["train", "--resume", "run", "--precision", "fp32", *sets("steps=16")]) == 0
    assert "note: the run goes on without a loss scale" in capsys.readouterr().out
    assert settings_in(place / "run")["precision"] == "fp32"


def test_a_model_of_float64_has_no_other_precision(place, capsys):
    error = refused(capsys, [*begin("dtype=float64"), "--precision", "bf16"])
    assert "bf16 is one of models in float32" in error
    assert not (place / "run").exists()


def test_the_program_of_a_precision_is_checked(capsys):
    assert main(["check", "attention", "--node", "loss", "--precision", "bf16"]) == 0
    said = capsys.readouterr().out
    assert "the program that trains agrees with the reference" in said


def test_casts_are_profiled(capsys):
    words = ["profile", "attention", "--precision", "bf16", "--steps", "1", "--json"]
    assert main([*words, *sets("fuse=false")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"cast", "matmul"} <= {each["operation"] for each in found["operations"]}


def test_casts_are_drawn(capsys):
    assert main(["render", "attention", "--precision", "bf16", "--forward"]) == 0
    said = capsys.readouterr().out
    assert ".bfloat16" in said and ": bfloat16[" in said
    assert main(["render", "attention", "--forward"]) == 0
    assert "bfloat16" not in capsys.readouterr().out


def test_figures_are_those_of_the_step_as_it_runs(place, capsys):
    """The loss that `inspect` gives is that of the next step in bf16, and not that in fp32."""
    words = ["train", "attention", "--run", "run", "--precision", "bf16"]
    assert main([*words, *sets("steps=1")]) == 0
    capsys.readouterr()
    assert main(["inspect", "run", "--node", "loss", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["nodes"][0]["value"]["mean"]
    shutil.copytree("run", "other")
    losses = []
    for folder, precision in (("run", "bf16"), ("other", "fp32")):
        words = ["train", "--resume", folder, "--precision", precision]
        assert main([*words, *sets("steps=2")]) == 0
        lines = (place / folder / "metrics.jsonl").read_text().splitlines()
        losses.append(json.loads(lines[-1])["loss"])
    assert abs(found - losses[0]) < 1e-6 < abs(found - losses[1])
