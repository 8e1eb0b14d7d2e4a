"""The block of an operation: all that is said of it, in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphgrad.graph.samples import Sample
from graphgrad.graph.single import Single
from graphgrad.graph.types import TensorType


@dataclass(frozen=True, eq=False)
class Block(Single):
    """What an operation is made of: its formula, shape rule, delta rule, computation and samples.

    `infer(*types, **attributes)` gives the type of the result or raises ValueError with the reason.
    `delta(delta, y, *heads)` gives, for each head, the contribution that `y` sends back to it, as
    nodes, or None; `y.attributes` holds the attributes. A contribution may have the shape of `y`:
    axes along which the head was broadcast are summed by the deriving pass.
    `compute(xp, out, *heads, **attributes)` writes the result into `out`, allocating nothing, for
    any array module `xp` that follows NumPy; arrays named by `scratch` come as one more keyword.
    """

    name: str
    infer: Callable[..., TensorType]
    formula: str
    compute: Callable[..., object] | None = None
    delta: Callable[..., tuple[Any, ...]] | None = None
    delta_formula: str = ""
    samples: tuple[Sample, ...] = ()
    arity: int | None = None
    """How many heads; None where any number will do."""
    ufunc: str = ""
    """The NumPy ufunc that computes it, where one does: printed and called directly."""
    kernel: str = ""
    """The value of one element as an expression of `{0}`, `{1}`, …, for fused kernels."""
    view: Callable[..., Any] | None = None
    """Where the result is the head's memory seen otherwise: `view(x, **attributes)`."""
    scratch: Callable[..., tuple[TensorType, ...]] | None = None
    """Types of the working arrays that `compute` needs, from the same arguments as `infer`."""
    in_place: bool = False
    """Whether `out` may be the memory of a head of the same type."""
    commutative: bool = False
    one_dtype: bool = True
    """Whether a number or an array among the heads takes the dtype of the nodes beside it."""
