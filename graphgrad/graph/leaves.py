"""The leaves of a graph: what a user's data flows in by.

`input` is given anew at every run. `parameter` and `state` live between runs in a state that is
kept apart from the program: parameters are what training learns, states are what it remembers
beside them (the optimiser's moments, the step count). `iota` counts along an axis and is the source
of positions and causal masks; `extent` is a size as a number, the n of a mean. Every declaration of
an input, parameter or state is a node of its own; a graph in which two of them share a name is
refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from numbers import Real
from typing import Any

from graphgrad.errors import DeclarationError
from graphgrad.graph.dimension import Dimension
from graphgrad.graph.front import front
from graphgrad.graph.initial import ZEROS, Initial, full
from graphgrad.graph.node import CONSTANT, EXTENT, Node, Operation, apply, constant
from graphgrad.graph.samples import sample
from graphgrad.graph.scope import Shared, current_origin, current_place, in_scope, scoped
from graphgrad.graph.types import FLOAT32, INT32, Shape, TensorType, as_dtype, as_shape, float_dtype

Sizes = int | str | Dimension | Iterable[int | str | Dimension]

_declarations = itertools.count()


def _infer_leaf(shape: Shape, dtype: Any, **_: Any) -> TensorType:
    return TensorType(shape, dtype)


def _compute_iota(xp: Any, out: Any, **_: Any) -> None:
    out[...] = xp.arange(out.shape[0], dtype=out.dtype)


INPUT = Operation("input", _infer_leaf, "x", arity=0)
PARAMETER = Operation("parameter", _infer_leaf, "w", arity=0)
STATE = Operation("state", _infer_leaf, "s", arity=0)
IOTA = Operation(
    "iota",
    _infer_leaf,
    "0, 1, 2, …",
    _compute_iota,
    arity=0,
    samples=(sample(shape=(5,), dtype=INT32), sample(shape=(0,), dtype=FLOAT32)),
)

LEAVES = (INPUT, PARAMETER, STATE, CONSTANT)
STATEFUL = (PARAMETER, STATE)


def input(name: str, shape: Sizes = (), dtype: Any = None) -> Node:
    """A value given at every run. Text in `shape` names a dimension: `("batch", 3)`.

    It is fed by its name: of an input in a scope, the full one ("encoder.x"). Without `dtype` it is
    float32, or what `default_dtype` says.
    """
    return _leaf(INPUT, name, shape, dtype, {})


def parameter(
    name: str, shape: Sizes = (), initial: Initial | float = ZEROS, dtype: Any = None
) -> Node:
    """A learned value. Its sizes are integers; `initial` says how a new run draws it: `normal(…)`,
    `uniform(…)`, `glorot_uniform(…)`, or a number for all elements."""
    return _leaf(PARAMETER, name, shape, dtype, {"initial": initial})


def state(
    name: str, shape: Sizes = (), initial: Initial | float = ZEROS, dtype: Any = None
) -> Node:
    """A value that lives between runs and is not learned: a moment, a step count."""
    return _leaf(STATE, name, shape, dtype, {"initial": initial})


@front
def iota(size: int | str | Dimension, dtype: Any = "int32", name: str | None = None) -> Node:
    """`[0, 1, …, size - 1]`, shape [size]."""
    (length,) = as_shape(size)
    return apply(IOTA, (), {"shape": (length,), "dtype": as_dtype(dtype)}, name)


@front
def extent(size: int | str | Dimension, dtype: Any = None, name: str | None = None) -> Node:
    """The number `size` itself, as a scalar; a constant where it is known already."""
    (known,) = as_shape(size)
    dtype = float_dtype(dtype)
    if isinstance(known, int):
        return constant(known, dtype, name)
    return apply(EXTENT, (), {"size": known, "dtype": dtype}, name)


def leaf_name(leaf: Node) -> str:
    """The full name under which an input is fed and a parameter or state is kept."""
    return leaf.attributes["label"]


def _leaf(
    operation: Operation, name: str, shape: Sizes, dtype: Any, attributes: dict[str, Any]
) -> Node:
    place = current_place()
    try:
        shape, dtype = as_shape(shape), float_dtype(dtype)
    except (TypeError, ValueError) as problem:
        raise DeclarationError(f"{operation.name} {name!r}: {problem}", current_origin()) from None
    if "initial" in attributes:
        attributes = {"initial": _initial(operation, name, attributes["initial"])}
    if operation is not INPUT and any(isinstance(size, Dimension) for size in shape):
        raise DeclarationError(
            f"{operation.name} {name!r} has an unknown size in its shape {list(map(str, shape))}",
            current_origin(),
            "a value that lives between runs needs integers",
        )
    meaning = {"shape": shape, "dtype": dtype, **attributes}
    shared = None if operation is INPUT else place.shared
    known = _declared(operation, name, meaning, place.scope, shared)
    if shared is not None:
        _need_same(known, operation, meaning)
    return known


def _declared(
    operation: Operation, name: str, meaning: dict[str, Any], scope: str, shared: Shared | None
) -> Node:
    """A new leaf, or the one that layers which share it have declared before."""
    if shared is None:
        with in_scope(scope):
            identity = {"label": scoped(name), "declaration": next(_declarations)}
            return apply(operation, (), {**identity, **meaning}, name)
    scope = shared.scope_of(scope)
    with in_scope(scope):
        full_name = scoped(name)
    known = shared.leaves.get(full_name)
    if known is None:
        known = _declared(operation, name, meaning, scope, shared.outer)
        shared.leaves[full_name] = known
    return known


def _initial(operation: Operation, name: str, initial: Any) -> Initial:
    """How the first value is drawn; a number is that of every element."""
    if isinstance(initial, Real) and not isinstance(initial, bool):
        return full(float(initial))
    if isinstance(initial, Initial):
        return initial
    raise DeclarationError(
        f"{operation.name} {name!r}: its first value is {type(initial).__name__}",
        current_origin(),
        "write a number, normal(0.02) or uniform(0.1); arrays are given to initial_state",
    )


def _need_same(known: Node, operation: Operation, meaning: dict[str, Any]) -> None:
    """DeclarationError where a shared parameter is declared as another one than the first time."""
    differing = [key for key, value in meaning.items() if known.attributes[key] != value]
    if known.operation is not operation or differing:
        raise DeclarationError(
            f"{leaf_name(known)!r} is shared as {known.operation.name} of type {known.type}; here "
            f"it is declared as {operation.name} with another {' and '.join(differing) or 'kind'}",
            current_origin(),
            "what layers share has one shape, dtype and first value; give other inputs a layer of "
            "their own",
        )
