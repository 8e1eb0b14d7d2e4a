"""Passes: `Graph -> Graph`, one file each, in one visible order.

A pass never changes what an output is, keeps the names, and leaves a graph that verifies. Adding
one is one file and one line in `PASSES`.
"""

from graphgrad.passes.decompose import decompose
from graphgrad.passes.fold_constants import fold_constants
from graphgrad.passes.join_frames import join_frames
from graphgrad.passes.pipeline import Check, Pass, PassReport, optimise
from graphgrad.passes.prune import prune
from graphgrad.passes.simplify import simplify
from graphgrad.passes.specialise import all_sizes_of, free_dimensions, sizes_of, specialise
from graphgrad.passes.stabilise import stabilise
from graphgrad.passes.value_check import ValueCheck

PASSES: tuple[Pass, ...] = (
    prune,  # first, so that nothing is done for deltas that nobody asked for
    stabilise,  # before algebra can hide the patterns that it looks for
    fold_constants,
    simplify,
    join_frames,  # what many slices of one value send back to it is laid side by side
    prune,  # what the rules left behind
)
"""What every graph goes through, for all sizes at once."""

SPECIALISED_PASSES: tuple[Pass, ...] = (
    fold_constants,  # positions, masks and counts are constants once the sizes are known
    simplify,
    prune,
)
"""What it goes through again once its sizes are known."""

FUSING_PASSES: tuple[Pass, ...] = (
    decompose,  # what a composite stands for fuses with its neighbours
    fold_constants,
    simplify,
    prune,
)
"""What it goes through last where an engine fuses."""

__all__ = [
    "FUSING_PASSES",
    "PASSES",
    "SPECIALISED_PASSES",
    "Check",
    "Pass",
    "PassReport",
    "ValueCheck",
    "all_sizes_of",
    "decompose",
    "fold_constants",
    "free_dimensions",
    "join_frames",
    "optimise",
    "prune",
    "simplify",
    "sizes_of",
    "specialise",
    "stabilise",
]
