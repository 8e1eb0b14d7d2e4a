"""`bench --recipe`: updates at their real lengths, and PyTorch's computing the same."""

import dataclasses
import importlib
import json

import numpy as np
import pytest
from train_command import sets

from graphgrad.graph import initial_state
from graphgrad.models import gpt, transformer
from graphgrad.performance.bench_worker import RecipeWorkload
from graphgrad.tools.main import main
from graphgrad.tools.peers import graphgrad_peer

SIZES = "layers=1 width=16 heads=2 inner=16 dropout=0.1"
SMALL = f"{SIZES} batch_tokens=48 buckets=3 maximum_length=20".split()
WORDS = ["a", "the", "man", "dog", "runs", "sees", "red", "big", "and"]
FILES = ("train", "valid", "test.2016")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name in FILES:
        lines = [" ".join(random.choice(WORDS, random.integers(1, 9))) for _ in range(60)]
        for side in ("en", "de"):
            (tmp_path / f"{name}.{side}").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_a_recipe_is_timed_update_by_update(folder, capsys):
    command = ["bench", "--recipe", "multi30k-tiny", "--data", ".", "--peers", "none"]
    assert main([*command, "--steps", "2", "--json", "--threads", "1", *sets(*SMALL)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recipe"] == "multi30k-tiny" and found["updates"] == 2 and found["passes"] == 3
    assert 1 <= found["shapes"] <= 3 and found["vocabularies"][0] == found["vocabularies"][1] == 13
    record = found["graphgrad"]
    assert 0 < record["best_ms"] <= record["mean_ms"] and record["ratio"] == 1.0
    assert record["processor_ms"] > 0 and len(record["losses"]) == 3


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--recipe", "multi30k-tiny", "--data", "nowhere"], "nowhere is not a folder"),
        (["--recipe", "reverse"], "no peer has the model of reverse"),
        (["--recipe", "multi30k-tiny", "--data", ".", "--depth", "2"], "its own layers"),
        (["--recipe", "multi30k-tiny", "--data", ".", "--peers", "jax"], "not a peer with recipes"),
        (["--recipe", "mutli30k-tiny"], "did you mean 'multi30k-tiny'"),
        (["--recipe", "multi30k-tiny"], "needs a source"),
        (["--data", "."], "belong to a recipe"),
        (["--set", "layers=2"], "belong to a recipe"),
    ],
)
def test_what_is_wrong_is_named(given, named, folder, capsys):
    assert main(["bench", *given]) == 2
    assert named in capsys.readouterr().err


PRE = dict(norm="pre", positions="learned", tie=False, share_embeddings=False, activation="gelu")
TRANSFORMERS = [
    transformer.Settings(
        share_embeddings=True, joint=True, tie=True, output_bias=False, accumulate=2
    ),
    transformer.Settings(**PRE, label_smoothing=0.1, clip_norm=0.3),
]


@pytest.mark.parametrize("settings", TRANSFORMERS)
def test_the_transformer_of_pytorch_makes_the_same_updates(settings):
    settings = dataclasses.replace(settings, layers=2, width=8, heads=2, inner=12)
    random = np.random.default_rng(1)
    batches = {}
    for number in range(4):
        source, target = (
            np.where(np.arange(size) < random.integers(2, size + 1, (3, 1)), ids, 0)
            for size in (5, 6 + number % 2)
            for ids in [random.integers(1, 11, (3, size))]
        )
        batches[f"{number}.source"] = source.astype(np.int32)
        batches[f"{number}.target_input"] = target[:, :-1].astype(np.int32)
        batches[f"{number}.target_output"] = target[:, 1:].astype(np.int32)
    _compare("transformer", settings, [11, 11], batches, 4 // settings.accumulate)


@pytest.mark.parametrize("bias", [True, False])
def test_the_gpt_of_pytorch_makes_the_same_updates(bias):
    settings = gpt.Settings(layers=2, width=8, heads=2, context=6, bias=bias, clip_norm=0.3)
    ids = np.random.default_rng(1).integers(1, 9, (2, 3, 7)).astype(np.int32)
    batches = {f"{n}.ids": ids[n, :, :-1] for n in range(2)}
    batches |= {f"{n}.following": ids[n, :, 1:] for n in range(2)}
    _compare("gpt", settings, [9], batches, 2)


def _compare(model, settings, vocabularies, batches, updates):
    """Both make the same losses in two passes of all updates, from the same weights."""
    pytest.importorskip("torch", reason="the peer of the bench is PyTorch")
    torch_peer = importlib.import_module("graphgrad.tools.peers.torch_peer")
    settings = dataclasses.replace(settings, learning_rate=0.01, schedule="constant", warmup=0)
    values = dataclasses.asdict(settings)
    workload = RecipeWorkload("mine", model, values, vocabularies, updates, 1)
    graph = graphgrad_peer.recipe_graph(workload, drops=False)
    state = initial_state(graph, 3)
    parameters = {name: state[name] for name in graph.parameters}
    batches["rates"] = np.full(updates, 0.01, np.float32)
    ours, theirs = (
        peer.build_recipe(variant, workload, dict(parameters), dict(batches), 0.0)
        for peer, variant in ((graphgrad_peer, ""), (torch_peer, "eager"))
    )
    losses = [(ours(), theirs()) for _ in range(2 * updates)]
    assert np.allclose(*zip(*losses, strict=True), rtol=2e-5)
    assert losses[-1][0] < losses[0][0] - 0.01  # the updates do something
