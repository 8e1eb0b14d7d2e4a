"""graphgrad: declare a static graph, derive its deltas, optimise, plan, lower, run.

    import graphgrad as gg

The names here are the public API: leaves and graphs, every operation, `derive` and the products
that come of it, `compile`. Each is documented in the module that it comes from.
"""

from graphgrad import layers, ops
from graphgrad.backprop import derive, hessian_vector, jacobian_vector, vector_jacobian
from graphgrad.compile import Compiled, compile, initial_state
from graphgrad.errors import GraphgradError
from graphgrad.graph import (
    Dimension,
    Graph,
    Node,
    Operation,
    alias,
    constant,
    default_dtype,
    dimension,
    extent,
    full,
    glorot_uniform,
    input,
    iota,
    normal,
    parameter,
    sample,
    scope,
    state,
    uniform,
    verify,
)
from graphgrad.ops import *  # noqa: F403
from graphgrad.passes.surgery import surgery

__version__ = "0.1.0"

__all__ = [
    "Compiled", "Dimension", "Graph", "GraphgradError", "Node", "Operation", "alias", "compile",
    "constant", "default_dtype", "derive", "dimension", "extent", "full", "glorot_uniform", "hessian_vector",
    "initial_state",
    "input", "iota", "jacobian_vector", "normal", "parameter", "sample", "scope", "state",
    "surgery", "uniform", "vector_jacobian", "verify",
]  # fmt: skip
__all__ += [name for name in ops.__all__ if name not in ("ALL_OPERATIONS", "FAMILIES")]
