"""The leaves of a graph: what a user's data flows in by.

`input` is given anew at every run. `parameter` and `state` live between runs in a state that is
kept apart from the program: parameters are what training learns, states are what it remembers
beside them (the optimiser's moments, the step count). `iota` counts along an axis and is the source
of positions and causal masks. Every declaration of an input, parameter or state is a node of its
own: its attributes hold a number that no other declaration has. A graph in which two of them share
a name is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from numbers import Real
from typing import Any

from graphgrad.errors import DeclarationError
from graphgrad.graph.dimension import Dimension
from graphgrad.graph.front import operation
from graphgrad.graph.initial import ZEROS, Initial, full
from graphgrad.graph.node import Node, Operation, apply, constant
from graphgrad.graph.samples import sample
from graphgrad.graph.scope import Shared, current_origin, current_site, in_scope, scoped
from graphgrad.graph.types import FLOAT32, INT32, Shape, TensorType, as_dtype, as_shape, float_dtype

Sizes = int | str | Dimension | Iterable[int | str | Dimension]

_declarations = itertools.count()


def _infer_leaf(shape: Shape, dtype: Any, **_: Any) -> TensorType:
    return TensorType(shape, dtype)


def _compute_iota(xp: Any, out: Any, **_: Any) -> None:
    out[...] = xp.arange(out.shape[0], dtype=out.dtype)


@operation(infer=_infer_leaf, formula="x", arity=0)
def input(name: str, shape: Sizes = (), dtype: Any = None) -> Node:
    """A value given at every run. Text in `shape` names a dimension: `("batch", 3)`.

    It is fed by its name: of an input in a scope, the full one ("encoder.x"). Without `dtype` it is
    float32, or what `default_dtype` says.
    """
    return _leaf(input, name, shape, dtype, {})


@operation(infer=_infer_leaf, formula="w", arity=0)
def parameter(
    name: str, shape: Sizes = (), initial: Initial | float = ZEROS, dtype: Any = None
) -> Node:
    """A learned value. Its sizes are integers; `initial` says how a new run draws it: `normal(…)`,
    `uniform(…)`, `glorot_uniform(…)`, or a number for all elements."""
    return _leaf(parameter, name, shape, dtype, {"initial": initial})


@operation(infer=_infer_leaf, formula="s", arity=0)
def state(
    name: str, shape: Sizes = (), initial: Initial | float = ZEROS, dtype: Any = None
) -> Node:
    """A value that lives between runs and is not learned: a moment, a step count."""
    return _leaf(state, name, shape, dtype, {"initial": initial})


@operation(
    infer=_infer_leaf,
    formula="0, 1, 2, …",
    compute=_compute_iota,
    arity=0,
    samples=(sample(shape=(5,), dtype=INT32), sample(shape=(0,), dtype=FLOAT32)),
)
def iota(size: int | str | Dimension, dtype: Any = "int32", name: str | None = None) -> Node:
    """`[0, 1, …, size - 1]`, shape [size]."""
    (length,) = as_shape(size)
    return iota.node(shape=(length,), dtype=as_dtype(dtype), name=name)


LEAVES: tuple[Operation, ...] = (input, parameter, state, constant)
STATEFUL: tuple[Operation, ...] = (parameter, state)


def leaf_name(leaf: Node) -> str:
    """The full name under which an input is fed and a parameter or state is kept."""
    label: str = leaf.attributes["label"]
    return label


def _leaf(kind: Operation, name: str, shape: Sizes, dtype: Any, attributes: dict[str, Any]) -> Node:
    site = current_site()
    try:
        shape, dtype = as_shape(shape), float_dtype(dtype)
    except (TypeError, ValueError) as problem:
        raise DeclarationError(f"{kind.name} {name!r}: {problem}", current_origin()) from None
    if "initial" in attributes:
        attributes = {"initial": _initial(kind, name, attributes["initial"])}
    if kind is not input and any(isinstance(size, Dimension) for size in shape):
        raise DeclarationError(
            f"{kind.name} {name!r} has an unknown size in its shape {list(map(str, shape))}",
            current_origin(),
            "a value that lives between runs needs integers",
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
    """A new leaf, or the one that layers which share it have declared before."""
    if shared is None:
        with in_scope(scope):
            identity = {"label": scoped(name), "declaration": next(_declarations)}
            return apply(kind, (), {**identity, **meaning}, name)
    scope = shared.scope_of(scope)
    with in_scope(scope):
        full_name = scoped(name)
    known = shared.leaves.get(full_name)
    if known is None:
        known = _declared(kind, name, meaning, scope, shared.outer)
        shared.leaves[full_name] = known
    return known


def _initial(kind: Operation, name: str, initial: Any) -> Initial:
    """How the first value is drawn; a number is that of every element."""
    if isinstance(initial, Real) and not isinstance(initial, bool):
        return full(float(initial))
    if isinstance(initial, Initial):
        return initial
    raise DeclarationError(
        f"{kind.name} {name!r}: its first value is {type(initial).__name__}",
        current_origin(),
        "write a number, normal(0.02) or uniform(0.1); arrays are given to initial_state",
    )


def _need_same(known: Node, kind: Operation, meaning: dict[str, Any]) -> None:
    """DeclarationError where a shared parameter is declared as another one than the first time."""
    differing = [key for key, value in meaning.items() if known.attributes[key] != value]
    if known.operation is not kind or differing:
        raise DeclarationError(
            f"{leaf_name(known)!r} is shared as {known.operation.name} of type {known.type}; here "
            f"it is declared as {kind.name} with another {' and '.join(differing) or 'kind'}",
            current_origin(),
            "what layers share has one shape, dtype and first value; give other inputs a layer of "
            "their own",
        )
