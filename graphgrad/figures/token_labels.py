"""Finds the tokens that the ids of a graph's inputs stand for, so that pictures can show them.

An input of ids is one of integers [batch, n]. Its tokens are those that the task gives for it
(`Task.labels`, by the name of the input); else those of the run's vocabulary for its axis n
(`vocabulary-source.json` for `source`); else there are none, and a picture shows the ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphgrad.data.tokens import tokens_from_json
from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph, Node
from graphgrad.text import suggestion

Tokens = Mapping[str, Sequence[str]]
"""For an input of ids, the token of each id."""


def token_labels(
    graph: Graph, files: Mapping[str, str], labels: Tokens | None = None
) -> dict[str, tuple[str, ...]]:
    """The tokens of each input of ids whose tokens are known.

    `files` are the texts of the run's files by name, `labels` what the task gives. Raises
    ConfigurationError for labels of something that is not an input of ids, or that are not texts.
    """
    inputs = {name: node for name, node in graph.inputs.items() if _is_of_ids(node)}
    found: dict[str, tuple[str, ...]] = {}
    for name, node in inputs.items():
        file = f"vocabulary-{node.shape[1]}.json"
        if file in files:
            found[name] = tokens_from_json(files[file], file).tokens
    for name, tokens in (labels or {}).items():
        if name not in inputs:
            raise ConfigurationError(
                f"the task has labels for {name!r:.60}, which is not an input of ids [batch, n]",
                fix=suggestion(name, inputs, "inputs of ids"),
            )
        if isinstance(tokens, str) or not all(isinstance(token, str) for token in tokens):
            raise ConfigurationError(
                f"the labels of the input {name!r:.60} are not a sequence of texts",
                fix='labels={"ids": ["<pad>", "a", "b"]}: the token of each id',
            )
        found[name] = tuple(tokens)
    return found


def tokens_text(ids: Sequence[int], tokens: Sequence[str] | None) -> tuple[str, ...]:
    """The token of each id; `#7` for the id 7 where it has none."""
    known = () if tokens is None else tokens
    return tuple(known[number] if 0 <= number < len(known) else f"#{number}" for number in ids)


def _is_of_ids(node: Node) -> bool:
    return node.rank == 2 and node.dtype.kind in "iu"
