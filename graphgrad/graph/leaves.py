"""Inputs, parameters, states and constants: the leaves of a graph.

The value of an `input` is passed to every run. The values of parameters and states are kept between
runs, separately from the program: parameters are learned, states are everything else that training
needs to keep (the optimiser's moments, the step count). `iota` counts along an axis and is the
source of positions and causal masks. Every declaration of an input, parameter or state is a node of
its own: its attributes hold a number that no other declaration has. Two of them may not share a
name in one graph.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from numbers import Real
from typing import Any

from graphgrad.errors import DeclarationError
from graphgrad.graph.decorators import operation
from graphgrad.graph.dimension import Dimension
from graphgrad.graph.initial import ZEROS, Initial, full
from graphgrad.graph.node import Node, Operation, constant, make_node
from graphgrad.graph.samples import sample
from graphgrad.graph.scope import Shared, current_origin, current_site, in_scope, scoped
from graphgrad.graph.types import (
    FLOAT32,
    HALVES,
    INT32,
    Shape,
    TensorType,
    as_dtype,
    as_shape,
    float_dtype,
)

Sizes = int | str | Dimension | Iterable[int | str | Dimension]

_declarations = itertools.count()


def _infer_leaf(shape: Shape, dtype: Any, **_: Any) -> TensorType:
    return TensorType(shape, dtype)


def _compute_iota(xp: Any, out: Any, **_: Any) -> None:
    out[...] = xp.arange(out.shape[0], dtype=out.dtype)


@operation(infer=_infer_leaf, formula="x", arity=0)
def input(name: str, shape: Sizes = (), dtype: Any = None) -> Node:
    """A value that is passed to every run, by its full name (in a scope: "encoder.x").

    `shape` is one size or several: integers, dimensions, or text that names a dimension. The dtype
    is float32 by default, or that of `default_dtype`. Raises DeclarationError for a shape or dtype
    that is not valid.

    >>> gg.input("x", ("batch", 3))
    <x = input : float32[batch, 3]>
    """
    return _leaf(input, name, shape, dtype, {})


@operation(infer=_infer_leaf, formula="w", arity=0)
def parameter(
    name: str, shape: Sizes = (), initial: Initial | float = ZEROS, dtype: Any = None
) -> Node:
    """A learned value, whose sizes are integers.

    `initial` is the distribution of its initial value, `normal(…)`, `uniform(…)` or
    `glorot_uniform(…)`, or one number for all elements. The dtype is float32 by default, or that of
    `default_dtype`. Raises DeclarationError for a shape, dtype or initial value that is not valid.

    >>> gg.parameter("w", (3, 2), gg.normal(0.02))
    <w = parameter : float32[3, 2]>
    """
    return _leaf(parameter, name, shape, dtype, {"initial": initial})


@operation(infer=_infer_leaf, formula="s", arity=0)
def state(
    name: str, shape: Sizes = (), initial: Initial | float = ZEROS, dtype: Any = None
) -> Node:
    """A value that is kept between runs and not learned: a moment, a step count.

    The arguments are those of `parameter`. `Graph(outputs, updates={state: node})` gives it its
    next value.

    >>> step = gg.state("step", (), 0, "int32")
    >>> run = gg.compile(gg.Graph({"step": step}, updates={step: step + 1}))
    >>> kept = gg.initial_state(run.graph)
    >>> _ = run(kept)
    >>> int(run(kept)["step"])
    1
    """
    return _leaf(state, name, shape, dtype, {"initial": initial})


@operation(
    infer=_infer_leaf,
    formula="0, 1, 2, …",
    compute=_compute_iota,
    arity=0,
    samples=(sample(shape=(5,), dtype=INT32), sample(shape=(0,), dtype=FLOAT32)),
)
def iota(size: int | str | Dimension, dtype: Any = "int32", name: str | None = None) -> Node:
    """`[0, 1, …, size - 1]`, with the shape [size]. The size may be a named dimension.

    >>> gg.compile(gg.Graph({"y": gg.iota(4)}))()["y"]
    array([0, 1, 2, 3], dtype=int32)
    """
    (length,) = as_shape(size)
    return iota.node(shape=(length,), dtype=as_dtype(dtype), name=name)


LEAVES: tuple[Operation, ...] = (input, parameter, state, constant)
STATEFUL: tuple[Operation, ...] = (parameter, state)


def leaf_name(leaf: Node) -> str:
    """The full name under which an input is fed and a parameter or state is stored."""
    label: str = leaf.attributes["label"]
    return label


def _leaf(kind: Operation, name: str, shape: Sizes, dtype: Any, attributes: dict[str, Any]) -> Node:
    site = current_site()
    try:
        shape, dtype = as_shape(shape), float_dtype(dtype)
    except (TypeError, ValueError) as problem:
        raise DeclarationError(f"{kind.name} {name!r}: {problem}", current_origin()) from None
    if kind is not input and dtype in HALVES:
        raise DeclarationError(
            f"{kind.name} {name!r} is {dtype}: what is kept between runs is float32 or float64",
            current_origin(),
            f"declare it as float32 and cast it where it is read: cast(w, {str(dtype)!r}); "
            "compile(…, precision=…) does so for all matrix products",
        )
    if "initial" in attributes:
        attributes = {"initial": _initial(kind, name, attributes["initial"])}
    if kind is not input and any(isinstance(size, Dimension) for size in shape):
        raise DeclarationError(
            f"{kind.name} {name!r} has an unknown size in its shape {list(map(str, shape))}",
            current_origin(),
            "a value that is kept between runs needs integers",
        )
    meaning = {"shape": shape, "dtype": dtype, **attributes}
    shared = None if kind is input else site.shared
    known = _declared(kind, name, meaning, site.scope, shared)
    if shared is not None:
        _need_same(known, kind, meaning)
    return known


def _declared(
    kind: Operation, name: str, meaning: dict[str, Any], scope: str, shared: Shared | None
) -> Node:
    """A new leaf, or the existing one in a further use of layers that share their parameters."""
    if shared is None:
        with in_scope(scope):
            identity = {"label": scoped(name), "declaration": next(_declarations)}
            return make_node(kind, (), {**identity, **meaning}, name)
    scope = shared.scope_of(scope)
    with in_scope(scope):
        full_name = scoped(name)
    known = shared.leaves.get(full_name)
    if known is None:
        known = _declared(kind, name, meaning, scope, shared.outer)
        shared.leaves[full_name] = known
    return known


def _initial(kind: Operation, name: str, initial: Any) -> Initial:
    """The distribution of the initial value; a number is the value of all elements."""
    if isinstance(initial, Real) and not isinstance(initial, bool):
        return full(float(initial))
    if isinstance(initial, Initial):
        return initial
    raise DeclarationError(
        f"{kind.name} {name!r}: its initial value is {type(initial).__name__}",
        current_origin(),
        "write a number, normal(0.02) or uniform(0.1); arrays are passed to initial_state",
    )


def _need_same(known: Node, kind: Operation, meaning: dict[str, Any]) -> None:
    """Raises DeclarationError if a shared leaf is not declared as in its first use."""
    differing = [key for key, value in meaning.items() if known.attributes[key] != value]
    if known.operation is not kind or differing:
        raise DeclarationError(
            f"{leaf_name(known)!r} is shared as {known.operation.name} of type {known.type}; here "
            f"it is declared as {kind.name} with another {' and '.join(differing) or 'kind'}",
            current_origin(),
            "shared values have one shape, dtype and initial value; give other inputs a layer of "
            "their own",
        )
