"""Gradients, and products with Jacobians and Hessians, all from the same delta rules.

- gradient: ∂y/∂x of a scalar y is what `derive` computes, as nodes to go on calculating with.
- vector–Jacobian: vᵀ ∂y/∂x is what `derive` computes with the seed v.
- Jacobian–vector: g(v) = vᵀ ∂y/∂x is linear in v, so the vector–Jacobian product of g with respect
  to v, seeded with the tangent of x, is ∂y/∂x · tangent. (The "double backward" way.)
- Hessian–vector: the delta of Σ (∂L/∂x · vector) with respect to x.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from graphgrad.backprop.derive import deltas_of, derive
from graphgrad.errors import DeclarationError
from graphgrad.graph import Graph, Node, input
from graphgrad.graph.scope import current_origin
from graphgrad.ops import sum


@overload
def grad(y: Node, x: Node) -> Node: ...
@overload
def grad(y: Node, x: Sequence[Node]) -> tuple[Node, ...]: ...
def grad(y: Node, x: Node | Sequence[Node]) -> Node | tuple[Node, ...]:
    """∂y/∂x of the scalar y, with the shape of x; of several x, a tuple, derived in one go.

    The gradient is a node like any other: it can stand in a loss (a gradient penalty, say) and be
    derived again. Where y does not depend on x it is zeros.

    >>> x = gg.input("x", 3)
    >>> print(gg.grad((x * x).sum(), x).type)
    float32[3]
    """
    several = [x] if isinstance(x, Node) else list(x)
    if not all(isinstance(each, Node) for each in (y, *several)):
        raise DeclarationError(
            "grad(y, x) takes nodes",
            current_origin(),
            "of a graph by names: derive(graph, of), which is then asked for the delta of a name",
        )
    found = _deltas(y, several, None)
    return found[0] if isinstance(x, Node) else tuple(found)


def vector_jacobian(y: Node, x: Node, vector: Node) -> Node:
    """vᵀ ∂y/∂x, with the shape of x; `vector` has the shape of y."""
    return _delta(y, x, vector)


def jacobian_vector(y: Node, x: Node, tangent: Node) -> Node:
    """∂y/∂x · tangent, with the shape of y; `tangent` has the shape of x."""
    if tangent.type != x.type:
        raise DeclarationError(f"the tangent is {tangent.type}, the node it belongs to {x.type}")
    cotangent = input(_free_name(y, x, tangent), y.shape, y.dtype)
    return _delta(_delta(y, x, cotangent), cotangent, tangent)


def hessian_vector(scalar: Node, x: Node, vector: Node) -> Node:
    """∂²L/∂x² · vector, with the shape of x."""
    return _delta(sum(_delta(scalar, x, None) * vector), x, None)


def _free_name(*nodes: Node) -> str:
    """A name for the cotangent that no leaf of theirs has. The product is linear in it, so it is
    not part of the result."""
    graph, name = Graph(nodes), "cotangent"
    while name in graph.inputs or name in graph.states:
        name += "_"
    return name


def _delta(of: Node, wrt: Node, seed: Node | None) -> Node:
    return _deltas(of, [wrt], seed)[0]


def _deltas(of: Node, wrt: Sequence[Node], seed: Node | None) -> list[Node]:
    nodes = {"of": of, **{f"wrt.{place}": node for place, node in enumerate(wrt)}}
    graph = Graph({"of": of}, names={**nodes, **({} if seed is None else {"seed": seed})})
    return deltas_of(derive(graph, "of", wrt, seed), wrt)
