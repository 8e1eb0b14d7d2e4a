"""A model file may give its graph several optimisers; every command then takes it as it is."""

from __future__ import annotations

from pathlib import Path

import adversarial_model
import numpy as np
import pytest

import graphgrad as gg
from graphgrad.tools.main import main
from graphgrad.training.checkpoint import load_checkpoint
from graphgrad.training.task import load_model

MODEL = str(Path(adversarial_model.__file__))


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def by_hand(state, settings, steps):
    """The parameters after some steps of Adam, each player's with the gradients of its own loss."""
    graph = adversarial_model.losses()
    players = {"loss": "generator", "critic_loss": "critic"}
    w = {name: state[name].astype("float64") for name in graph.parameters}
    m, v = ({name: np.zeros_like(array) for name, array in w.items()} for _ in range(2))
    runs = {
        loss: gg.compile(gg.derive(graph, loss), [f"{name}.delta" for name in w])
        for loss in players
    }
    for number in range(1, steps + 1):
        feeds = adversarial_model.batch(number - 1, settings.batch_size)
        now = {name: array.astype("float32") for name, array in w.items()}
        found = {loss: run(now, feeds) for loss, run in runs.items()}
        for loss, player in players.items():
            own = [name for name in w if name.startswith(player)]
            g = {name: found[loss][f"{name}.delta"].astype("float64") for name in own}
            norm = np.sqrt(sum((each**2).sum() for each in g.values()))
            for name in own:
                each = g[name] * min(1.0, settings.clip_norm / (norm + 1e-6))
                m[name] = settings.beta1 * m[name] + (1 - settings.beta1) * each
                v[name] = settings.beta2 * v[name] + (1 - settings.beta2) * each**2
                root = np.sqrt(v[name] / (1 - settings.beta2**number)) + settings.epsilon
                w[name] -= settings.learning_rate * m[name] / (1 - settings.beta1**number) / root
    return w


def test_it_trains_resumes_and_evaluates_as_a_run(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["train", MODEL, "--run", str(folder), "--set", "steps=7"]) == 0
    assert main(["train", "--resume", str(folder), "--set", "steps=12"]) == 0
    saved = load_checkpoint(folder / "checkpoints").arrays
    model = load_model(MODEL, {})
    step = adversarial_model.step(model.task(model.settings, {}).graph, model.settings)
    first = gg.initial_state(step, model.settings.seed)
    assert set(saved) == set(first)
    for name, array in by_hand(first, model.settings, 12).items():
        np.testing.assert_allclose(saved[name], array, 2e-4, 2e-5)
    assert main(["evaluate", str(folder)]) == 0
    assert "loss" in capsys.readouterr().out


def test_the_other_commands_take_it(tmp_path, capsys):
    drawn, run = tmp_path / "model.txt", tmp_path / "run"
    assert main(["check", MODEL]) == 0
    assert main(["check", MODEL, "--lint"]) == 0
    assert main(["render", MODEL, "-o", str(drawn)]) == 0
    assert "generator.output" in drawn.read_text(encoding="utf-8")
    assert main(["train", MODEL, "--run", str(run), "--set", "steps=2"]) == 0
    capsys.readouterr()
    assert main(["inspect", str(run), "--node", "critic.*"]) == 0
    assert "critic.output" in capsys.readouterr().out
