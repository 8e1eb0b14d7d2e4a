"""Texts that a user types, as inputs of the loss of each built-in model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.data.vocabulary import BOS, EOS, PAD
from graphgrad.errors import DataError
from graphgrad.figures.token_labels import token_labels, tokens_text
from graphgrad.lecture.sentences import unknown_words
from graphgrad.models import BUILTIN
from graphgrad.training.prompts import Prompts, answered_rows
from graphgrad.training.task import load_model

TEXT = "".join(f"def f{n}(self, x):\n    return x + {n}\n" for n in range(60))


def prompts_of(name: str, tmp_path: Path, **values: Any) -> tuple[Prompts, gg.training.Task]:
    if name != "transformer":
        (tmp_path / "text.txt").write_text(TEXT)
        values |= {"text": str(tmp_path / "text.txt"), "context": 24, "tokens": "character"}
    model = load_model(name, BUILTIN)
    settings = (
        type(model.settings)(**{**model.check, "data": "text", **values})
        if (name != "transformer")
        else type(model.settings)(**{**model.check, **values})
    )
    task = model.task(settings, {})
    assert task.prompts is not None
    return task.prompts, task


def loss_by_hand(logits: np.ndarray, targets: np.ndarray) -> float:
    """The mean of -log p of the targets that are not padding, in float64."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    losses = (
        np.log(np.exp(shifted).sum(-1))
        - np.take_along_axis(shifted, targets[..., None], -1)[..., 0]
    )
    return float(losses[targets != PAD].mean())


@pytest.mark.parametrize(
    ("name", "text", "answer", "targets"),
    [
        ("transformer", "de: 14. Januar 1992", "1992-01-14", "target_output"),
        ("gpt", "def f1(self", ", x)", "following"),
        ("bert", "def f1([MASK]elf, [MASK])", "sx", "targets"),
    ],
)
def test_the_loss_is_that_of_the_answer_alone(
    name: str, text: str, answer: str, targets: str, tmp_path: Path
) -> None:
    prompts, task = prompts_of(name, tmp_path)
    state = gg.initial_state(task.graph, 0)
    feeds = prompts.feeds([text, text], answer)
    assert {row.shape[0] for row in feeds.values()} == {2}
    logits = next(node.heads[0] for node in prompts.graph if node.operation.name == "cross_entropy")
    run = gg.compile(prompts.graph, fetch=[logits])
    found = run({key: state[key] for key in prompts.graph.states}, feeds)
    values = next(value for value in found.values() if value.ndim == 3)
    counted = feeds[targets][feeds[targets] != PAD]
    spelt = "".join(
        prompts.token(number) for number in counted[: len(counted) // 2] if number != EOS
    )
    assert spelt == answer
    assert found["loss"] == pytest.approx(loss_by_hand(values, feeds[targets]), rel=1e-5)


def test_the_answer_is_what_the_model_says_itself(tmp_path: Path) -> None:
    for name, text in (
        ("transformer", "de: 14. Januar 1992"),
        ("gpt", "def f1("),
        ("bert", "de[MASK]"),
    ):
        prompts, task = prompts_of(name, tmp_path)
        answer = prompts.answer(gg.initial_state(task.graph, 0), text)
        assert isinstance(answer, str)


def test_sources_of_different_lengths_are_padded(tmp_path: Path) -> None:
    prompts, _ = prompts_of("transformer", tmp_path)
    feeds = prompts.feeds(["de: 1. Mai 1992", "de: 14. Januar 1992"], "1992-05-01")
    assert feeds["source"].shape[0] == 2
    assert feeds["source"][0, -1] == PAD and feeds["source"][1, -1] == EOS
    assert set(feeds["target_input"][:, 0]) == {BOS}


@pytest.mark.parametrize(
    ("name", "texts", "answer", "message"),
    [
        ("gpt", ["abc", "abcd"], "x", "do not correspond"),
        ("gpt", ["a" * 24], "xy", "do not fit"),
        ("gpt", ["a"], "", "at least one token"),
        ("bert", ["de[MASK]"], "xy", "1 gaps, and the answer has 2"),
        ("bert", ["def"], "x", "no gap"),
        ("transformer", ["de: 1. Mai 1992"], "1" * 500, "the target has"),
    ],
)
def test_what_does_not_fit_is_refused(
    name: str, texts: list[str], answer: str, message: str, tmp_path: Path
) -> None:
    prompts, _ = prompts_of(name, tmp_path)
    with pytest.raises(DataError, match=message):
        prompts.feeds(texts, answer)


def test_only_the_answer_counts() -> None:
    feeds = answered_rows([[5, 6, 7], [8, 6, 9]], [10, 11], ["a", "b"])
    np.testing.assert_array_equal(feeds["ids"], [[5, 6, 7, 10], [8, 6, 9, 10]])
    np.testing.assert_array_equal(feeds["following"], [[PAD, PAD, 10, 11]] * 2)


@pytest.mark.parametrize(
    ("name", "text", "lacking"),
    [("bert", "def [MASK] é(x[MASK]", "é(x"), ("gpt", "def é", "é"), ("transformer", "猫 1", "猫")],
)
def test_gaps_are_labelled_and_words_that_are_lacking_named(
    name: str, text: str, lacking: str, tmp_path: Path
) -> None:
    prompts, task = prompts_of(name, tmp_path)
    answer = {"bert": "ss", "gpt": "s", "transformer": "1992-01-14"}[name]
    (said,) = unknown_words(prompts, text, answer)
    assert said.text == f"The vocabulary lacks {lacking!r}: the model reads <unk> there."
    assert not unknown_words(prompts, text.replace(lacking, "1"), answer)
    if name == "bert":
        ids = prompts.feeds([text], answer)["ids"][0].tolist()
        labels = token_labels(prompts.graph, task.files, task.labels)["ids"]
        assert tokens_text(ids, labels).count("[MASK]") == 2
