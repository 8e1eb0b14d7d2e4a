"""Backpropagation: derives the deltas of a graph, gradients, and products with Jacobians."""

from graphgrad.backprop.derive import deltas_of, derive, has_deltas, is_derived_from
from graphgrad.backprop.products import grad, hessian_vector, jacobian_vector, vector_jacobian

__all__ = [
    "deltas_of",
    "derive",
    "grad",
    "has_deltas",
    "hessian_vector",
    "is_derived_from",
    "jacobian_vector",
    "vector_jacobian",
]
