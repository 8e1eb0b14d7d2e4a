"""graphgrad: declare a static graph, derive its deltas, optimise, plan, lower, run.

The names here are the public API; each comes from the module that documents it.
"""

from graphgrad.backprop import derive, hessian_vector, jacobian_vector, vector_jacobian
from graphgrad.compile import Compiled, compile, initial_state
from graphgrad.errors import GraphgradError
from graphgrad.graph import (
    Dimension,
    Graph,
    Node,
    Operation,
    constant,
    dimension,
    input,
    parameter,
    scope,
    state,
    verify,
)
from graphgrad.ops import *  # noqa: F403

__version__ = "0.1.0"

__all__ = [
    "Compiled", "Dimension", "Graph", "GraphgradError", "Node", "Operation", "compile", "constant",
    "derive", "dimension", "hessian_vector", "initial_state", "input", "jacobian_vector",
    "parameter", "scope", "state", "vector_jacobian", "verify",
]  # fmt: skip
