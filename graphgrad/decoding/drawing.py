"""Draws tokens: temperature, top-k, top-p.

The random number of a draw is a function of the seed, the sentence and the step (Philox4x32-10), so
the tokens of a sentence do not depend on the other sentences of its batch.
"""

from __future__ import annotations

import numpy as np

from graphgrad.decoding.options import Options
from graphgrad.philox import philox4x32


def uniform(seed: int, numbers: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """A uniform number in [0, 1) of 53 random bits for each sentence and its step: float64."""
    low, step = 0xFFFFFFFF, steps.astype(np.uint64)
    high_word, low_word, _, _ = philox4x32(
        (numbers & low, numbers >> 32, step & low, step >> 32), (seed & low, seed >> 32)
    )
    whole = (high_word.astype(np.uint64) >> np.uint64(5)) << np.uint64(26)
    whole |= low_word.astype(np.uint64) >> np.uint64(6)
    return whole.astype(np.float64) * 2.0**-53


def drawn(logits: np.ndarray, numbers: np.ndarray, options: Options) -> np.ndarray:
    """The index of the drawn candidate in each row of logits [sentence, candidate]: [sentence].

    `numbers` [sentence] in [0, 1) choose by the cumulative probabilities. The candidates, in any
    order, are first reduced by top-p to the fewest, the most probable first, that have together
    its probability.
    """
    logits = logits.astype(np.float64)
    order = None
    if options.top_p < 1:
        order = np.argsort(-logits, axis=1, kind="stable")
        logits = np.take_along_axis(logits, order, axis=1)
    weights = logits - logits.max(axis=1, keepdims=True)
    weights = np.exp(weights / options.temperature)
    if options.top_p < 1:
        heights = np.cumsum(weights, axis=1)
        enough = heights[:, :-1] >= options.top_p * heights[:, -1:]
        weights[:, 1:][enough] = 0
    heights = np.cumsum(weights, axis=1)
    places = (heights <= numbers[:, None] * heights[:, -1:]).sum(axis=1)
    # where rounding puts a number at the end, the last candidate with a weight is drawn
    last = logits.shape[1] - 1 - np.argmax(weights[:, ::-1] > 0, axis=1)
    places = np.minimum(places, last)
    return places if order is None else np.take_along_axis(order, places[:, None], axis=1)[:, 0]
