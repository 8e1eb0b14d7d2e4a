"""Finds the tokens that would make a sequence repeat itself."""

from __future__ import annotations

import numpy as np


def repeating(
    sequences: np.ndarray, lengths: np.ndarray, size: int, vocabulary: int, end: int | None
) -> np.ndarray:
    """True at each token after which a sequence would have the same `size` tokens in a row twice.

    The sequences of a sentence are the first `lengths` [sentence] tokens of each row of `sequences`
    [sentence, row, token]; the result is [sentence, row, vocabulary].
    """
    banned = np.zeros((*sequences.shape[:2], vocabulary), bool)
    longest = int(lengths.max(initial=0))
    if longest >= size:
        windows = np.lib.stride_tricks.sliding_window_view(sequences[:, :, :longest], size, axis=2)
        places = np.maximum(lengths[:, None] - size + 1, 0) + np.arange(size - 1)
        last = np.take_along_axis(sequences, places[:, None], axis=2)
        same = (windows[..., : size - 1] == last[:, :, None]).all(axis=3)
        same &= (np.arange(windows.shape[2]) + size <= lengths[:, None])[:, None]
        sentence, row, place = np.nonzero(same)
        banned[sentence, row, windows[sentence, row, place, size - 1]] = True
    if end is not None:
        banned[:, :, end] = False
    return banned
