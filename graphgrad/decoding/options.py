"""Holds the options that choose the next token."""

from __future__ import annotations

import math
from dataclasses import dataclass

from graphgrad.errors import ConfigurationError

MOST_ROWS = 256
"""Maximum number of rows of a beam: a batch has no more."""


@dataclass(frozen=True)
class Options:
    """How tokens are chosen: greedily by default, with a `beam` by beam search, with a
    `temperature` by sampling.

    Raises ConfigurationError for values out of range and for options that exclude each other.
    """

    beam: int = 1
    """Sequences that beam search keeps for each sentence."""
    length_penalty: float = 1.0
    """α: a sequence of n tokens, the end counted, has the score log p / n^α; 0: log p itself."""
    n_best: int = 1
    """Hypotheses that are returned for each sentence, the best first; at most `beam`."""
    temperature: float = 0.0
    """Tokens are drawn with p^(1/temperature); 0: the most probable one is taken."""
    top_k: int = 0
    """Drawn from the k most probable tokens only; 0: from all."""
    top_p: float = 1.0
    """Drawn from the fewest tokens, the most probable first, that have this probability."""
    no_repeat: int = 0
    """n: no n consecutive tokens occur twice in a sequence; 0: no limit."""
    seed: int = 0
    """Selects the random numbers of sampling."""
    scores: bool = False
    """Whether greedy decoding computes scores; beam search always does."""

    def __post_init__(self) -> None:
        _within("beam", self.beam, 1, MOST_ROWS)
        _within("n_best", self.n_best, 1, MOST_ROWS)
        if self.n_best > self.beam:
            raise ConfigurationError(
                f"the {self.n_best} best of a beam of {self.beam} are asked for",
                fix=f"--beam {self.n_best} --n-best {self.n_best}",
            )
        _within("top_k", self.top_k, 0, 2**31 - 1)
        _within("no_repeat", self.no_repeat, 0, 2**31 - 1)
        _within("seed", self.seed, 0, 2**64 - 1)
        if not 0 <= self.length_penalty < math.inf:
            raise _refused("length_penalty", self.length_penalty, "a number from 0 on", "1")
        if not 0 <= self.temperature < math.inf:
            raise _refused("temperature", self.temperature, "a number from 0 on", "0.8")
        if not 0 < self.top_p <= 1:
            raise _refused("top_p", self.top_p, "above 0 and at most 1", "0.9")
        if self.beam > 1 and self.draws:
            raise ConfigurationError(
                f"beam {self.beam} looks for the most probable sequence, and temperature "
                f"{self.temperature:g} draws one",
                fix="leave one of them out",
            )
        if not self.draws and (self.top_k or self.top_p < 1):
            raise ConfigurationError(
                "top_k and top_p say what is drawn from, and nothing is drawn",
                fix="set a temperature above 0, such as 0.8",
            )

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn."""
        return self.temperature > 0


def _within(name: str, value: int, least: int, most: int, fix: str = "") -> None:
    if not least <= value <= most:
        raise _refused(name, value, f"from {least} to {most}", fix or str(least))


def _refused(name: str, value: float, range_: str, fix: str) -> ConfigurationError:
    return ConfigurationError(f"{name} must be {range_}, not {value}", fix=fix)
