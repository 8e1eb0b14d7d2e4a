"""Translations of names that need no model: copying the English name, or a neighbour's name.

A model is worth its training only where it beats both. `copy` gives the English name. `neighbour`
gives the name in that language of the training pairs which agrees with the wanted language most
often, as share of the names that both have; without a language that agrees, it is the English name.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphgrad.data.corpus import Pair
from graphgrad.data.names import language_of, name_of

FEWEST_SHARED = 20
"""Names that two languages must have in common before their agreement counts."""
_ABSENT = -1


def copied(source: str) -> str:
    """The English name: what is written where nothing is translated."""
    return name_of(source)


class Neighbours:
    """The names that are trained, and how often two languages have the same one."""

    def __init__(self, train: Sequence[Pair]) -> None:
        self._languages: dict[str, int] = {}
        self._asked: dict[str, int] = {}
        texts: dict[str, int] = {}
        cells = []
        for source, target in train:
            language, _, asked = source.partition(": ")
            cells.append(
                (
                    self._languages.setdefault(language, len(self._languages)),
                    self._asked.setdefault(asked, len(self._asked)),
                    texts.setdefault(target, len(texts)),
                )
            )
        self._texts = list(texts)
        self._names = np.full((len(self._languages), len(self._asked)), _ABSENT, np.int32)
        rows, columns, values = np.array(cells, np.int32).reshape(-1, 3).T
        self._names[rows, columns] = values
        self._agreement = self._agreements()

    def __call__(self, source: str) -> str:
        """The name that the nearest language has."""
        language = self._languages.get(language_of(source), _ABSENT)
        asked = self._asked.get(source.partition(": ")[2], _ABSENT)
        if language < 0 or asked < 0:
            return copied(source)
        agreement = np.where(self._names[:, asked] == _ABSENT, 0.0, self._agreement[language])
        nearest = int(agreement.argmax())
        found = self._texts[self._names[nearest, asked]]
        return found if agreement[nearest] > 0 else copied(source)

    def _agreements(self) -> np.ndarray:
        """The share of common names that are equal, [language, language]; 0 with itself."""
        present = self._names != _ABSENT
        shares = np.zeros((len(self._names),) * 2)
        for number, own in enumerate(self._names):
            common = (present & present[number]).sum(axis=1)
            equal = ((self._names == own) & present[number]).sum(axis=1)
            shares[number] = np.where(common >= FEWEST_SHARED, equal / np.maximum(common, 1), 0.0)
            shares[number, number] = 0.0
        return shares
