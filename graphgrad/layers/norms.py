"""Normalisation by the root of the mean square (Zhang and Sennrich 2019)."""

from __future__ import annotations

from graphgrad.graph import ONES, Node, parameter, scope
from graphgrad.graph.decorators import declares
from graphgrad.layers.basic import known_width
from graphgrad.ops import add, mean, multiply, rsqrt


@declares
def rms_norm(x: Node, name: str = "norm", epsilon: float = 1e-5) -> Node:
    """gain · x / √(mean x² + ε) over the last axis: `layer_norm` without μ and without a bias.

    The vector keeps its direction and gets the length √n, so a factor on x changes nothing but for
    ε. One sum over the axis is saved, forward and in the delta.
    """
    width = known_width(x)
    with scope(name):
        gain = parameter("gain", (width,), ONES, x.dtype)
        square = mean(multiply(x, x), -1, keepdims=True, name="mean_square")
        return multiply(multiply(x, rsqrt(add(square, epsilon)), name="standard"), gain, name="y")
