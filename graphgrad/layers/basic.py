"""Layers: small functions that declare nodes.

A layer names its parameters in the scope in which it is called, so `with scope("encoder.0")` is all
that distinguishes one layer from the next. Declaring the same layers again in the same scopes, as a
decoder does after training, gives parameters of the same names, so the state of one model fits the
other.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from graphgrad.errors import DeclarationError
from graphgrad.graph import ONES, ZEROS, Initial, Node, alias, normal, parameter, scope
from graphgrad.graph.decorators import declares
from graphgrad.graph.scope import current_origin
from graphgrad.ops import (
    add,
    dropout_mask,
    gelu,
    gelu_tanh,
    identity,
    matmul,
    multiply,
    relu,
    sigmoid,
    silu,
    standardise,
    tanh,
)

ACTIVATIONS: dict[str, Callable[..., Node]] = {
    "linear": identity,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "relu": relu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": silu,
}
"""The activation functions φ by name."""


@dataclass(frozen=True)
class Randomness:
    """The source of a model's dropout: its seed and step as nodes, and a number for each mask.

    `seed` and `step` are int64 scalars; `streams` numbers the dropout layers in the order in which
    they are declared, so that no two share a mask. `gg.training.randomness_of_run()` makes one from
    the states of a training run.

    >>> import graphgrad as gg
    >>> randomness = gg.layers.Randomness(gg.constant(0), gg.input("step", (), "int64"))
    >>> print(gg.layers.dropout(gg.input("x", ("batch", 4)), 0.1, randomness))
    <dropout.y = multiply : float32[batch, 4]>
    """

    seed: Node
    step: Node
    streams: Iterator[int] = field(default_factory=itertools.count)


@declares
def dense(
    x: Node,
    width: int,
    name: str = "dense",
    bias: bool = True,
    initial: Initial | None = None,
    symbol: str | None = None,
) -> Node:
    """x W + b over the last axis: [..., n] -> [..., width].

    Declares the parameters `name.w` [n, width], drawn from `initial` (by default N(0, 1/n)), and,
    with `bias`, `name.b` [width], which starts at 0. `symbol` is a further name of the matrix, by
    which formulas and pictures call it ("W_Q"); it is stored as `name.w`. Raises DeclarationError
    where the size of the last axis of x is open.

    >>> import graphgrad as gg
    >>> a = gg.layers.dense(gg.input("x", ("batch", 3)), 5, "hidden")
    >>> print(a.type)
    float32[batch, 5]
    >>> list(gg.Graph(a).parameters)
    ['hidden.w', 'hidden.b']
    """
    inputs = known_width(x)
    with scope(name):
        weight = parameter("w", (inputs, width), initial or normal(inputs**-0.5), x.dtype)
        if symbol is not None:
            alias(weight, symbol)
        if not bias:
            return matmul(x, weight, name="a")
        offset = parameter("b", (width,), ZEROS, x.dtype)
        return add(matmul(x, weight, name="product"), offset, name="a")


@declares
def layer_norm(x: Node, name: str = "norm", epsilon: float = 1e-5, bias: bool = True) -> Node:
    """Layer normalisation (Ba et al. 2016): gain · (x - μ) / √(σ² + ε) + bias over the last axis.

    σ² is the mean of the squares, (1/n) Σ (x_i - μ)²; the lecture's slide leaves out the 1/n. The
    shape of x does not change; the parameters `name.gain` (ones) and `name.bias` (zeros) are [n].

    >>> import graphgrad as gg
    >>> y = gg.layers.layer_norm(gg.input("x", ("batch", 4)))
    >>> state = gg.initial_state(gg.Graph({"y": y}))
    >>> gg.compile(gg.Graph({"y": y}))(state, x=[[1.0, 1.0, 3.0, 3.0]])["y"].round(3)
    array([[-1., -1.,  1.,  1.]], dtype=float32)
    """
    width = known_width(x)
    with scope(name):
        gain = parameter("gain", (width,), ONES, x.dtype)
        if not bias:
            return multiply(standardise(x, epsilon, name="standard"), gain, name="y")
        offset = parameter("bias", (width,), ZEROS, x.dtype)
        standard = standardise(x, epsilon, name="standard")
        return add(multiply(standard, gain, name="scaled"), offset, name="y")


@declares
def dropout(x: Node, rate: float, randomness: Randomness | None, name: str = "dropout") -> Node:
    """x · mask, where the mask is 0 with probability `rate` and 1 / (1 - rate) otherwise.

    The mask has the shape of x and changes with the step (Srivastava et al. 2014). With the rate 0
    or without randomness, as in use after training, the result is x itself.

    >>> import graphgrad as gg
    >>> x = gg.input("x", ("batch", 4))
    >>> gg.layers.dropout(x, 0.1, None) is x
    True
    >>> print(gg.layers.dropout(x, 0.1, gg.training.randomness_of_run()).type)
    float32[batch, 4]
    """
    if not rate or randomness is None:
        return x
    with scope(name):
        mask = dropout_mask(
            randomness.seed,
            randomness.step,
            x.shape,
            rate,
            next(randomness.streams),
            x.dtype,
            name="mask",
        )
        return multiply(x, mask, name="y")


@declares
def feed_forward(
    x: Node,
    inner: int,
    activation: str = "relu",
    name: str = "feed_forward",
    bias: bool = True,
    initial: Initial | None = None,
    outer_initial: Initial | None = None,
    rate: float = 0.0,
    randomness: Randomness | None = None,
) -> Node:
    """The position-wise network φ(x W₁ + b₁) W₂ + b₂ (Vaswani et al. 2017, equation 2).

    [..., n] -> [..., inner] -> [..., n], with the parameters of the dense layers `inner` and
    `outer` in the scope `name`. `activation` is a key of `gg.layers.ACTIVATIONS`; raises
    DeclarationError for any other. With a `rate` and `randomness` there is dropout on the hidden
    layer (`dropout`).

    >>> import graphgrad as gg
    >>> y = gg.layers.feed_forward(gg.input("x", ("batch", 8)), 32, activation="gelu")
    >>> print(y.type, list(gg.Graph(y).parameters)[:2])
    float32[batch, 8] ['feed_forward.inner.w', 'feed_forward.inner.b']
    """
    if activation not in ACTIVATIONS:
        raise DeclarationError(
            f"there is no activation {activation!r}",
            current_origin(),
            f"activations: {', '.join(ACTIVATIONS)}",
        )
    with scope(name):
        hidden = ACTIVATIONS[activation](dense(x, inner, "inner", bias, initial), name="z")
        hidden = dropout(hidden, rate, randomness, "inner_dropout")
        return dense(hidden, known_width(x), "outer", bias, outer_initial)


def known_width(x: Node) -> int:
    """The size of the last axis. Raises DeclarationError where it is open or there is no axis."""
    width = x.shape[-1] if x.shape else None
    if not isinstance(width, int):
        raise DeclarationError(
            f"a layer needs an input whose last axis has a known size, not {x.type}",
            current_origin(),
        )
    return width
