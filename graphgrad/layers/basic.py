"""Layers: small functions that declare nodes.

A layer is called in a scope and names its parameters in it, so `with scope("encoder.0")` is all
that tells one layer from the next. Declaring the same layers again in the same scopes, as a decoder
for use does after training, gives parameters of the same names, and the state of one fits the
other.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from graphgrad.errors import DeclarationError
from graphgrad.graph import ONES, ZEROS, Initial, Node, normal, parameter, scope
from graphgrad.graph.front import front
from graphgrad.graph.node_names import add_name
from graphgrad.graph.scope import current_origin, scoped
from graphgrad.ops import (
    add,
    dropout_mask,
    gelu,
    gelu_tanh,
    matmul,
    multiply,
    relu,
    sigmoid,
    silu,
    standardise,
    tanh,
)


def linear(x: Node, name: str | None = None) -> Node:
    """φ(x) = x: the same node, which answers to the name as well."""
    if name is not None:
        add_name(x, scoped(name))
    return x


ACTIVATIONS: dict[str, Callable[..., Node]] = {
    "linear": linear,
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
    """Where a model's dropout comes from: the seed and step as nodes, and a number for each place.

    `streams` counts the places in the order of declaration.
    """

    seed: Node
    step: Node
    streams: Iterator[int] = field(default_factory=itertools.count)


@front
def dense(
    x: Node,
    width: int,
    name: str = "dense",
    bias: bool = True,
    initial: Initial | None = None,
) -> Node:
    """x W + b over the last axis: [..., n] -> [..., width]. W is drawn from N(0, 1/n)."""
    inputs = known_width(x)
    with scope(name):
        weight = parameter("w", (inputs, width), initial or normal(inputs**-0.5), x.dtype)
        if not bias:
            return matmul(x, weight, name="a")
        offset = parameter("b", (width,), ZEROS, x.dtype)
        return add(matmul(x, weight, name="product"), offset, name="a")


@front
def layer_norm(x: Node, name: str = "norm", epsilon: float = 1e-5, bias: bool = True) -> Node:
    """Layer normalisation (Ba et al. 2016): gain · (x - μ) / √(σ² + ε) + bias over the last axis.

    σ² is the mean of the squares, (1/n) Σ (x_i - μ)²; the lecture's slide leaves out the 1/n.
    """
    width = known_width(x)
    with scope(name):
        gain = parameter("gain", (width,), ONES, x.dtype)
        if not bias:
            return multiply(standardise(x, epsilon, name="standard"), gain, name="y")
        offset = parameter("bias", (width,), ZEROS, x.dtype)
        standard = standardise(x, epsilon, name="standard")
        return add(multiply(standard, gain, name="scaled"), offset, name="y")


@front
def dropout(x: Node, rate: float, randomness: Randomness | None, name: str = "dropout") -> Node:
    """x · mask, where the mask is 0 with probability `rate` and 1 / (1 - rate) otherwise.

    Without a rate or without randomness, as in use after training, x itself.
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


@front
def feed_forward(
    x: Node,
    inner: int,
    activation: str = "relu",
    name: str = "feed_forward",
    bias: bool = True,
    initial: Initial | None = None,
    outer_initial: Initial | None = None,
) -> Node:
    """The position-wise network φ(x W₁ + b₁) W₂ + b₂ (Vaswani et al. 2017, equation 2)."""
    if activation not in ACTIVATIONS:
        raise DeclarationError(
            f"there is no activation {activation!r}",
            current_origin(),
            f"activations: {', '.join(ACTIVATIONS)}",
        )
    with scope(name):
        hidden = ACTIVATIONS[activation](dense(x, inner, "inner", bias, initial), name="z")
        return dense(hidden, known_width(x), "outer", bias, outer_initial)


def known_width(x: Node) -> int:
    """The size of the last axis, which a layer's parameters need to know."""
    width = x.shape[-1] if x.shape else None
    if not isinstance(width, int):
        raise DeclarationError(
            f"a layer needs an input whose last axis has a known size, not {x.type}",
            current_origin(),
        )
    return width
