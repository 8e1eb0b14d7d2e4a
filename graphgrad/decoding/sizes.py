"""Chooses the sizes of programs: of a batch, of a source, of the room for keys and values.

A program is compiled for each combination of sizes, so there are few of each. They depend on the
sentences and the options of one call only, so equal calls give equal results to the last bit.

    batch    1, 8 or 64 sentences; those that end are replaced by the next ones
    source   24, 48, 96, … tokens; the sentences of one width are decoded one after another
    slots    16, 32, 64, …: what most sentences need, doubled for those that need more

A caller that decodes again and again, as training does, gives `Shared` sizes instead: then all its
calls have one program that encodes and one that steps.
"""

from __future__ import annotations

from dataclasses import dataclass

BATCHES = (1, 8, 64)
"""Numbers of sentences that are decoded side by side. More at a time is hardly faster, and the
last ones of all would leave more of the batch idle."""
ROWS = 384
"""Maximum number of rows of a batch: its sentences times the rows of a beam."""
_NARROWEST, _FEWEST, _WITHOUT_SOURCE = 24, 16, 256
_MULTIPLE = 8


@dataclass(frozen=True)
class Shared:
    """Sizes for several calls, each of which has the same programs then."""

    sentences: int
    """How many sentences the largest call has."""
    source: int
    """The length of the longest source of all calls."""

    def width(self, most: int | None = None) -> int:
        """The padded length of every source; not above `most`, unless the longest is itself."""
        width = multiple_of_eight(self.source)
        return width if most is None else max(self.source, min(width, most))


def batch_for(sentences: int, beam: int, rows: int = ROWS) -> int:
    """How many sentences are decoded side by side."""
    size = next((size for size in BATCHES if size >= sentences), BATCHES[-1])
    return max(min(size, rows // beam), 1)


def width_for(length: int, most: int | None = None) -> int:
    """The padded length of a source of this length; not above `most`, unless it is itself."""
    width = rounded_up(length, _NARROWEST)
    return width if most is None else max(length, min(width, most))


def slots_for(source: int, positions: int, beam: int, most: int | None = None) -> int:
    """The slots for the keys and values of a sentence at the start.

    `source` is the width of its source, 0 for a model without one, and `positions` how many it can
    come to have. A target is hardly longer than 4/3 of its source. Rows of a beam have slots of
    their own where they differ, as a rule in their last tokens.
    """
    usual = source * 4 // 3 if source else _WITHOUT_SOURCE
    slots = min(rounded_up(positions * beam, _FEWEST), usual * (1 if beam == 1 else 2))
    return slots if most is None or beam > 1 else max(min(slots, most), 2)


def multiple_of_eight(length: int) -> int:
    """The smallest multiple of 8 that is at least `length`."""
    return -(-length // _MULTIPLE) * _MULTIPLE


def rounded_up(length: int, least: int) -> int:
    """The smallest of `least`, 2 · `least`, 4 · `least`, … that is at least `length`."""
    size = least
    while size < length:
        size *= 2
    return size
