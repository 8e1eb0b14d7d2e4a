"""Describes a decoded sequence and its score."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from graphgrad.errors import NonFiniteError


@dataclass(frozen=True)
class Hypothesis:
    """A sequence of tokens that was generated, with its score."""

    tokens: tuple[int, ...]
    """Without the prompt; the last is the end, if the sequence ended."""
    log_probability: float = math.nan
    """The sum of the log-probabilities of its tokens; NaN where scores were not requested."""
    score: float = math.nan
    """`log_probability` over the length penalty, by which the hypotheses of a beam are ordered."""
    ended: bool = True
    """True if it ended; False if it was stopped at the limit."""


def normalised(log_probability: float, length: int, penalty: float) -> float:
    """log p / n^α (Wu et al. 2016 with a denominator of their own; as in fairseq)."""
    return log_probability / float(max(length, 1) ** penalty)


def need_numbers(best: np.ndarray) -> None:
    """Raises NonFiniteError where a score is NaN or infinite."""
    if np.isnan(best).any() or np.isposinf(best).any():
        raise NonFiniteError(
            "the model's logits are not finite, so there is no next token",
            fix="use an older checkpoint of the run (`graphgrad inspect` shows which node it is)",
        )


def nothing_left() -> NonFiniteError:
    """Returns the error for a sentence that no token can follow."""
    return NonFiniteError(
        "there is no next token: all are excluded, or the model gives none a probability",
        fix="where no_repeat is set, use a larger one",
    )
