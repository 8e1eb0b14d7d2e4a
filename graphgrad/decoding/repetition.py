"""Finds the tokens that would make a sequence repeat itself."""

from __future__ import annotations

import numpy as np


def repeating(
    sequences: np.ndarray, length: int, size: int, vocabulary: int, end: int | None
) -> np.ndarray:
    """True at each token that would let the first `length` tokens of a row of `sequences`
    [sentence, row, token] have the same `size` tokens in a row twice: [sentence, row, vocabulary].
    """
    banned = np.zeros((*sequences.shape[:2], vocabulary), bool)
    if length >= size:
        windows = np.lib.stride_tricks.sliding_window_view(sequences[:, :, :length], size, axis=2)
        begin = sequences[:, :, None, length - size + 1 : length]
        same = (windows[..., : size - 1] == begin).all(axis=3)
        sentence, row, place = np.nonzero(same)
        banned[sentence, row, windows[sentence, row, place, size - 1]] = True
    if end is not None:
        banned[:, :, end] = False
    return banned
