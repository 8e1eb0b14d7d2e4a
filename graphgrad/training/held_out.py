"""Chooses the sizes of programs that measure and translate held-out pairs, so that there are few.

A run looks at held-out pairs again and again: at validation while it goes on, at all of the test
when it ends. The loss is computed in two of the shapes that training has. Translations are decoded
in one width of source, with slots for every position there can be, so two programs do it: one
encodes, one steps. Narrower programs would be faster (as `translate` decodes), but each would be
compiled for a look of a few seconds. The sizes follow from the data of the run alone, so a later
`evaluate` has the same figures to the last bit.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from graphgrad.data.encoded import Examples
from graphgrad.data.token_batches import scored_shapes
from graphgrad.decoding.sizes import Shared
from graphgrad.training.text_settings import TextSettings
from graphgrad.training.translation_data import TranslationData

EVALUATED = 2
"""Shapes in which the loss of held-out pairs is computed, where batches have a budget of tokens."""
DECODING = 2
"""Programs that translate held-out pairs without a beam: one encodes, one steps."""


def evaluated_shapes(data: TranslationData) -> list[tuple[int, int, int]]:
    """The shapes of training in which the loss of held-out pairs is computed: at most `EVALUATED`,
    the last of which holds every pair of training."""
    shapes = data.batches().shapes()
    return list(dict.fromkeys((shapes[len(shapes) // 2], shapes[-1])))


def loss_programs(settings: TextSettings, data: TranslationData) -> int:
    """How many programs compute the loss of what the run looks at."""
    shapes = evaluated_shapes(data)
    found = (scored_shapes(examples, shapes) for examples in _looked_at(settings, data))
    return len(reduce(set.union, found, set[tuple[int, int, int]]()))


def shared_sizes(settings: TextSettings, data: TranslationData) -> Shared:
    """The sizes of decoding that hold all held-out pairs that the run looks at."""
    validation, test = _looked_at(settings, data)
    longest = max(int(part.sources.lengths.max(initial=1)) for part in (validation, test))
    return Shared(len(validation) or len(test), longest)


def _looked_at(settings: TextSettings, data: TranslationData) -> tuple[Examples, Examples]:
    """The pairs of validation and test that fit the model, as they are looked at."""
    validation, test = data.held_out()
    first = np.arange(len(validation)) < (settings.validation_size or len(validation))
    most = settings.maximum_length
    return (
        validation.subset(first & ~validation.longer_than(most)),
        test.subset(~test.longer_than(most)),
    )
