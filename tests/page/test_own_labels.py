"""A model file of a user's own gives labels: the page and `plot` show tokens instead of ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphgrad.errors import ConfigurationError
from graphgrad.figures.attention_maps import attention_maps
from graphgrad.figures.token_labels import token_labels
from graphgrad.page.run_sections import run_sections
from graphgrad.training.runs import create_run
from graphgrad.training.task import load_model

OWN = """
from dataclasses import dataclass

import numpy as np

import graphgrad as gg
from graphgrad.layers import attention, dense, embed, embedding_table
from graphgrad.training import Task, TrainingSettings

WORDS = ("the", "animal", "street", "tired", "it")


@dataclass(frozen=True)
class Settings(TrainingSettings):
    steps: int = 2


def task(settings, files):
    words = gg.input("words", ("batch", 4), "int32")
    x = embed(words, embedding_table(len(WORDS), 6, settings.dtype))
    with gg.scope("attention"):
        seen = attention(x, x, x)
    graph = gg.Graph({"loss": gg.mean(dense(seen, 1) ** 2.0, name="loss")})
    rows = {"words": np.array([[0, 1, 4, 3], [4, 2, 0, 9]], np.int32) % 5}
    return Task(
        graph,
        lambda step: rows,
        lambda state: {"loss": 0.0, "examples": 0},
        labels={"LABELLED": WORDS},
    )
"""


def own(folder: Path, labelled: str = "words"):
    file = folder / "own.py"
    file.write_text(OWN.replace("LABELLED", labelled), encoding="utf-8")
    model = load_model(str(file), {})
    return create_run(model, model.settings, folder / "run")


def test_attention_shows_the_labels_of_the_task(tmp_path: Path) -> None:
    run = own(tmp_path)
    section = run_sections(run)["attention"]
    assert section["examples"][0] == {"words": ["the", "animal", "it", "tired"]}
    tokens = token_labels(run.task.graph, run.task.files, run.task.labels)
    (found,) = attention_maps(run.task.graph, run.task.feeds(0), run.state, tokens, 1)
    assert found.keys == found.queries == ("it", "street", "the", "it")


def test_labels_of_something_else_are_an_error(tmp_path: Path) -> None:
    run = own(tmp_path, "word")
    with pytest.raises(ConfigurationError, match=r"labels for 'word'[\s\S]*did you mean 'words'"):
        run_sections(run)
    with pytest.raises(ConfigurationError, match="not a sequence of texts"):
        token_labels(run.task.graph, {}, {"words": "abcde"})


def test_an_id_beyond_the_labels_is_shown_as_a_number(tmp_path: Path) -> None:
    run = own(tmp_path)
    tokens = token_labels(run.task.graph, {}, {"words": ["the", "animal"]})
    (found,) = attention_maps(run.task.graph, run.task.feeds(0), run.state, tokens)
    assert found.keys == ("the", "animal", "#4", "#3")
