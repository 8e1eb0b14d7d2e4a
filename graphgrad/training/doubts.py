"""Says what to look at where a model's figures look wrong: warnings, none of which ends a run.

Of what a model gives: all texts equal, many unknown tokens, texts much shorter or longer than the
references. Of its loss: no better than knowing nothing, or not improved for some time. Each names
what to look at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from graphgrad.training.best import Validations
from graphgrad.training.scores import LENGTH_RATIO

UNKNOWN, DISTINCT = "unknown_share", "distinct_share"
UNSHOWN = (LENGTH_RATIO, UNKNOWN, DISTINCT)
"""Figures that are stored at each validation, and shown where something is wrong with them."""
_UNKNOWN_LIMIT = 0.05
_RATIOS = (0.7, 1.3)
_FEW = 2  # texts of which it says nothing that they are equal
_PATIENCE = 5
"""Looks at held-out data without improvement after which a word is said, and again each time."""
_NEAR, _EARLY = 0.98, 100


def given_figures(
    texts: Sequence[str], length: Callable[[str], int], unknown: str
) -> dict[str, float]:
    """The shares of distinct texts and of unknown tokens; `length` counts the tokens of a text."""
    unknowns = sum(text.count(unknown) for text in texts)
    tokens = unknowns + sum(length(text.replace(unknown, " ")) for text in texts)
    return {
        UNKNOWN: unknowns / max(tokens, 1),
        DISTINCT: len(set(texts)) / max(len(texts), 1),
    }


def doubts_of(figures: Mapping[str, float]) -> list[str]:
    """What is wrong with the texts that a model gave, by its figures; empty where nothing is."""
    said = []
    count = figures.get("examples", 0)
    if count > _FEW and figures.get(DISTINCT, 1.0) * count < _FEW:
        said.append(
            f"all {count:.0f} translations are equal: the source has no effect yet; if it stays "
            "so, try a lower learning_rate or a longer warmup, and look at the attention "
            "(`graphgrad plot RUN --what attention`)"
        )
    if figures.get(UNKNOWN, 0.0) > _UNKNOWN_LIMIT:
        said.append(
            f"{figures[UNKNOWN]:.1%} of the tokens given are unknown: train with tokens=bpe, or "
            "with a larger maximum_vocabulary"
        )
    ratio = figures.get(LENGTH_RATIO, 1.0)
    if not _RATIOS[0] <= ratio <= _RATIOS[1]:
        kind = "short" if ratio < 1 else "long"
        said.append(
            f"translations are {ratio:.2f} times as long as the references, too {kind}: an "
            "untrained model does not know where to end; for a trained one look at the lengths "
            "that it was trained on, and at --length-penalty"
        )
    return said


@dataclass
class Observer:
    """Follows the loss of a run; a word is said once for each thing that is wrong."""

    knowing_nothing: float = math.nan
    """The loss of a model that gives all tokens the same probability; NaN where it is not known."""
    warmup: int = 0
    _recent: list[float] = field(default_factory=list)
    _told: bool = False

    def step(self, loss: float) -> None:
        """A step with this training loss is done."""
        self._recent.append(loss)

    def doubts(self, step: int, validations: Validations) -> list[str]:
        """What is to be said after a look at held-out data."""
        recent, self._recent = self._recent, []
        mean = sum(recent) / max(len(recent), 1)
        near = mean > _NEAR * self.knowing_nothing  # false where that is NaN
        if near and step >= self.warmup + _EARLY and not self._told:
            self._told = True
            return [
                f"the training loss, {mean:.4g}, is still that of a model which knows nothing, "
                f"ln V = {self.knowing_nothing:.4g}: look at learning_rate and warmup (`graphgrad "
                "plot RUN --what schedule`), at frozen parameters, at the deltas (`--what flow`), "
                "and whether it learns one batch: `graphgrad train MODEL --overfit-batch`"
            ]
        stale = validations.without_improvement()
        if not stale or stale % _PATIENCE:
            return []
        (best,) = validations.best(1)
        metric = validations.metric
        return [
            f"held-out {metric} has not improved in {stale} looks, since step {best} "
            f"({validations[best]:.4g}): if the training loss still falls, the model learns its "
            "data by heart (more dropout or data, a smaller model, or stop: patience); if not, try "
            "a lower learning_rate"
        ]
