"""Cuts deltas: clips, scales, stops or replaces a named delta before it flows on.

The name of a node `u` selects its whole delta, the sum over its tails; `u<-t` selects the
contribution of tail t to it; the name of a scope selects the one node by which values leave it. All
deltas further back, towards the parameters, are computed from the changed delta, as with a hook on
a tensor in other libraries. The deltas before it do not change.

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

- The change is visible: the new delta is called `u.delta.scale` as well as `u.delta`, and the delta
  before the cut `u.delta.before`; for an edge it is `u.delta.scale<-t`. Formulas and pictures show
  it.
- Equal nodes are one node, so a delta may belong to several nodes at once (an addition passes its
  delta on unchanged). Surgery therefore does not replace nodes of the graph. It derives the graph
  again and makes the cuts on the way (`derive(graph, of, cuts=…)` does both at once).
- Cut before updates are computed from the deltas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from graphgrad.backprop.derive import with_cuts
from graphgrad.errors import ConfigurationError, DeclarationError
from graphgrad.graph import Graph, Node, constant
from graphgrad.graph.deltas import Cut, edge_name
from graphgrad.ops import broadcast_to, maximum, minimum, multiply, sqrt, sum
from graphgrad.ops.movement import copy

Kind = Literal["clip", "clip_norm", "scale", "stop", "replace"]
KINDS: tuple[Kind, ...] = ("clip", "clip_norm", "scale", "stop", "replace")
_TINY = 1e-6


def clip(at: str, limit: float) -> Cut:
    """A cut that limits every element of the delta to [-limit, limit].

    `at` is the name of a node, a scope or an edge `u<-t`. Raises ConfigurationError unless the
    limit is a finite number above 0.

    >>> from graphgrad.passes.surgery import clip
    >>> graph = gg.Graph({"loss": gg.sum(gg.exp(gg.input("x", 3)), name="loss")})
    >>> gg.derive(graph, "loss", cuts=[clip("x", 1.0)]).delta("x").operation
    <operation minimum>
    """
    limit = _positive("clip", at, limit)
    return Cut(at, "clip", lambda d: minimum(maximum(d, -limit), limit, name="clip"))


def clip_norm(at: str, limit: float) -> Cut:
    """A cut that scales the delta down to the norm `limit` if its norm √Σδ² is larger.

    `at` is the name of a node, a scope or an edge `u<-t`. Raises ConfigurationError unless the
    limit is a finite number above 0.

    >>> from graphgrad.passes.surgery import clip_norm
    >>> print(clip_norm("encoder.0", 1.0))
    clip_norm encoder.0
    """
    limit = _positive("clip_norm", at, limit)

    def change(delta: Node) -> Node:
        norm = sqrt(sum(multiply(delta, delta)), name="norm")
        factor = minimum(limit / (norm + _TINY), 1.0, name="factor")
        return multiply(delta, factor, name="clip_norm")

    return Cut(at, "clip_norm", change)


def scale(at: str, factor: float) -> Cut:
    """A cut that multiplies the delta by a factor; -1 reverses the gradient.

    `at` is the name of a node, a scope or an edge `u<-t`. Raises ConfigurationError if the factor
    is not finite.

    >>> from graphgrad.passes.surgery import scale
    >>> print(scale("x<-tanh", -1.0))
    scale x<-tanh
    """
    if not math.isfinite(factor):
        raise ConfigurationError(f"scale {at}: the factor {factor} is not finite")
    return Cut(at, "scale", lambda d: multiply(d, float(factor), name="scale"))


def stop(at: str) -> Cut:
    """A cut that sets the delta to 0, also if it is NaN, so that nothing flows further back.

    `at` is the name of a node, a scope or an edge `u<-t`.

    >>> from graphgrad.passes.surgery import stop
    >>> x = gg.input("x", 2)
    >>> graph = gg.derive(gg.Graph({"loss": gg.sum(x * x, name="loss")}), "loss", cuts=[stop("x")])
    >>> gg.compile(graph, fetch=graph.delta_name("x"))(x=[1, 2])["x.delta"]
    array([0., 0.], dtype=float32)
    """
    return Cut(at, "stop", lambda d: broadcast_to(constant(0.0, d.dtype), d.shape, name="stop"))


def replace(at: str, by: Node | Callable[[Node], Node]) -> Cut:
    """A cut that replaces the delta by the node `by`, or by the result of a function of its node.

    `at` is the name of a node, a scope or an edge `u<-t`. The new delta must have the type of the
    old one. Raises DeclarationError if it is not a node.

    >>> from graphgrad.passes.surgery import replace
    >>> graph = gg.Graph({"loss": gg.sum(gg.exp(gg.input("x", 3)), name="loss")})
    >>> cut = gg.derive(graph, "loss", cuts=[replace("x", lambda delta: gg.sign(delta))])
    >>> [change.kind for change in cut.cuts("x")]
    ['replace']
    """

    def change(delta: Node) -> Node:
        given = by if isinstance(by, Node) else by(delta)
        if not isinstance(given, Node):
            raise DeclarationError(f"replace {at}: a node is needed, not {type(given).__name__}")
        return copy(given, name="replace")

    return Cut(at, "replace", change)


def parse_surgery(text: str) -> tuple[Cut, ...]:
    """The cuts of a text such as `clip u 1.0; scale u<-t 0.5; stop v`, a line of settings.

    `replace` needs a node and so has no text. Raises ConfigurationError for text that is not a
    valid cut.

    >>> from graphgrad.passes.surgery import parse_surgery
    >>> [str(cut) for cut in parse_surgery("clip u 1.0; stop v")]
    ['clip u', 'stop v']
    """
    made = {"clip": clip, "clip_norm": clip_norm, "scale": scale}
    found: list[Cut] = []
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


def surgery(graph: Graph, cuts: Iterable[Cut]) -> Graph:
    """The derived graph with the cuts made in the order given.

    Cuts are made by `clip`, `clip_norm`, `scale`, `stop` and `replace` of
    `graphgrad.passes.surgery`. Raises UnknownNameError for a node or edge that is not in the graph
    or has no delta; DeclarationError if the new delta has another type, or if updates are computed
    from the deltas already.

    >>> from graphgrad.passes.surgery import scale
    >>> x = gg.input("x", 2)
    >>> graph = gg.derive(gg.Graph({"loss": gg.sum(x * x, name="loss")}), "loss")
    >>> cut = gg.surgery(graph, [scale("x", 0.5)])
    >>> gg.compile(cut, fetch="x.delta")(x=[1, 2])["x.delta"]
    array([1., 2.], dtype=float32)
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
    "Cut",
    "clip",
    "clip_norm",
    "parse_surgery",
    "replace",
    "scale",
    "stop",
    "surgery",
]
