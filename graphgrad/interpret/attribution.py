"""Estimates, for every node at once, what one value contributes to the difference of two inputs.

    effect(u) ≈ Σ (u_clean - u_corrupt) · δ_u,   δ_u = ∂L/∂u in the corrupt run

That is the change of L to first order if u had its clean value in the corrupt run (attribution
patching; Nanda 2023, Syed et al. 2023). It costs two forward runs and one backward run for all
nodes together; `activation.py` computes the same effects exactly, a run for each.

- Elements with equal values contribute 0, whatever they are: the score of a masked position is -∞
  in both runs.
- An element whose delta is 0 contributes 0, also where the difference is infinite.
- A value that is infinite in one run only has no estimate to first order: it is infinite or NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphgrad.backprop import derive
from graphgrad.backprop.selection import matching, parts_of
from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.graph import LEAVES, Graph
from graphgrad.interpret.named_array import NamedArray
from graphgrad.interpret.watch import watch

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Effect:
    """The estimated effect of one value: the change of L if it were that of the clean run."""

    name: str
    estimate: float
    elements: NamedArray
    """(u_clean - u_corrupt) · δ_u, element by element; its sum is the estimate. `elements.by(
    "head", figure="sum")` are the effects of heads."""


@dataclass(frozen=True)
class Attribution:
    """The effects of all chosen nodes, in the order of the graph, and L in the two runs."""

    clean: float
    corrupt: float
    effects: tuple[Effect, ...]

    @property
    def largest(self) -> tuple[Effect, ...]:
        """The effects, the largest first."""
        return tuple(sorted(self.effects, key=lambda effect: -abs(effect.estimate)))


def attribution(
    graph: Graph,
    clean: Feeds,
    corrupt: Feeds,
    state: Mapping[str, np.ndarray] | None = None,
    patterns: Sequence[str] = ("*",),
    of: str = "loss",
) -> Attribution:
    """The effect of each node that a name or pattern chooses, on the scalar output `of`.

    `clean` and `corrupt` are inputs of the same sizes. Only nodes that are computed and have a
    delta are chosen: parameters are equal in both runs. Raises UnknownNameError for a pattern
    without such a node, DeclarationError for inputs of different sizes.

    >>> import graphgrad as gg
    >>> x = gg.input("x", 2)
    >>> graph = gg.Graph({"loss": gg.sum(gg.multiply(x, 10.0, name="u") ** 2.0)})
    >>> found = attribution(graph, {"x": [1.0, 0.0]}, {"x": [0.0, 3.0]})
    >>> found.clean, found.corrupt
    (100.0, 900.0)
    >>> [(effect.name, effect.estimate) for effect in found.effects]
    [('u', -1800.0), ('power', -800.0)]
    """
    need_equal_sizes(clean, corrupt)
    forward = graph.with_outputs({of: graph[of]}, {})
    derived = derive(forward, of)
    chosen = chosen_names(forward, patterns)
    names = [name for name in chosen if derived.delta_or_none(name) is not None]
    of_delta = {name: derived.delta_name(name) for name in names}
    deltas, values = watch(derived, *names, *of_delta.values()), watch(forward, *names)
    good, bad = values(state, clean), deltas(state, corrupt)
    effects = []
    for name in names:
        product = _product(good[name].array, bad[name].array, bad[of_delta[name]].array)
        elements = NamedArray(name, bad[name].axes, product)
        with np.errstate(invalid="ignore"):  # infinities of both signs
            effects.append(Effect(name, float(product.sum()), elements))
    return Attribution(float(good.outputs[of]), float(bad.outputs[of]), tuple(effects))


def chosen_names(graph: Graph, patterns: Sequence[str]) -> list[str]:
    """The names of the computed float nodes that are chosen and that the output depends on."""
    parts, ends = parts_of(graph), set(graph.outputs.values())
    between = graph.ancestors(ends) & graph.descendants(graph.inputs.values())
    possible = [
        node
        for node in graph.nodes
        if node in between
        and node not in ends
        and node.operation not in LEAVES
        and node.type.is_float
    ]
    found = matching(graph, patterns, [node for node in possible if parts[node] == "forward"])
    kept = set(possible)
    for node in found:
        if node not in kept:
            raise UnknownNameError(
                f"{graph.name_of(node)!r} cannot be patched: it is not computed from the inputs, "
                "or the loss does not depend on it",
                node.origin,
                "choose a node between the inputs and the loss",
            )
    return [graph.name_of(node) for node in found]


def _product(clean: np.ndarray, corrupt: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """(clean - corrupt) · δ in float64, 0 where the values are equal or the delta is 0."""
    with np.errstate(invalid="ignore"):
        difference = clean.astype(np.float64) - corrupt.astype(np.float64)
        product = difference * delta.astype(np.float64)
    return np.where((clean == corrupt) | (delta == 0), 0.0, product)


def need_equal_sizes(clean: Feeds, corrupt: Feeds) -> None:
    """Raises DeclarationError where two inputs differ in shape."""
    for name in clean:
        one, other = np.shape(clean[name]), np.shape(corrupt.get(name, ()))
        if one != other:
            raise DeclarationError(
                f"input {name!r} is {list(one)} in the clean run and {list(other)} in the corrupt "
                "one; values are compared place by place",
                fix="give both the same sizes",
            )
