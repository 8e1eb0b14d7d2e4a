"""How many programs a whole run compiles: as many as it says at its start."""

from functools import partial
from pathlib import Path

import pytest
from small_runs import QUIET

from graphgrad.compile import Compiled
from graphgrad.models import builtin_recipe, recipe_names, transformer
from graphgrad.models.transformer import Settings
from graphgrad.training.held_out import DECODING, EVALUATED
from graphgrad.training.runs import create_run
from graphgrad.training.task import load_model
from graphgrad.training.trainer import train

WORDS = ["red", "blue", "green", "cat", "dog", "house"]
LINES = [" ".join(WORDS[n * k % 6] for k in range(1, 2 + n % 9)) for n in range(90)]
pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def write(folder: Path, name: str, lines: list[str]) -> str:
    """A file of pairs: each line, and the same backwards."""
    text = "".join(f"{line}\t{line[::-1]}\n" for line in lines)
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_a_whole_run_compiles_as_many_programs_as_it_says(tmp_path, monkeypatch):
    """With validation, samples, an early end, and the evaluation after it."""
    compiled, lowered = [], Compiled._lowered

    def noted(self, sizes):
        compiled.append(sizes)
        return lowered(self, sizes)

    monkeypatch.setattr(Compiled, "_lowered", noted)
    file = partial(write, tmp_path)
    longest = " ".join(["red"] * 40)  # longer than any of training
    settings = Settings(
        pairs=file("train", LINES[:70]),
        validation_pairs=file("valid", LINES[70:]),
        test_pairs=file("test", [longest, LINES[80]]),
        tokens="words",
        batch_tokens=60,
        buckets=4,
        layers=1,
        width=16,
        heads=2,
        inner=16,
        fuse=False,
        steps=30,
        evaluate_every=8,
        patience=1,
        learning_rate=1e-12,
    )
    found = load_model("transformer", {"transformer": transformer})
    run = create_run(found, settings, tmp_path / "run")
    outcome = train(run, progress=QUIET())
    assert outcome.step < 30 and outcome.figures["examples"] == 2
    (line,) = [line for line in run.task.about() if line.startswith("programs: ")]
    assert line == (
        f"programs: {len(compiled)} in the whole run: 4 for training steps, one for each shape of "
        "a batch; 3 for the loss of held-out pairs, 2 to translate them"
    )


def test_recipes_need_a_dozen_programs_at_most():
    for recipe in map(builtin_recipe, recipe_names()):
        if recipe.settings.get("batch_tokens"):
            assert recipe.settings["buckets"] + EVALUATED + DECODING <= 12, recipe.name
