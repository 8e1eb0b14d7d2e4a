"""What a run makes of a sentence that a user types: its attention, and the words it lacks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphgrad.backprop import derive
from graphgrad.data.vocabulary import SPECIALS, UNK
from graphgrad.errors import ConfigurationError, UnknownNameError
from graphgrad.figures.attention import attention_values, by_example, find_attentions
from graphgrad.figures.token_labels import token_labels, tokens_text
from graphgrad.lecture.blocks import Prose
from graphgrad.text import printable
from graphgrad.training.masking import MASK
from graphgrad.training.prompts import Prompts
from graphgrad.training.runs import OpenRun


@dataclass(frozen=True, eq=False)
class SentenceAttention:
    """The attention of a sentence: weights [head, query, key], and the deltas of the scores."""

    name: str
    weights: np.ndarray
    deltas: np.ndarray | None
    queries: tuple[str, ...]
    keys: tuple[str, ...]


def sentence_attentions(run: OpenRun, text: str, answer: str = "") -> list[SentenceAttention]:
    """Every attention of a run for a sentence, in the order of the graph.

    The deltas are those of the loss of `answer`, by default what the model itself answers. Raises
    ConfigurationError for a model that reads no text.
    """
    prompts = run.task.prompts
    if prompts is None:
        raise ConfigurationError(
            f"the model {run.model.short_name} reads no text",
            fix="use a run of transformer, gpt or bert",
        )
    feeds = prompts.feeds([text], answer or prompts.answer(run.state, text))
    graph = derive(prompts.graph, "loss")
    found = list(find_attentions(graph))
    if not found:
        raise UnknownNameError(
            "the model has no attention", fix="use a run of transformer, gpt or bert"
        )
    values = attention_values(graph, found, feeds, run.state)
    result = []
    for item in found:
        sides = [_tokens(run, feeds, name) for name in (item.query, item.key)]
        weights = by_example(values[item.weights])[0]
        queries, keys = (
            side or tuple(map(str, range(size)))
            for side, size in zip(sides, weights.shape[1:], strict=True)
        )
        deltas = None if item.delta is None else by_example(values[item.delta])[0]
        name = graph.name_of(item.weights).rpartition(".")[0]
        result.append(SentenceAttention(name, weights, deltas, queries, keys))
    return result


def _tokens(run: OpenRun, feeds: dict[str, np.ndarray], name: str | None) -> tuple[str, ...] | None:
    """The tokens of an input of ids: of the vocabulary of its axis, else of that of the logits."""
    prompts = run.task.prompts
    if name is None or prompts is None:
        return None
    ids = feeds[name][0].tolist()
    tokens = token_labels(prompts.graph, run.task.files, run.task.labels).get(name)
    return tuple(map(prompts.token, ids)) if tokens is None else tokens_text(ids, tokens)


def unknown_words(prompts: Prompts, text: str, answer: str) -> list[Prose]:
    """A paragraph about the words of a text that the model reads as `<unk>`, if there are any."""
    name = "source" if "source" in prompts.graph.inputs else "ids"
    found: list[str] = []
    if UNK in prompts.feeds([text], answer)[name]:
        gaps = f" {MASK}" * text.count(MASK)  # so that the answer fits the word alone, too
        words = dict.fromkeys(text.replace(MASK, " ").split())
        found = [word for word in words if UNK in prompts.feeds([word + gaps], answer)[name]]
    if not found:
        return []
    named = ", ".join(repr(printable(word, 40)) for word in found)
    return [Prose(f"The vocabulary lacks {named}: the model reads {SPECIALS[UNK]} there.")]


def visible(token: str) -> str:
    """A token whose spaces are seen."""
    return token.replace(" ", "␣") or "∅"
