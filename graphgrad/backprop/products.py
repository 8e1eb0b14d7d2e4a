"""Products with Jacobians and Hessians, all from the same delta rules.

- vector–Jacobian: vᵀ ∂y/∂x is what `derive` computes with the seed v.
- Jacobian–vector: g(v) = vᵀ ∂y/∂x is linear in v, so the vector–Jacobian product of g with respect
  to v, seeded with the tangent of x, is ∂y/∂x · tangent. (The "double backward" way.)
- Hessian–vector: the delta of Σ (∂L/∂x · vector) with respect to x.
"""

from __future__ import annotations

from graphgrad.backprop.derive import derive
from graphgrad.errors import DeclarationError
from graphgrad.graph import Graph, Node, input
from graphgrad.ops import sum


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
    nodes = {"of": of, "wrt": wrt}
    graph = Graph({"of": of}, names={**nodes, **({} if seed is None else {"seed": seed})})
    return derive(graph, "of", [wrt], seed).delta("wrt")
