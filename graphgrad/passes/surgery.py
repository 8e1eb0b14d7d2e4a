"""Surgery on deltas: one named delta is clipped, scaled, stopped or replaced before it flows on.

A node `u` means its whole delta, the sum over its tails; `u<-t` means the one contribution that
tail t sends back to u; a scope means the one node by which values leave it. Every delta further
back, towards the parameters, is computed from the changed delta, as with a hook on a tensor in
other libraries. The deltas before it stay as they are.

    >>> import graphgrad as gg
    >>> z = gg.tanh(gg.exp(gg.input("x", 3), name="a"), name="z")
    >>> graph = gg.derive(gg.Graph({"loss": gg.sum(z, name="loss")}), "loss")
    >>> cut = surgery(graph, [scale("a", 0.8125)])

Before and after, the last lines:

    >>> print("\\n".join(str(graph).splitlines()[-3:-1]))
    %9 = multiply(%6, %8) : float32[3]    # a.delta, a.delta<-z
    %10 = multiply(%9, %1) : float32[3]    # x.delta, x.delta<-a
    >>> print("\\n".join(str(cut).splitlines()[-5:-1]))
    %9 = multiply(%6, %8) : float32[3]    # a.delta<-z, a.delta.before
    %10 = constant(0.8125) : float32[]    # ...
    %11 = multiply(%9, %10) : float32[3]    # a.delta, a.delta.scale
    %12 = multiply(%11, %1) : float32[3]    # x.delta, x.delta<-a

- The change is visible: the new delta is called `u.delta.scale` as well as `u.delta`, and what it
  was before is `u.delta.before`; for an edge it is `u.delta.scale<-t`. Formulas and
  pictures show it.
- Equal nodes are one node, so a delta may belong to several nodes at once (an addition hands its
  delta on unchanged). Surgery therefore does not replace nodes of the graph. It derives the graph
  again and makes the cuts on the way (`derive(graph, of, cuts=…)` does both at once).
- It has to come before updates are made of the deltas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from graphgrad.backprop.derive import with_cuts
from graphgrad.errors import ConfigurationError, DeclarationError
from graphgrad.graph import Graph, Node, constant
from graphgrad.graph.deltas import Operated, edge_name
from graphgrad.ops import broadcast_to, maximum, minimum, multiply, sqrt, sum
from graphgrad.ops.movement import copy

Kind = Literal["clip", "clip_norm", "scale", "stop", "replace"]
KINDS: tuple[Kind, ...] = ("clip", "clip_norm", "scale", "stop", "replace")
_TINY = 1e-6


def clip(at: str, limit: float) -> Operated:
    """Every element of the delta is held between -limit and limit."""
    limit = _positive("clip", at, limit)
    return Operated(at, "clip", lambda d: minimum(maximum(d, -limit), limit, name="clip"))


def clip_norm(at: str, limit: float) -> Operated:
    """The delta is made shorter where its norm √Σδ² is more than the limit; its direction stays."""
    limit = _positive("clip_norm", at, limit)

    def change(delta: Node) -> Node:
        norm = sqrt(sum(multiply(delta, delta)), name="norm")
        factor = minimum(limit / (norm + _TINY), 1.0, name="factor")
        return multiply(delta, factor, name="clip_norm")

    return Operated(at, "clip_norm", change)


def scale(at: str, factor: float) -> Operated:
    """The delta times a factor; -1 turns it round (gradient reversal)."""
    if not math.isfinite(factor):
        raise ConfigurationError(f"scale {at}: the factor {factor} is not finite")
    return Operated(at, "scale", lambda d: multiply(d, float(factor), name="scale"))


def stop(at: str) -> Operated:
    """The delta becomes 0, whatever it was, NaN included: nothing flows further back from here."""
    return Operated(
        at, "stop", lambda d: broadcast_to(constant(0.0, d.dtype), d.shape, name="stop")
    )


def replace(at: str, by: Node | Callable[[Node], Node]) -> Operated:
    """Another node in the place of the delta, or what a function makes of the delta's node."""

    def change(delta: Node) -> Node:
        given = by if isinstance(by, Node) else by(delta)
        if not isinstance(given, Node):
            raise DeclarationError(f"replace {at}: a node is needed, not {type(given).__name__}")
        return copy(given, name="replace")

    return Operated(at, "replace", change)


def parse_surgery(text: str) -> tuple[Operated, ...]:
    """`clip u 1.0; scale u<-t 0.5; stop v`: surgery as one line of settings.

    Raises ConfigurationError for what is none. `replace` needs a node and so has no text.
    """
    made = {"clip": clip, "clip_norm": clip_norm, "scale": scale}
    found: list[Operated] = []
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        kind, *words = entry.split()
        try:
            if kind == "stop" and len(words) == 1:
                found.append(stop(words[0]))
                continue
            if kind in made and len(words) == 2:
                found.append(made[kind](words[0], float(words[1])))
                continue
        except ValueError:
            pass
        raise ConfigurationError(
            f"surgery {entry!r} is not understood",
            fix="write `clip NODE LIMIT`, `clip_norm NODE LIMIT`, `scale NODE FACTOR` or "
            f"`stop NODE`, separated by `;`; an edge is {edge_name('HEAD', 'TAIL')}",
        )
    return tuple(found)


def surgery(graph: Graph, cuts: Iterable[Operated]) -> Graph:
    """The derived graph with its deltas cut, in the order given.

    Raises UnknownNameError for a node or edge that is not there or has no delta, DeclarationError
    where the new delta has another type, or where updates are made of the deltas already.
    """
    return with_cuts(graph, cuts)


def _positive(kind: str, at: str, limit: float) -> float:
    if not (math.isfinite(limit) and limit > 0):
        raise ConfigurationError(
            f"{kind} {at}: the limit must be above 0, not {limit}",
            fix=f"stop {at} makes the delta 0",
        )
    return float(limit)


__all__: Sequence[str] = [
    "KINDS",
    "Operated",
    "clip",
    "clip_norm",
    "parse_surgery",
    "replace",
    "scale",
    "stop",
    "surgery",
]
