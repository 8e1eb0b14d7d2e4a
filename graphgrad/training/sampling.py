"""How one token is chosen from what a model says of all.

Laws: a draw is a pure function of the logits, the `Sampling` and the number of the draw; a row's
token does not depend on the other rows of its batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphgrad.data.corpus import random_words
from graphgrad.errors import ConfigurationError

_STREAM = 6


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn. Raises ConfigurationError for values that make no sense."""

    temperature: float = 1.0
    """What logits are divided by: below 1 the likely become likelier; 0 takes the most probable."""
    top_k: int = 0
    """Only the so many most probable tokens; 0 for all."""
    top_p: float = 1.0
    """Only the most probable tokens that have this probability together."""
    seed: int = 0
    """What the draws follow from."""

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


def draw(logits: np.ndarray, sampling: Sampling, place: int) -> np.ndarray:
    """One token for each row of logits [batch, vocabulary], int32; `place` counts the draws."""
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
    # row r of draw p takes word r of counter p, so the batch may grow without changing a row
    words = random_words(len(logits), sampling.seed, _STREAM, place)
    points = (words >> np.uint64(11)) * 2.0**-53 * sums[:, -1]
    found = (sums <= points[:, None]).sum(axis=1)
    last = (weights > 0).sum(axis=1) - 1  # a sum that is rounded down must not lead beyond it
    return np.take_along_axis(order, np.minimum(found, last)[:, None], 1)[:, 0].astype(np.int32)
