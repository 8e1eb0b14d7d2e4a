"""Updates that a model declares are part of the training step: batch norm against PyTorch."""

import json
from dataclasses import replace
from pathlib import Path

import batch_norm_model
import numpy as np
import pytest

import graphgrad as gg
from graphgrad.errors import DeclarationError, NonFiniteError
from graphgrad.tools.main import main
from graphgrad.training.checkpoint import load_checkpoint
from graphgrad.training.optimisers import STEP, training_step
from graphgrad.training.runs import create_run, open_run
from graphgrad.training.settings import OPTIMISERS, TrainingSettings
from graphgrad.training.task import load_model
from graphgrad.training.trainer import train

MODEL = Path(batch_norm_model.__file__)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def by_torch(first, steps, size=8):
    """Losses, state and held-out loss of the same training, by PyTorch's own batch norm."""
    torch = pytest.importorskip("torch", reason="the oracle is PyTorch (pip: torch)")
    w = torch.tensor(first["w"], requires_grad=True)
    norm = torch.nn.BatchNorm1d(2, eps=1e-5, momentum=0.1, dtype=torch.float64)
    optimiser = torch.optim.SGD([w, *norm.parameters()], lr=0.05)
    losses = []

    def loss_of(feeds):
        y = norm(torch.tensor(feeds["x"]) @ w)
        return torch.mean((y - torch.tensor(feeds["truth"])) ** 2)

    for step in range(steps):
        optimiser.zero_grad()
        loss = loss_of(batch_norm_model.batch(step, size))
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    norm.eval()
    held_out = loss_of(batch_norm_model.batch(10**6, 64)).item()
    state = {
        "w": w,
        "scale": norm.weight,
        "offset": norm.bias,
        "mean": norm.running_mean,
        "variance": norm.running_var,
    }
    return losses, {name: value.detach().numpy() for name, value in state.items()}, held_out


def test_a_model_file_with_batch_norm_trains_and_evaluates_like_pytorch(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["train", str(MODEL), "--run", str(folder)]) == 0
    run = open_run(folder, {})
    first = gg.initial_state(training_step(run.task.graph, run.settings), run.settings.seed)
    losses, state, held_out = by_torch(first, run.settings.steps)
    found = [line["loss"] for line in run.folder.metrics()]
    np.testing.assert_allclose(found, losses, 1e-9)
    saved = load_checkpoint(run.folder.checkpoints).arrays
    assert saved[STEP] == run.settings.steps
    for name, value in state.items():
        np.testing.assert_allclose(saved[name], value, 1e-9, 1e-12)
    assert not np.allclose(saved["mean"], 0.0, atol=0.5)
    written = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert written["loss"] == pytest.approx(held_out, rel=1e-9)
    capsys.readouterr()
    assert main(["evaluate", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == pytest.approx(held_out, rel=1e-9)


def trained(path, **values):
    model = load_model(str(MODEL), {})
    run = create_run(model, replace(model.settings, **values), path)
    train(run)
    return run


def test_the_statistics_go_on_where_a_checkpoint_left_them(tmp_path):
    whole = trained(tmp_path / "whole")
    trained(tmp_path / "halves", steps=7)
    resumed = open_run(tmp_path / "halves", {}, {"steps": 12})
    assert resumed.step == 7 and "mean" in resumed.state
    train(resumed)
    for name, array in whole.state.items():
        assert resumed.state[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_updates_read_the_step_before_and_the_optimiser_leaves_them_alone(optimiser, fuse):
    x, w = gg.input("x", ("batch", 4096)), gg.parameter("w", (4096,), gg.normal(1.0))
    average, target = gg.state("average", (4096,)), gg.state("target", (4096,))
    graph = gg.Graph(
        {"loss": gg.mean((x * w - target) ** 2.0)},
        {average: 0.9 * average + 0.1 * gg.mean(x, 0), target: w},
    )
    settings = TrainingSettings(optimiser=optimiser, learning_rate=1.0, warmup=0, clip_norm=0)
    step = training_step(graph, settings)
    assert set(graph.updates) < set(step.updates)
    assert not any(
        "average" in name or "target" in name
        for name in step.states
        if name.startswith("optimiser.")
    )
    state = gg.initial_state(step)
    before = {name: array.copy() for name, array in state.items()}
    feed = np.random.default_rng(0).normal(size=(2, 4096)).astype("f4")
    gg.compile(step, guards=("loss", "gradient_norm"), fuse=fuse)(state, x=feed)
    np.testing.assert_allclose(state["average"], 0.1 * feed.mean(0), 1e-5, 1e-7)
    np.testing.assert_array_equal(state["target"], before["w"])
    assert (state["w"] != before["w"]).any()


def test_a_step_that_is_not_finite_changes_no_statistics():
    x, w = gg.input("x", ("batch", 3)), gg.parameter("w", (3,), gg.full(1.0))
    running = gg.state("running", (3,))
    graph = gg.Graph({"loss": gg.mean((x * w) ** 2.0)}, {running: gg.mean(x, 0)})
    step = training_step(graph, TrainingSettings())
    state = gg.initial_state(step)
    with pytest.raises(NonFiniteError):
        gg.compile(step, guards=("loss", "gradient_norm"))(state, x=np.full((2, 3), np.inf, "f4"))
    assert not state["running"].any()


def test_evaluation_that_would_change_the_state_is_refused(tmp_path):
    model = load_model(str(MODEL), {})
    run = create_run(model, model.settings, tmp_path / "run")
    scored = gg.compile(run.task.graph)

    def evaluate(state):
        return {"loss": float(scored(state, **batch_norm_model.batch(0, 8))["loss"]), "examples": 8}

    changed = replace(run, task=replace(run.task, evaluate=evaluate, validate=None))
    with pytest.raises(DeclarationError, match="'mean' cannot be written to") as error:
        train(changed)
    assert "graph.with_outputs(outputs, {})" in error.value.fix


def conflict(kind):
    x, w = gg.input("x", ("batch", 3)), gg.parameter("w", (3,), gg.full(1.0))
    count = gg.state(STEP, (), dtype="int64")
    loss = gg.mean((x * w) ** 2.0, name="loss")
    own = gg.state("optimiser.w.first_moment", (3,))
    match kind:
        case "parameter":
            return gg.Graph({"loss": loss}, {w: w * 0.5})
        case "step":
            return gg.Graph({"loss": loss}, {count: count + 2})
        case "state":
            return gg.Graph({"loss": loss + gg.sum(own)}, {own: own + 1.0})
    return gg.Graph({"loss": loss, kind: loss})


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("parameter", "parameter 'w' its next value, and so does the optimiser"),
        ("step", "'run.step' a next value, and so does the run"),
        ("state", "'optimiser.w.first_moment', as the optimiser calls its own"),
        ("gradient_norm", "output 'gradient_norm'"),
        ("learning_rate", "output 'learning_rate'"),
    ],
)
def test_what_the_model_and_the_optimiser_both_claim_is_one_error(kind, text):
    with pytest.raises(DeclarationError) as error:
        training_step(conflict(kind), TrainingSettings())
    assert text in error.value.problem and error.value.fix
    assert __file__ in error.value.where
