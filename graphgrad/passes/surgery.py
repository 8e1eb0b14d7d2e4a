"""Changes deltas: clips, scales, stops or replaces one named delta before it is passed on.

A node `u` means its whole delta, the sum over its tails; `u<-t` means the one contribution that
tail t sends back to u; a scope means the one node by which values leave it. Every delta further
back, towards the parameters, is computed from the changed delta, as with a hook on a tensor in
other libraries. The deltas between the loss and u do not change.

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
from graphgrad.graph.deltas import Cut, edge_name
from graphgrad.ops import broadcast_to, maximum, minimum, multiply, sqrt, sum
from graphgrad.ops.movement import copy

Kind = Literal["clip", "clip_norm", "scale", "stop", "replace"]
KINDS: tuple[Kind, ...] = ("clip", "clip_norm", "scale", "stop", "replace")
_TINY = 1e-6


def clip(at: str, limit: float) -> Cut:
    """Limits every element of a delta to the range from -limit to limit.

    `at` is the name of a node (`"a"`), of a scope, or of an edge (`"a<-z"`). Returns the cut, for
    `gg.surgery` or `gg.derive(…, cuts=…)`. Raises ConfigurationError for a limit that is not above
    0.

    >>> import graphgrad as gg
    >>> from graphgrad.passes import surgery
    >>> x = gg.input("x", 3)
    >>> graph = gg.derive(gg.Graph({"loss": gg.sum(x**3.0, name="loss")}), "loss", [x])
    >>> cut = gg.surgery(graph, [surgery.clip("x", 5.0)])
    >>> gg.compile(cut, fetch=["x.delta"])({}, x=[1.0, 2.0, -3.0])["x.delta"]
    array([3., 5., 5.], dtype=float32)
    """
    limit = _positive("clip", at, limit)
    return Cut(at, "clip", lambda d: minimum(maximum(d, -limit), limit, name="clip"))


def clip_norm(at: str, limit: float) -> Cut:
    """Shortens a delta whose norm √Σδ² exceeds the limit; its direction does not change.

    `at` names a node, a scope or an edge, as in `clip`. The factor is limit / (norm + 10⁻⁶), at
    most 1. Raises ConfigurationError for a limit that is not above 0.

    >>> import graphgrad as gg
    >>> from graphgrad.passes import surgery
    >>> x = gg.input("x", 2)
    >>> graph = gg.derive(gg.Graph({"loss": gg.sum(x**2.0, name="loss")}), "loss", [x])
    >>> cut = gg.surgery(graph, [surgery.clip_norm("x", 5.0)])
    >>> gg.compile(cut, fetch=["x.delta"])({}, x=[3.0, 4.0])["x.delta"].round(3)   # was [6, 8]
    array([3., 4.], dtype=float32)
    """
    limit = _positive("clip_norm", at, limit)

    def change(delta: Node) -> Node:
        norm = sqrt(sum(multiply(delta, delta)), name="norm")
        factor = minimum(limit / (norm + _TINY), 1.0, name="factor")
        return multiply(delta, factor, name="clip_norm")

    return Cut(at, "clip_norm", change)


def scale(at: str, factor: float) -> Cut:
    """Multiplies a delta by a factor.

    The factor -1 reverses the gradient (Ganin and Lempitsky 2015). `at` names a node, a scope or an
    edge, as in `clip`. Raises ConfigurationError for a factor that is not finite.

    >>> import graphgrad as gg
    >>> from graphgrad.passes import surgery
    >>> x = gg.input("x", 2)
    >>> graph = gg.derive(gg.Graph({"loss": gg.sum(x**2.0, name="loss")}), "loss", [x])
    >>> cut = gg.surgery(graph, [surgery.scale("x", -1.0)])
    >>> gg.compile(cut, fetch=["x.delta"])({}, x=[3.0, 4.0])["x.delta"]
    array([-6., -8.], dtype=float32)
    """
    if not math.isfinite(factor):
        raise ConfigurationError(f"scale {at}: the factor {factor} is not finite")
    return Cut(at, "scale", lambda d: multiply(d, float(factor), name="scale"))


def stop(at: str) -> Cut:
    """Sets a delta to 0, whatever its value was, NaN included.

    No gradient reaches earlier nodes through it. `at` names a node, a scope or an edge, as in
    `clip`.

    >>> import graphgrad as gg
    >>> from graphgrad.passes import surgery
    >>> x = gg.input("x", 2)
    >>> loss = gg.sum(gg.tanh(x, name="left") + gg.exp(x, name="right"), name="loss")
    >>> graph = gg.derive(gg.Graph({"loss": loss}), "loss", [x])
    >>> cut = gg.surgery(graph, [surgery.stop("x<-right")])     # only tanh sends something back
    >>> gg.compile(cut, fetch=["x.delta"])({}, x=[0.0, 0.0])["x.delta"]
    array([1., 1.], dtype=float32)
    """
    return Cut(at, "stop", lambda d: broadcast_to(constant(0.0, d.dtype), d.shape, name="stop"))


def replace(at: str, by: Node | Callable[[Node], Node]) -> Cut:
    """Puts another node in the place of a delta, or the result of a function of the delta's node.

    `at` names a node, a scope or an edge, as in `clip`; `by` is the node, or a function from the
    delta's node to a node of the same type. Raises DeclarationError, when the cut is made, for a
    value that is not a node or has another type.

    >>> import graphgrad as gg
    >>> from graphgrad.passes import surgery
    >>> x = gg.input("x", 2)
    >>> graph = gg.derive(gg.Graph({"loss": gg.sum(x**2.0, name="loss")}), "loss", [x])
    >>> cut = gg.surgery(graph, [surgery.replace("x", gg.sign)])
    >>> gg.compile(cut, fetch=["x.delta"])({}, x=[3.0, -4.0])["x.delta"]
    array([ 1., -1.], dtype=float32)
    """

    def change(delta: Node) -> Node:
        given = by if isinstance(by, Node) else by(delta)
        if not isinstance(given, Node):
            raise DeclarationError(f"replace {at}: a node is needed, not {type(given).__name__}")
        return copy(given, name="replace")

    return Cut(at, "replace", change)


def parse_surgery(text: str) -> tuple[Cut, ...]:
    """Reads surgery written as one line of settings: `clip u 1.0; scale u<-t 0.5; stop v`.

    Returns the cuts in order. Raises ConfigurationError for text that is not a valid cut. `replace`
    needs a node and therefore cannot be written as text.

    >>> from graphgrad.passes import surgery
    >>> [str(cut) for cut in surgery.parse_surgery("clip u 1.0; stop v")]
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
    """Cuts deltas of a derived graph, in the order given; returns the new graph.

    Raises UnknownNameError for a node or edge that does not exist or has no delta, DeclarationError
    where the new delta has another type, or where updates are computed from the deltas already.

    >>> import graphgrad as gg
    >>> from graphgrad.passes import surgery
    >>> x = gg.input("x", 2)
    >>> graph = gg.derive(gg.Graph({"loss": gg.sum(x**2.0, name="loss")}), "loss", [x])
    >>> cut = gg.surgery(graph, [surgery.scale("x", 0.5), surgery.clip("x", 3.5)])
    >>> gg.compile(cut, fetch=["x.delta"])({}, x=[3.0, 4.0])["x.delta"]
    array([3. , 3.5], dtype=float32)
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
