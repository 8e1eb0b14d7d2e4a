"""`graphgrad train`: what it prints and leaves in the run folder."""

import json
import re
from functools import partial

from train_command import begin, sets

from graphgrad.data import builtin
from graphgrad.models import BUILTIN
from graphgrad.reports.history import read_history
from graphgrad.tools import train
from graphgrad.tools.main import main
from graphgrad.training.checkpoint_format import STATE
from graphgrad.training.run_folder import RunFolder

UNGUARDED = """
from dataclasses import dataclass
import numpy as np
from graphgrad.graph import Graph, input, normal, parameter
from graphgrad.ops import log, sum
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.task import Task

@dataclass(frozen=True)
class Settings(TrainingSettings):
    steps: int = 1

def task(settings, files):
    w = parameter("w", 3, normal(1.0), settings.dtype)
    y = log(w * w * input("x", 3, settings.dtype), name="logarithm √")
    return Task(Graph({"loss": sum(y, name="loss")}), lambda step: {"x": np.ones(3)},
                lambda state: {})
"""


def test_a_run_says_where_it_is_what_it_reached_and_what_to_try(place, capsys):
    assert main(begin()) == 0
    captured = capsys.readouterr()
    assert re.search(
        r"^run run: transformer, [\d,]+ parameters, steps 0 to 12$", captured.out, re.M
    )
    assert re.search(r"^step 12/12  loss \d", captured.out, re.M)
    finished = r"^finished after step 12: loss \d.*exact_match .*examples \d+$"
    assert re.search(finished, captured.out, re.M)
    assert "try: graphgrad translate run TEXT" in captured.out
    assert not captured.err
    assert "\x1b" not in captured.out


def test_runs_get_numbers(place, capsys):
    for number in (1, 2):
        arguments = begin("steps=1")
        arguments[arguments.index("--run") : arguments.index("--run") + 2] = []
        assert main(arguments) == 0
        assert (place / "runs" / f"transformer-00{number}" / "configuration.json").is_file()


def test_data_files_are_kept_by_their_absolute_paths(trained):
    configuration = (trained / "run" / "configuration.json").read_text(encoding="utf-8")
    settings = json.loads(configuration)["settings"]
    assert settings["source"] == str(trained / "train.en")
    assert settings["target"] == str(trained / "train.de")


def test_resuming_a_finished_run_says_that_nothing_is_left(finished, capsys):
    assert main(["train", "--resume", "run"]) == 0
    output = capsys.readouterr().out
    assert "nothing is left to train" in output
    assert "graphgrad train --resume run --set steps=24" in output
    assert main(["train", "--resume", "run", "--set", "steps=14"]) == 0
    assert "steps 12 to 14" in capsys.readouterr().out


def test_a_damaged_newest_checkpoint_is_a_note(finished, capsys):
    state = finished / "checkpoints" / "step-000000012" / STATE
    state.write_bytes(state.read_bytes()[:100])
    assert main(["train", "--resume", "run"]) == 0
    output = capsys.readouterr().out
    assert re.search(r"^note: step-000000012 is damaged: .*100 bytes", output, re.M)
    assert "steps 10 to 12" in output


def test_the_other_built_in_models_train_too(place, capsys):
    for name in set(BUILTIN) - {"transformer", "gpt", "bert"}:  # see test_language_commands.py
        assert main(["train", name, "--run", name, *sets("steps=3")]) == 0
        output = capsys.readouterr().out
        assert "finished after step 3" in output and "try:" not in output


def test_the_first_command_in_small(place, capsys, monkeypatch):
    """`graphgrad train transformer`: fewer of the built-in dates, a smaller model, thirty steps."""
    few = partial(builtin.dates_corpus, 2000)
    monkeypatch.setattr(builtin, "dates_corpus", few)
    values = "steps=30 warmup=5 layers=1 width=32 heads=2 inner=32 batch_size=16 evaluate_every=20"
    small = sets(*values.split())
    assert main(["train", "transformer", "--run", "dates", *small]) == 0
    output = capsys.readouterr().out
    lines = (place / "dates" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert len(losses) == 30
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert "    de: Sonntag, 22. November 2026  →  " in output
    assert re.search(r"step 20  held-out: loss \d\S+  exact_match \S+  examples 200", output)
    assert 'graphgrad translate dates "de: Sonntag, 22. November 2026"' in output
    assert json.loads((place / "dates" / "evaluation.json").read_text())["examples"] == 2000


def test_what_is_likely_to_go_wrong_is_noted_before_the_first_step(place, capsys, monkeypatch):
    monkeypatch.setattr(train, "busy_note", lambda: None)  # other programs may keep cores busy
    (place / "mine.py").write_text(UNGUARDED, encoding="utf-8")
    assert main(["train", "mine.py", "--run", "mine"]) == 0
    output = capsys.readouterr().out
    note = re.search(r"^note: logarithm √: log of a value .*mine\.py:\d+\)$", output, re.M)
    assert note is not None and note.start() < output.index("step 1/1")
    assert main(["train", "--resume", "mine", "--set", "steps=2"]) == 0
    assert "logarithm" not in capsys.readouterr().out, "said once"
    assert main(["train", "feedforward", "--run", "clean", *sets("steps=1")]) == 0
    notes = re.findall(r"^note: (.*)$", capsys.readouterr().out, re.M)
    of_the_machine = [note for note in notes if "openblas" in note.lower()]  # when it is busy
    assert len(notes) - len(of_the_machine) == 1, "of the data alone"


def test_figures_are_recorded_and_go_on_being_recorded(place, capsys):
    recording = ["--inspect-every", "4", "--inspect", "encoder.0.*", "--inspect", "*.logits"]
    assert main([*begin("steps=10"), *recording]) == 0
    history = read_history(RunFolder.open("run"))
    assert history.steps == (1, 4, 8)
    tops = {".".join(name.split(".")[:2]) for name in history.names}
    assert "encoder.0" in tops and "encoder.1" not in tops
    assert {"decoder.output.logits", "decoder.output.logits.delta"} <= set(history.names)
    settings = json.loads((place / "run" / "configuration.json").read_text())["settings"]
    assert (settings["inspect_every"], settings["inspect"]) == (4, "encoder.0.*,*.logits")
    assert main(["train", "--resume", "run", *sets("steps=14")]) == 0
    assert read_history(RunFolder.open("run")).steps == (1, 4, 8, 12)
    assert main(["train", "--resume", "run", "--inspect-every", "0", *sets("steps=18")]) == 0
    assert read_history(RunFolder.open("run")).steps == (1, 4, 8, 12)
