"""Tokens that are drawn: temperature, top-k, top-p.

The number that decides is a function of the seed, the sentence and the step (Philox4x32-10), so
what is drawn for a sentence does not depend on those that it is decoded with.
"""

from __future__ import annotations

import numpy as np

from graphgrad.decoding.options import Options
from graphgrad.philox import philox4x32


def uniform(seed: int, numbers: np.ndarray, step: int) -> np.ndarray:
    """A number in [0, 1) for each sentence, of 53 random bits."""
    low = 0xFFFFFFFF
    high_word, low_word, _, _ = philox4x32(
        (numbers & low, numbers >> 32, step & low, step >> 32), (seed & low, seed >> 32)
    )
    whole = (high_word.astype(np.uint64) >> np.uint64(5)) << np.uint64(26)
    whole |= low_word.astype(np.uint64) >> np.uint64(6)
    return whole.astype(np.float64) * 2.0**-53


def drawn(logits: np.ndarray, numbers: np.ndarray, options: Options) -> np.ndarray:
    """For each row of logits [sentence, candidate] the place that a number in [0, 1) falls on.

    Candidates that come the most probable first, as top-k gives them, and all tokens in their own
    order otherwise, are cut by top-p to the fewest that have its probability.
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
    # a product that is rounded up to the whole falls on the last that has a weight
    last = logits.shape[1] - 1 - np.argmax(weights[:, ::-1] > 0, axis=1)
    places = np.minimum(places, last)
    return places if order is None else np.take_along_axis(order, places[:, None], axis=1)[:, 0]
