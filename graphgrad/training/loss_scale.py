"""Scales the loss of a run in float16, so that small deltas do not vanish.

A delta below 6 · 10⁻⁸ is 0 in float16, and one above 65504 is ∞. So the walk back from the loss
starts with a scale s in place of 1: every delta is s times what it was, and the gradients are
divided by s, in float32, before they are accumulated, clipped and used. s is a power of two, so
neither changes a digit. How large s may be is found while training, by the rules of PyTorch's
GradScaler (Micikevicius et al. 2018, section 3.2):

    a gradient is not finite       nothing is updated, s ← s / 2
    `loss_scale_steps` steps in a row were finite        s ← 2 s

s, the count of finite steps since it changed, and the count of updates are states of the graph, so
a checkpoint holds them, and a run that goes on has the bytes of one that was never stopped. Adam's
corrections count updates, not steps. A gradient that is not finite at the least scale (1) is no
matter of scale: the run stops there, as in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from graphgrad.graph import Node, declared_at, leaf_name, state
from graphgrad.graph.initial import full
from graphgrad.graph.scope import scoped
from graphgrad.ops import (
    add,
    cast,
    divide,
    equal,
    is_finite,
    less_equal,
    logical_or,
    maximum,
    minimum,
    where,
)
from graphgrad.training.settings import TrainingSettings

LOSS_SCALE = "loss_scale"
"""The name of the state, and of the output that has its value in a step."""
FINITE_STEPS, UPDATES_DONE = "finite_steps", "updates_done"
_STATES = (LOSS_SCALE, FINITE_STEPS, UPDATES_DONE)
LEAST, LARGEST = 1.0, 2.0**100


@dataclass(frozen=True)
class LossScale:
    """The states of one optimiser's scale, and how many finite steps double it."""

    scale: Node
    finite_steps: Node
    updates_done: Node
    steps: int

    def unscaled(self, gradients: Mapping[Node, Node]) -> dict[Node, Node]:
        """The gradients as they are without the scale."""
        found = {}
        for leaf, gradient in gradients.items():
            with declared_at(scoped(leaf_name(leaf)), leaf.origin):
                found[leaf] = divide(gradient, cast(self.scale, leaf.dtype), name="unscaled")
        return found

    def update_number(self, loss: Node) -> Node:
        """The number of the update, from 1: a step without one does not count."""
        return cast(add(self.updates_done, 1), loss.dtype, name="update_number")

    def next_states(self, finite: Node) -> dict[Node, Node]:
        """The next values of the states after a step with finite gradients or without."""
        count = add(self.finite_steps, 1)
        doubled = equal(count, self.steps, name="doubles")
        larger = where(doubled, minimum(self.scale * 2.0, LARGEST), self.scale)
        smaller = maximum(self.scale * 0.5, LEAST)
        zero = self.finite_steps * 0
        return {
            self.scale: where(finite, larger, smaller, name="next_loss_scale"),
            self.finite_steps: where(finite, where(doubled, zero, count), zero),
            self.updates_done: where(finite, add(self.updates_done, 1), self.updates_done),
        }

    def norm_shown(self, norm: Node, finite: Node) -> Node:
        """The norm of the gradient that a step uses: 0 where it is not finite and a smaller scale
        may help, so that guards let the step pass."""
        hopeless = logical_or(finite, less_equal(self.scale, LEAST))
        return where(hopeless, norm, 0.0, name="gradient_norm_used")


def loss_scale(settings: TrainingSettings) -> LossScale | None:
    """The scale that a run in float16 has, declared in the current scope; None in others."""
    if settings.precision != "fp16":
        return None
    return LossScale(
        state(LOSS_SCALE, (), full(settings.loss_scale), "float32"),
        state(FINITE_STEPS, (), dtype="int64"),
        state(UPDATES_DONE, (), dtype="int64"),
        settings.loss_scale_steps,
    )


@dataclass(frozen=True)
class Settled:
    """What a step does where its gradients may not be finite."""

    updates: dict[Node, Node]
    """Those of the optimiser and of the scale."""
    others: dict[Node, Node]
    """The updates that the graph had before."""
    outputs: dict[str, Node]


def settled(
    scaling: LossScale | None,
    norm: Node,
    updates: Mapping[Node, Node],
    others: Mapping[Node, Node],
    always: Mapping[Node, Node],
) -> Settled:
    """The updates of a step, and its outputs: without a scale they are as given.

    `always` are updates of any step, finite or not. `others` are those of the model, or, where an
    optimiser has been applied before, those that it has settled already.
    """
    if scaling is None:
        return Settled({**always, **updates}, dict(others), {"gradient_norm": norm})
    finite = is_finite(norm, name="finite")
    own = {**always, **_kept(updates, finite), **scaling.next_states(finite)}
    before = dict(others) if always.keys() & others.keys() else _kept(others, finite)
    shown = {"gradient_norm": scaling.norm_shown(norm, finite), LOSS_SCALE: scaling.scale}
    return Settled(own, before, shown)


def _kept(updates: Mapping[Node, Node], finite: Node) -> dict[Node, Node]:
    """The updates, each of which keeps its leaf in a step without finite gradients."""
    kept = {}
    for leaf, node in updates.items():
        with declared_at("", leaf.origin):
            kept[leaf] = where(finite, node, leaf)
    return kept


def fitted(
    arrays: Mapping[str, np.ndarray], first: Mapping[str, np.ndarray], done: int
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """A checkpoint's arrays for a run in another precision, and a note of what changed.

    `first` is the first state of the run. Scales that it lacks are left out; those that the
    checkpoint lacks start as in a new run, after `done` updates.
    """
    surplus = [name for name in arrays if name not in first and _is_ours(name)]
    missing = [name for name in first if name not in arrays and _is_ours(name)]
    found = {name: array for name, array in arrays.items() if name not in surplus}
    for name in missing:
        found[name] = first[name].copy()
        if name.endswith(f".{UPDATES_DONE}"):
            found[name][...] = done
    if surplus:
        return found, ("the run goes on without a loss scale: it was one in fp16",)
    if missing:
        return found, ("the run goes on in fp16: its loss scale is that of a new run",)
    return found, ()


def _is_ours(name: str) -> bool:
    return name.startswith("optimiser") and name.rpartition(".")[2] in _STATES
