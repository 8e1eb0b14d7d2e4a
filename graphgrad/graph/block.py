"""The block of an operation: formula, rules, computation and samples in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphgrad.graph.samples import Sample
from graphgrad.graph.single import Single
from graphgrad.graph.types import TensorType


@dataclass(frozen=True, eq=False)
class Block(Single):
    """The block of an operation: its formula, shape rule, delta rule, computation and samples.

    `infer(*types, **attributes)` returns the type of the result or raises ValueError with the
    reason. `delta(delta, y, *heads)` returns the contribution of `y` to each head as a node, or
    None for no contribution; `y.attributes` holds the attributes. A contribution may have the shape
    of `y`: `derive` sums the axes along which the head was broadcast.
    `compute(xp, out, *heads, **attributes)` writes the result into `out` without allocating, for
    any array module `xp` that follows NumPy; the arrays of `scratch` are passed by that keyword.
    """

    name: str
    infer: Callable[..., TensorType]
    formula: str
    compute: Callable[..., object] | None = None
    delta: Callable[..., tuple[Any, ...]] | None = None
    delta_formula: str = ""
    samples: tuple[Sample, ...] = ()
    arity: int | None = None
    """The number of heads; None for any number."""
    ufunc: str = ""
    """The name of the NumPy ufunc that computes it, if there is one: it is called directly."""
    kernel: str = ""
    """The value of one element as an expression of `{0}`, `{1}`, …, for fused kernels."""
    view: Callable[..., Any] | None = None
    """`view(x, **attributes)`: set if the result is a view of the head's memory."""
    scratch: Callable[..., tuple[TensorType, ...]] | None = None
    """Types of the working arrays that `compute` needs, from the same arguments as `infer`."""
    in_place: bool = False
    """Whether `out` may be the memory of a head of the same type."""
    commutative: bool = False
    collective: bool = False
    """Whether the value depends on other ranks too: it is computed where and as often as it is
    declared, even of constants."""
    reads: int | None = None
    """How many of its heads it reads, the first ones; the others only come before it. None: all."""
    takes_halves: bool = False
    """Whether heads may have floats of 16 bits: they are stored, moved and multiplied as matrices,
    and cast for all else."""
    one_dtype: bool = True
    """Whether a number or an array among the heads takes the dtype of the nodes beside it."""
