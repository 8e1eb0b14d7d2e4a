"""All operations. To add one, add its block to a family and its name to that family's list.

The test suite, the documentation and the higher layers iterate over `ALL_OPERATIONS`.
"""

from graphgrad.graph.infix import OPERATORS
from graphgrad.graph.leaves import iota
from graphgrad.graph.node import Operation, constant, extent
from graphgrad.ops import (
    arithmetic,
    attention,
    collectives,
    composite,
    contraction,
    frames,
    functions,
    indexing,
    movement,
    random,
    ranking,
    reduction,
    shares,
    slices,
    writing,
)
from graphgrad.ops.arithmetic import (
    absolute,
    add,
    cast,
    clip,
    divide,
    equal,
    is_finite,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    multiply,
    negative,
    not_equal,
    reciprocal,
    sign,
    stop_gradient,
    subtract,
    where,
)
from graphgrad.ops.attention import dot_product_attention
from graphgrad.ops.collectives import all_reduce
from graphgrad.ops.composite import (
    cross_entropy,
    half_squared_error,
    log_softmax,
    mean_over_targets,
    softmax,
    standardise,
)
from graphgrad.ops.contraction import matmul
from graphgrad.ops.custom import with_delta
from graphgrad.ops.filled import ones, ones_like, zeros, zeros_like
from graphgrad.ops.functions import (
    cos,
    erf,
    exp,
    expm1,
    gelu,
    gelu_tanh,
    identity,
    log,
    log1p,
    power,
    power_operator,
    relu,
    rsqrt,
    sigmoid,
    silu,
    sin,
    softplus,
    sqrt,
    tanh,
)
from graphgrad.ops.indexing import (
    gather,
    one_hot,
    put_along_axis,
    scatter_add,
    take_along_axis,
)
from graphgrad.ops.movement import (
    broadcast_to,
    expand_dims,
    reshape,
    squeeze,
    transpose,
)
from graphgrad.ops.random import dropout_mask
from graphgrad.ops.ranking import top
from graphgrad.ops.reduction import argmax, logsumexp, max, mean, min, sum, variance
from graphgrad.ops.shares import all_gather, broadcast, reduce_scatter
from graphgrad.ops.slices import concatenate, pad, slice, split, stack
from graphgrad.ops.writing import write_rows

FAMILIES = (
    arithmetic,
    functions,
    reduction,
    contraction,
    movement,
    slices,
    frames,
    indexing,
    ranking,
    writing,
    random,
    collectives,
    shares,
    composite,
    attention,
)

ALL_OPERATIONS: tuple[Operation, ...] = (
    constant,
    iota,
    extent,
    *(operation for family in FAMILIES for operation in family.OPERATIONS),
)

__all__ = [
    "ALL_OPERATIONS",
    "FAMILIES",
    "absolute",
    "add",
    "all_gather",
    "all_reduce",
    "argmax",
    "broadcast",
    "broadcast_to",
    "cast",
    "clip",
    "concatenate",
    "cos",
    "cross_entropy",
    "divide",
    "dot_product_attention",
    "dropout_mask",
    "equal",
    "erf",
    "exp",
    "expand_dims",
    "expm1",
    "gather",
    "gelu",
    "gelu_tanh",
    "half_squared_error",
    "identity",
    "is_finite",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "logsumexp",
    "matmul",
    "max",
    "maximum",
    "mean",
    "mean_over_targets",
    "min",
    "minimum",
    "multiply",
    "negative",
    "not_equal",
    "one_hot",
    "ones",
    "ones_like",
    "pad",
    "power",
    "put_along_axis",
    "reciprocal",
    "reduce_scatter",
    "relu",
    "reshape",
    "rsqrt",
    "scatter_add",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "slice",
    "softmax",
    "softplus",
    "split",
    "sqrt",
    "squeeze",
    "stack",
    "standardise",
    "stop_gradient",
    "subtract",
    "sum",
    "take_along_axis",
    "tanh",
    "top",
    "transpose",
    "variance",
    "where",
    "with_delta",
    "write_rows",
    "zeros",
    "zeros_like",
]

# the one late binding: Python's operators on nodes declare operations, which are imported later
OPERATORS.update({name: globals()[name] for name in __all__ if name.islower()})
OPERATORS["power"] = power_operator  # x ** 0.5 is a square root
