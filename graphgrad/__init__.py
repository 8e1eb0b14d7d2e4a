"""graphgrad: declare a static graph, derive its deltas, optimise, plan, lower, run.

    import graphgrad as gg

The names of this page are the public API: `dir(gg)` lists them and nothing else, and
`help(gg.tanh)` explains one. They are the names of NumPy (`sum`, `where`, `zeros`), or otherwise of
PyTorch and JAX (`softmax`, `grad`, `adam`, `save`).

declare: leaves and scopes
    Dimension alias constant default_dtype dimension extent input iota parameter scope state
    zeros zeros_like ones ones_like
initial values of parameters
    Initial full glorot_uniform normal uniform
arithmetic, comparison and choice
    absolute add cast clip divide equal is_finite less less_equal logical_and logical_not
    logical_or maximum minimum multiply negative not_equal reciprocal sign stop_gradient
    subtract where
elementwise functions
    cos erf exp expm1 gelu gelu_tanh identity log log1p power relu rsqrt sigmoid silu sin softplus
    sqrt tanh
over axes
    argmax logsumexp max mean min sum top variance matmul
shapes
    broadcast_to concatenate expand_dims pad reshape slice split squeeze stack transpose
by index
    gather one_hot put_along_axis scatter_add take_along_axis write_rows
softmax, losses, dropout
    cross_entropy half_squared_error log_softmax mean_over_targets softmax standardise
    dropout_mask dot_product_attention
operations and delta rules of your own
    Operation TensorType elementwise sample with_delta
ranks: one batch, several processes
    all_gather all_reduce broadcast reduce_scatter shard_states split_batch
graphs and deltas
    Graph Node derive grad hessian_vector jacobian_vector mixed_precision surgery vector_jacobian
    verify
research: values and deltas at named places
    activation_patching attribution backward_lens logit_lens substituted watch
run
    Compiled compile initial_state
train
    adam adamw fit load momentum save sgd
errors
    CheckpointError DataError DeclarationError GraphgradError NonFiniteError UnknownNameError
more of each kind
    data layers training

Layers, readers of text and the parts of a model file are in `gg.layers`, `gg.data` and
`gg.training`, which are imported with graphgrad: they take less than a tenth of its import time.
"""

from graphgrad import data, layers, training
from graphgrad.backprop import derive, grad, hessian_vector, jacobian_vector, vector_jacobian
from graphgrad.compile import Compiled, compile
from graphgrad.errors import (
    CheckpointError,
    DataError,
    DeclarationError,
    GraphgradError,
    NonFiniteError,
    UnknownNameError,
)
from graphgrad.graph import (
    Dimension,
    Graph,
    Initial,
    Node,
    Operation,
    TensorType,
    alias,
    constant,
    default_dtype,
    dimension,
    extent,
    full,
    glorot_uniform,
    initial_state,
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
from graphgrad.interpret import (
    activation_patching,
    attribution,
    backward_lens,
    logit_lens,
    substituted,
    watch,
)
from graphgrad.ops import (
    absolute,
    add,
    all_gather,
    all_reduce,
    argmax,
    broadcast,
    broadcast_to,
    cast,
    clip,
    concatenate,
    cos,
    cross_entropy,
    divide,
    dot_product_attention,
    dropout_mask,
    equal,
    erf,
    exp,
    expand_dims,
    expm1,
    gather,
    gelu,
    gelu_tanh,
    half_squared_error,
    identity,
    is_finite,
    less,
    less_equal,
    log,
    log1p,
    log_softmax,
    logical_and,
    logical_not,
    logical_or,
    logsumexp,
    matmul,
    max,
    maximum,
    mean,
    mean_over_targets,
    min,
    minimum,
    multiply,
    negative,
    not_equal,
    one_hot,
    ones,
    ones_like,
    pad,
    power,
    put_along_axis,
    reciprocal,
    reduce_scatter,
    relu,
    reshape,
    rsqrt,
    scatter_add,
    sigmoid,
    sign,
    silu,
    sin,
    slice,
    softmax,
    softplus,
    split,
    sqrt,
    squeeze,
    stack,
    standardise,
    stop_gradient,
    subtract,
    sum,
    take_along_axis,
    tanh,
    top,
    transpose,
    variance,
    where,
    with_delta,
    write_rows,
    zeros,
    zeros_like,
)
from graphgrad.ops.rules import elementwise
from graphgrad.passes.precision import mixed_precision
from graphgrad.passes.shard_states import shard_states
from graphgrad.passes.split_batch import split_batch
from graphgrad.passes.surgery import surgery
from graphgrad.training import adam, adamw, fit, load, momentum, save, sgd

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "Compiled",
    "DataError",
    "DeclarationError",
    "Dimension",
    "Graph",
    "GraphgradError",
    "Initial",
    "Node",
    "NonFiniteError",
    "Operation",
    "TensorType",
    "UnknownNameError",
    "absolute",
    "activation_patching",
    "adam",
    "adamw",
    "add",
    "alias",
    "all_gather",
    "all_reduce",
    "argmax",
    "attribution",
    "backward_lens",
    "broadcast",
    "broadcast_to",
    "cast",
    "clip",
    "compile",
    "concatenate",
    "constant",
    "cos",
    "cross_entropy",
    "data",
    "default_dtype",
    "derive",
    "dimension",
    "divide",
    "dot_product_attention",
    "dropout_mask",
    "elementwise",
    "equal",
    "erf",
    "exp",
    "expand_dims",
    "expm1",
    "extent",
    "fit",
    "full",
    "gather",
    "gelu",
    "gelu_tanh",
    "glorot_uniform",
    "grad",
    "half_squared_error",
    "hessian_vector",
    "identity",
    "initial_state",
    "input",
    "iota",
    "is_finite",
    "jacobian_vector",
    "layers",
    "less",
    "less_equal",
    "load",
    "log",
    "log1p",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "logit_lens",
    "logsumexp",
    "matmul",
    "max",
    "maximum",
    "mean",
    "mean_over_targets",
    "min",
    "minimum",
    "mixed_precision",
    "momentum",
    "multiply",
    "negative",
    "normal",
    "not_equal",
    "one_hot",
    "ones",
    "ones_like",
    "pad",
    "parameter",
    "power",
    "put_along_axis",
    "reciprocal",
    "reduce_scatter",
    "relu",
    "reshape",
    "rsqrt",
    "sample",
    "save",
    "scatter_add",
    "scope",
    "sgd",
    "shard_states",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "slice",
    "softmax",
    "softplus",
    "split",
    "split_batch",
    "sqrt",
    "squeeze",
    "stack",
    "standardise",
    "state",
    "stop_gradient",
    "substituted",
    "subtract",
    "sum",
    "surgery",
    "take_along_axis",
    "tanh",
    "top",
    "training",
    "transpose",
    "uniform",
    "variance",
    "vector_jacobian",
    "verify",
    "watch",
    "where",
    "with_delta",
    "write_rows",
    "zeros",
    "zeros_like",
]


def __dir__() -> list[str]:
    """The public names, without the modules that were imported for them."""
    return sorted([*__all__, "__version__"])
