"""Adds sentences that a user types to the section `attention` of a page.

Each sentence is read by the run's own model, with the answer that is given or else that of the
model itself, and is an example before those of the batch. Its deltas are those of the loss of that
answer, without dropout and smoothing (`Task.prompts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphgrad.backprop import derive
from graphgrad.errors import ConfigurationError
from graphgrad.figures.attention import find_attentions
from graphgrad.figures.token_labels import token_labels
from graphgrad.page.section_attention import BUDGET, attention_section
from graphgrad.training.prompts import Feeds, Prompts
from graphgrad.training.runs import OpenRun

MOST = 8  # sentences of a page


def with_sentences(
    section: dict[str, Any] | None, run: OpenRun, texts: Sequence[str], answer: str = ""
) -> dict[str, Any]:
    """The section of attention with a leading example for each text.

    Raises what `sentence_feeds` raises.
    """
    prompts, feeds_of_texts = sentence_feeds(run, texts, answer)
    assert section is not None, "the model has attention"
    graph = derive(prompts.graph, "loss")
    tokens = token_labels(prompts.graph, run.task.files, run.task.labels)
    found = []
    for feeds in feeds_of_texts:
        share = BUDGET // (2 * len(texts))
        sentence = attention_section(graph, feeds, run.state, tokens, examples=1, budget=share)
        assert sentence is not None
        found.append(sentence)
    names = [item["weights"] for item in section["maps"]]
    same = all([item["weights"] for item in each["maps"]] == names for each in found)
    parts = [*found, section] if same else found
    maps = [
        {**item, "examples": [ex for part in parts for ex in part["maps"][number]["examples"]]}
        for number, item in enumerate(parts[0]["maps"])
    ]
    return {
        "side": min(part["side"] for part in parts),
        "maps": maps,
        "examples": [example for part in parts for example in part["examples"]],
        "texts": list(texts),
    }


def sentence_feeds(
    run: OpenRun, texts: Sequence[str], answer: str = ""
) -> tuple[Prompts, list[Feeds]]:
    """What the run's model makes of texts, and the inputs for each text with its answer.

    Raises ConfigurationError for a model that reads no text or has no attention, and for texts that
    are empty or too many; DataError for a text that the model cannot read.
    """
    prompts = run.task.prompts
    if prompts is None or not any(find_attentions(prompts.graph)):
        what = "reads no text" if prompts is None else "has no attention"
        raise ConfigurationError(
            f"the model {run.model.short_name} {what}", fix="use a run of transformer, gpt or bert"
        )
    if len(texts) > MOST or not all(text.strip() for text in texts):
        raise ConfigurationError(
            f"{len(texts)} texts are more than a page shows" if len(texts) > MOST else "empty text",
            fix=f'--text "a sentence", at most {MOST} of them',
        )
    answers = [answer or prompts.answer(run.state, text) for text in texts]
    return prompts, [
        prompts.feeds([text], given) for text, given in zip(texts, answers, strict=True)
    ]
