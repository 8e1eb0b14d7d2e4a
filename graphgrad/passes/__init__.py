"""The passes, functions `Graph -> Graph`, in the order in which they run.

A pass keeps the values of outputs and updates and all names, and its result passes `verify`. To add
a pass, write a file and add a line to `PASSES`.
"""

from graphgrad.passes.decompose import decompose
from graphgrad.passes.fold_constants import fold_constants
from graphgrad.passes.join_attention import join_attention, join_attention_from
from graphgrad.passes.join_frames import join_frames
from graphgrad.passes.overlap import overlap
from graphgrad.passes.pipeline import Check, Pass, PassReport, optimise
from graphgrad.passes.precision import PRECISION_PASSES, mixed_precision, need_no_float64
from graphgrad.passes.prune import prune
from graphgrad.passes.simplify import simplify
from graphgrad.passes.specialise import all_sizes_of, free_dimensions, sizes_of, specialise
from graphgrad.passes.stabilise import stabilise
from graphgrad.passes.turn import turn
from graphgrad.passes.value_check import ValueCheck
from graphgrad.passes.widen_late import widen_late

PASSES: tuple[Pass, ...] = (
    prune,  # first, so that no work is done for deltas that are not needed
    stabilise,  # before algebra can hide its patterns
    fold_constants,
    simplify,
    join_frames,  # the contributions of many slices of one value become one operation
    prune,  # the nodes that the rules have replaced
)
"""The passes for every graph, which run once for all sizes."""

SPECIALISED_PASSES: tuple[Pass, ...] = (
    fold_constants,  # positions, masks and counts are constants once the sizes are known
    simplify,
    prune,
)
"""The passes that run again when the sizes are known."""

FUSING_PASSES: tuple[Pass, ...] = (
    join_attention,  # before its softmax is decomposed; options say from which size on
    prune,
    decompose,  # the parts of composites fuse with their neighbours
    fold_constants,
    simplify,
    prune,
)
"""The passes that run last if operations are fused. (In mixed precision those of
`PRECISION_PASSES` run before them.)"""

DEVICE_PASSES: tuple[Pass, ...] = (
    turn,  # kernels of a device know rows alone
    join_attention,
    prune,
    decompose,
    widen_late,  # behind the passes of a precision, which come before `decompose`
    fold_constants,
    simplify,
    prune,
)
"""The passes in place of those for a device."""

__all__ = [
    "DEVICE_PASSES",
    "FUSING_PASSES",
    "PASSES",
    "PRECISION_PASSES",
    "SPECIALISED_PASSES",
    "Check",
    "Pass",
    "PassReport",
    "ValueCheck",
    "all_sizes_of",
    "decompose",
    "fold_constants",
    "free_dimensions",
    "join_attention",
    "join_attention_from",
    "join_frames",
    "mixed_precision",
    "need_no_float64",
    "optimise",
    "overlap",
    "prune",
    "simplify",
    "sizes_of",
    "specialise",
    "stabilise",
    "turn",
    "widen_late",
]
