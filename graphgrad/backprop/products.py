"""Computes gradients, and products with Jacobians and Hessians, all by the same delta rules.

- gradient: ∂y/∂x of a scalar y, by `derive`, as nodes that can be used in further operations.
- vector–Jacobian: vᵀ ∂y/∂x, by `derive` with the seed v.
- Jacobian–vector: g(v) = vᵀ ∂y/∂x is linear in v, so the vector–Jacobian product of g with respect
  to v, seeded with the tangent of x, is ∂y/∂x · tangent ("double backward").
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
    """∂y/∂x of the scalar y, with the shape of x; for several x a tuple, from one derivation.

    The gradient is a node like any other: it can be part of a loss (a gradient penalty, say) and be
    derived again. If y does not depend on x, it is zeros. Raises DeclarationError if y is not a
    scalar of floats or an argument is not a node.

    >>> x = gg.input("x", 3)
    >>> print(gg.grad((x * x).sum(), x).type)
    float32[3]
    """
    several = [x] if isinstance(x, Node) else list(x)
    if not all(isinstance(each, Node) for each in (y, *several)):
        raise DeclarationError(
            "grad(y, x) takes nodes",
            current_origin(),
            "derive(graph, of) finds the deltas of a graph by the names of its nodes",
        )
    found = _deltas(y, several, None)
    return found[0] if isinstance(x, Node) else tuple(found)


def vector_jacobian(y: Node, x: Node, vector: Node) -> Node:
    """vᵀ ∂y/∂x, with the shape of x; `vector`, v, has the shape of y.

    >>> x, w = gg.input("x", (4, 3)), gg.input("w", (3, 2))
    >>> print(gg.vector_jacobian(x @ w, x, gg.input("v", (4, 2))).type)
    float32[4, 3]
    """
    return _delta(y, x, vector)


def jacobian_vector(y: Node, x: Node, tangent: Node) -> Node:
    """∂y/∂x · tangent, with the shape of y; `tangent` has the shape of x.

    Raises DeclarationError if the tangent has another type than x.

    >>> x, w = gg.input("x", (4, 3)), gg.input("w", (3, 2))
    >>> print(gg.jacobian_vector(x @ w, x, gg.input("t", (4, 3))).type)
    float32[4, 2]
    """
    if tangent.type != x.type:
        raise DeclarationError(
            f"the tangent is {tangent.type}; the node that it belongs to is {x.type}"
        )
    cotangent = input(_free_name(y, x, tangent), y.shape, y.dtype)
    return _delta(_delta(y, x, cotangent), cotangent, tangent)


def hessian_vector(scalar: Node, x: Node, vector: Node) -> Node:
    """∂²L/∂x² · vector for the scalar L, with the shape of x, as `vector` has (Pearlmutter 1994).

    >>> x = gg.input("x", 3)
    >>> print(gg.hessian_vector(gg.sum(x * x * x), x, gg.input("v", 3)).type)
    float32[3]
    """
    return _delta(sum(_delta(scalar, x, None) * vector), x, None)


def _free_name(*nodes: Node) -> str:
    """A name for the cotangent that no leaf of these nodes has. The product is linear in the
    cotangent, so that is not part of the result."""
    graph, name = Graph(nodes), "cotangent"
    while name in graph.inputs or name in graph.states:
        name += "_"
    return name


def _delta(of: Node, wrt: Node, seed: Node | None) -> Node:
    return _deltas(of, [wrt], seed)[0]


def _deltas(of: Node, wrt: Sequence[Node], seed: Node | None) -> list[Node]:
    nodes = {"of": of, **{f"wrt.{number}": node for number, node in enumerate(wrt)}}
    graph = Graph({"of": of}, names={**nodes, **({} if seed is None else {"seed": seed})})
    return deltas_of(derive(graph, "of", wrt, seed), wrt)
