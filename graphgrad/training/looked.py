"""Figures of held-out pairs that were translated: all together, beside baselines, by language."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from graphgrad.data.builtin import Baselines
from graphgrad.data.corpus import Pair
from graphgrad.data.encoded import Batch
from graphgrad.data.names import language_of
from graphgrad.data.vocabulary import PAD
from graphgrad.training.scores import Scorer

Normal = Callable[[str], str]
"""A reference as a model writes it where all of its tokens are right."""
_LARGEST_EXPONENT = 700  # of a perplexity that a float holds


@dataclass
class Foretold:
    """Sums over tokens, each foretold from the true ones before it."""

    pairs: int = 0
    tokens: int = 0
    right: int = 0
    total: float = 0.0

    def add(self, pairs: int, tokens: int, right: int, loss: float) -> None:
        """One more batch: its pairs and tokens, how many of these are right, and the mean loss."""
        self.pairs += pairs
        self.tokens += tokens
        self.right += right
        self.total += loss * tokens

    @property
    def loss(self) -> float:
        """The mean loss of a token."""
        return self.total / max(self.tokens, 1)

    def figures(self) -> dict[str, float]:
        """Loss, perplexity and the share of tokens that are right."""
        perplexity = math.exp(self.loss) if self.loss < _LARGEST_EXPONENT else math.inf
        accuracy = self.right / max(self.tokens, 1)
        return {"loss": self.loss, "perplexity": perplexity, "token_accuracy": accuracy}


def counts_of(batch: Batch, results: Mapping[str, np.ndarray]) -> tuple[int, int, int, float]:
    """What the program of the loss says of a batch, for `Foretold.add`."""
    counted = batch.target_output != PAD
    right = int((results["predicted"] == batch.target_output)[counted].sum())
    return batch.rows, batch.tokens, right, float(results["loss"])


@dataclass(frozen=True)
class Looked:
    """Some pairs, how well their targets were foretold, and the translations there are by now."""

    pairs: Sequence[Pair]
    foretold: Foretold = field(default_factory=Foretold)
    found: dict[int, str] = field(default_factory=dict)
    """Translations by the place of their pair."""

    def exact(self, normal: Normal) -> dict[str, float]:
        """The share of translations that are the reference, and how many there are."""
        right = sum(normal(self.pairs[place][1]) == text for place, text in self.found.items())
        return {"exact_match": right / max(len(self.found), 1), "examples": len(self.found)}


def graded(looked: Looked, normal: Normal, scorer: Scorer) -> dict[str, float]:
    """chrF and the share of exact matches, and how many translations there are."""
    references = [looked.pairs[place][1] for place in looked.found]
    chrf = scorer.chrf(list(looked.found.values()), references)
    return {"chrf": chrf, **looked.exact(normal)}


def beside(looked: Looked, baselines: Baselines, scorer: Scorer) -> dict[str, float]:
    """What each baseline gets on the pairs that were translated."""
    figures: dict[str, float] = {}
    references = [looked.pairs[place][1] for place in looked.found]
    for name, baseline in baselines.items():
        given = [baseline(looked.pairs[place][0]) for place in looked.found]
        right = sum(a == b for a, b in zip(given, references, strict=True))
        figures[f"{name}_chrf"] = scorer.chrf(given, references)
        figures[f"{name}_exact_match"] = right / max(len(given), 1)
    return figures


def by_language(looked: Looked) -> dict[str, Looked]:
    """The translated pairs of each language, in the order of their names."""
    places: dict[str, list[int]] = {}
    for place in looked.found:
        places.setdefault(language_of(looked.pairs[place][0]), []).append(place)
    return {
        language: Looked(
            [looked.pairs[place] for place in some],
            found={number: looked.found[place] for number, place in enumerate(some)},
        )
        for language, some in sorted(places.items())
    }
