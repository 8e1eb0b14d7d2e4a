"""Reads, names, changes and explains values and deltas at named places: tools for research.

watch, named_array, axes: any value or delta by name or pattern, as arrays with axis names
substitution: one node of a graph in the place of another
attribution, activation: which values make the difference between two inputs
lens: what a value or a delta in the middle of a model says in its vocabulary
"""

from graphgrad.interpret.activation import Patched, Patching, activation_patching
from graphgrad.interpret.attribution import Attribution, Effect, attribution
from graphgrad.interpret.lens import BackwardReading, Reading, backward_lens, logit_lens
from graphgrad.interpret.named_array import NamedArray
from graphgrad.interpret.substitution import substituted
from graphgrad.interpret.watch import Watch, Watched, watch

__all__ = [
    "Attribution",
    "BackwardReading",
    "Effect",
    "NamedArray",
    "Patched",
    "Patching",
    "Reading",
    "Watch",
    "Watched",
    "activation_patching",
    "attribution",
    "backward_lens",
    "logit_lens",
    "substituted",
    "watch",
]
