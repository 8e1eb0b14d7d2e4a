"""What decoding gives."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from graphgrad.errors import NonFiniteError


@dataclass(frozen=True)
class Hypothesis:
    """A sequence of tokens that the model gave."""

    tokens: tuple[int, ...]
    """Without the prompt; the end, where it came to it, is the last."""
    log_probability: float = math.nan
    """The sum of the log-probabilities of its tokens; NaN where scores were not asked for."""
    score: float = math.nan
    """The same over the length penalty: what the hypotheses of a beam are ordered by."""
    ended: bool = True
    """Whether it came to its end, or was stopped at the limit."""


def normalised(log_probability: float, length: int, penalty: float) -> float:
    """log p / n^α (Wu et al. 2016 with a denominator of their own; as in fairseq)."""
    return log_probability / float(max(length, 1) ** penalty)


def need_numbers(best: np.ndarray) -> None:
    """NonFiniteError where a model gives something else than numbers to choose by."""
    if np.isnan(best).any() or np.isposinf(best).any():
        raise NonFiniteError(
            "the model's logits are not finite, so there is no next token",
            fix="use an older checkpoint of the run (`graphgrad inspect` shows which node it is)",
        )


def nothing_left() -> NonFiniteError:
    """The error for a sentence that no token can follow."""
    return NonFiniteError(
        "there is no next token: all are excluded, or the model gives none a probability",
        fix="where no_repeat is set, use a larger one",
    )
