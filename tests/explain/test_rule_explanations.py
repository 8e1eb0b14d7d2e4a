"""Every operation with a delta can be explained: by a sentence, and always by its rule."""

import numpy as np
import pytest
from delta_check import declare, feeds_of

from graphgrad.explain.explanation import explain
from graphgrad.explain.explanation_text import text_lines
from graphgrad.explain.rule_explanations import REASONS, reason
from graphgrad.graph import Graph, constant
from graphgrad.ops import ALL_OPERATIONS, multiply, sin, sum, tanh

WITH_DELTA = [operation for operation in ALL_OPERATIONS if operation.delta is not None]


def smooth_sample(operation):
    """The operation's first sample with a float head and finite differences that mean something."""
    for sample in operation.samples:
        if sample.smooth and any(draw.kind in ("real", "positive") for draw in sample.heads):
            return sample
    return None


EXPLAINED = [operation for operation in WITH_DELTA if smooth_sample(operation) is not None]


def explained(operation):
    """The derivation of the delta of the operation's last float head, in a weighted sum."""
    sample = smooth_sample(operation)
    y, *heads = declare(operation, sample)
    weights = np.random.default_rng(3).uniform(0.5, 1.5, y.type.sizes)
    loss = sum(multiply(y, constant(weights)), name="loss")
    head = next(head for head in reversed(heads) if head.type.is_float)
    return explain(Graph({"loss": loss}), head, feeds_of(sample))


def test_sentences_are_of_operations_that_have_a_delta():
    assert set(REASONS) <= set(WITH_DELTA)
    assert all(reason(operation).strip() for operation in REASONS)


def test_all_are_explained_but_those_without_influence():
    left = {operation.name for operation in WITH_DELTA} - {item.name for item in EXPLAINED}
    ranks = {"dropout_mask_of_part", "sum_of_lower_ranks"}
    assert left == {"stop_gradient", "dropout_mask", "sign"} | ranks


@pytest.mark.parametrize("operation", EXPLAINED, ids=lambda operation: operation.name)
def test_every_line_has_its_rule_and_agrees(operation):
    found = explained(operation)
    line = next(line for step in found.steps for line in step.lines if line.tail == "y")
    assert line.formulas and line.rules and line.reason == reason(operation)
    assert found.agrees


def test_the_sentence_is_written_and_without_one_only_the_rule():
    taught, untaught = ("\n".join(text_lines(explained(item))) for item in (tanh, sin))
    assert reason(tanh) in taught
    assert not reason(sin) and "cos" in untaught
