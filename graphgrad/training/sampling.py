"""Draws the next token from a model's logits.

A draw is a pure function of the logits, the `Sampling` and the number of the draw; the token of a
row does not depend on the other rows of its batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphgrad.data.corpus import random_words
from graphgrad.errors import ConfigurationError

_STREAM = 6


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn. Raises ConfigurationError for values out of range."""

    temperature: float = 1.0
    """The divisor of the logits: below 1 likely tokens become likelier; 0: the most probable."""
    top_k: int = 0
    """Draw from this number of most probable tokens; 0: from all."""
    top_p: float = 1.0
    """Draw from the fewest tokens, the most probable first, that have together this probability."""
    seed: int = 0
    """Selects the random numbers."""

    def __post_init__(self) -> None:
        if not (0 <= self.temperature < float("inf")):
            raise ConfigurationError(
                f"the temperature is {self.temperature}",
                fix="0 for the most probable token, 1 for the model's own probabilities",
            )
        if self.top_k < 0:
            raise ConfigurationError(f"top-k is {self.top_k}", fix="0 for all tokens, or 1 or more")
        if not 0 < self.top_p <= 1:
            raise ConfigurationError(f"top-p is {self.top_p}", fix="above 0, at most 1")
        if not 0 <= self.seed < 2**63:
            raise ConfigurationError(f"the seed is {self.seed}", fix="0 or more, below 2**63")


def draw(logits: np.ndarray, sampling: Sampling, number: int) -> np.ndarray:
    """One token for each row of logits [batch, vocabulary], int32; `number` counts the draws."""
    order = np.argsort(-logits, axis=1, kind="stable")
    if not sampling.temperature:
        return order[:, 0].astype(np.int32)
    kept = np.take_along_axis(logits, order, 1).astype(np.float64) / sampling.temperature
    weights = np.exp(kept - kept[:, :1])
    if sampling.top_k:
        weights[:, sampling.top_k :] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    # a token stays while those before it have less than top_p: the first one always does
    weights[np.cumsum(weights, axis=1) - weights >= sampling.top_p] = 0.0
    sums = np.cumsum(weights, axis=1)
    # row r of draw n uses word r of key n, so more rows do not change the tokens of the first
    words = random_words(len(logits), sampling.seed, _STREAM, number)
    points = (words >> np.uint64(11)) * 2.0**-53 * sums[:, -1]
    found = (sums <= points[:, None]).sum(axis=1)
    last = (weights > 0).sum(axis=1) - 1  # rounding must not lead past the last candidate
    return np.take_along_axis(order, np.minimum(found, last)[:, None], 1)[:, 0].astype(np.int32)
