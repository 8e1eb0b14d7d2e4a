"""Declares normalisation by the root of the mean square (Zhang and Sennrich 2019)."""

from __future__ import annotations

from graphgrad.graph import ONES, Node, parameter, scope
from graphgrad.graph.decorators import declares
from graphgrad.layers.basic import known_width
from graphgrad.ops import add, mean, multiply, rsqrt


@declares
def rms_norm(x: Node, name: str = "norm", epsilon: float = 1e-5) -> Node:
    """gain · x / √(mean x² + ε) over the last axis: `layer_norm` without μ and without a bias.

    The shape of x, [..., n], does not change; the parameter `name.gain` [n] starts at 1. The result
    has the direction of x and, before the gain, the length √n, so a factor on x cancels, up to ε.
    It computes one sum less than `layer_norm`, forwards and backwards. Raises DeclarationError
    where the size of the last axis is open. Source: Zhang and Sennrich 2019, equation 4.

    >>> import graphgrad as gg
    >>> y = gg.layers.rms_norm(gg.input("x", ("batch", 4)))
    >>> state = gg.initial_state(gg.Graph({"y": y}))
    >>> gg.compile(gg.Graph({"y": y}))(state, x=[[7.0, -1.0, 7.0, 1.0]])["y"].round(3)
    array([[ 1.4, -0.2,  1.4,  0.2]], dtype=float32)
    """
    width = known_width(x)
    with scope(name):
        gain = parameter("gain", (width,), ONES, x.dtype)
        square = mean(multiply(x, x), -1, keepdims=True, name="mean_square")
        return multiply(multiply(x, rsqrt(add(square, epsilon)), name="standard"), gain, name="y")
