"""Operations and nodes: the two things a graph is made of.

An `Operation` is one block: name, formula, shape rule, delta rule, computation and samples stand
beside each other in `graphgrad.ops`, and nothing about an operation stands anywhere else. A `Node`
is an operation applied to its heads. Nodes are immutable and hash-consed: an operation with equal
heads and equal attributes is the same node, so a common subexpression cannot be written. Only
leaves that hold a user's data (inputs, parameters, states) are distinct each time they are
declared, so two models never share nodes and one cannot lend its names to the other.

A node knows its heads, never its tails: tails belong to a graph. Its names are labels that take no
part in its identity; a node that is declared twice answers to both names.
"""

from __future__ import annotations

import inspect
import itertools
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, ParamSpec
from weakref import WeakValueDictionary

import numpy as np

from graphgrad.display import Displayed
from graphgrad.errors import DeclarationError
from graphgrad.graph.arguments import misuse, node_parameters
from graphgrad.graph.arrays import Literal, given_operand, literal
from graphgrad.graph.attribute_key import attribute_key
from graphgrad.graph.block import Block
from graphgrad.graph.dimension import Dimension
from graphgrad.graph.infix import Infix, Sameness
from graphgrad.graph.manual import describe, operation_text, signature_of, typed_text
from graphgrad.graph.methods import Methods
from graphgrad.graph.node_names import add_name, refused, shown_name
from graphgrad.graph.samples import sample
from graphgrad.graph.scope import Origin, current_origin, current_site, scoped
from graphgrad.graph.single import Single
from graphgrad.graph.types import (
    FLOAT32,
    INT64,
    DType,
    Shape,
    TensorType,
    as_dtype,
    as_shape,
    float_dtype,
)

Parameters = ParamSpec("Parameters")
Delta = Callable[..., "tuple[Node | None, ...]"]
Operand = Any
"""What may stand where a node is meant: a node, a number, an array, a size. Beside nodes it takes
their dtype (`as_nodes`)."""


@dataclass(frozen=True, eq=False)
class Operation(Block):
    """An operation: its block, and the call that declares a node of it."""

    delta: Delta | None = None

    def __post_init__(self) -> None:
        describe(self, operation_text(self), signature_of(self))

    def node(self, *heads: Operand, name: str | None = None, **attributes: Any) -> Node:
        """The node on these heads with exactly these attributes, which are those of the shape rule.

        Numbers among the heads become constants; `name` defaults to the operation's.
        """
        return apply(self, heads, attributes, name)

    def __call__(self, *heads: Any, **attributes: Any) -> Node:
        """Declares the node; the keyword `name` names it."""
        name = attributes.pop("name", None)
        return apply(self, heads, attributes, name)

    def __repr__(self) -> str:
        return f"<operation {self.name}>"


@dataclass(frozen=True, eq=False, repr=False)
class TypedOperation(Operation, Generic[Parameters]):
    """An operation that is called by a signature of its own, as `softmax(x, axis=-1)`.

    A call runs `declare`, which checks its arguments, brings them to the one form that the block of
    the operation knows, and declares the node by `softmax.node(x, axis=1)`. It may give another
    node where that is the same value: `reshape` to the shape that x has is x.

    A copy with changes (`dataclasses.replace`) declares by its own `node`: its call would still run
    the function, which declares a node of the original.
    """

    declare: Callable[Parameters, Node] = field(kw_only=True)
    example: tuple[str, str] | None = field(default=None, kw_only=True)
    """A call on x, of shape [3, 4], and the type that it gives."""

    operands: tuple[tuple[str, int], ...] = field(init=False, repr=False)
    """The arguments that are nodes, by name and place."""

    def __post_init__(self) -> None:
        signature = inspect.signature(self.declare)
        describe(self, typed_text(self, self.declare, self.example), signature)
        object.__setattr__(self, "__module__", self.declare.__module__)
        object.__setattr__(self, "operands", node_parameters(signature))

    def __call__(self, *arguments: Parameters.args, **keywords: Parameters.kwargs) -> Node:
        declare: Callable[..., Node] = self.declare
        given: Sequence[Any] = arguments
        named: Mapping[str, Any] = keywords
        for _, place in self.operands:
            if place >= len(given) or not isinstance(given[place], Node):
                given, named = with_nodes(self.name, self.operands, given, named)
                break
        try:
            return declare(*given, **named)
        except (TypeError, ValueError) as problem:
            error = refusal(self.name, inspect.signature(self), given, named, problem)
            if error is None:
                raise
            raise error from None


class Node(Methods, Infix, Single, Displayed):
    """One value of a graph: an operation applied to its heads."""

    __slots__ = (
        "__weakref__",
        "asked",
        "attribute_key",
        "attributes",
        "heads",
        "names",
        "operation",
        "origin",
        "serial",
        "type",
    )

    operation: Operation
    heads: tuple[Node, ...]
    attributes: Mapping[str, Any]
    attribute_key: Hashable
    """What tells these attributes from others in hash-consing."""
    type: TensorType
    serial: int
    """Grows with every declaration, so heads have smaller serials than their tails."""
    names: tuple[str, ...]
    """The scoped names given so far; the default name (the operation's) where none was."""
    origin: Origin | None
    asked: str
    """The name by which a graph was last asked for the node; shown by `repr`, and only there."""

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def rank(self) -> int:
        return len(self.type.shape)

    @property
    def ndim(self) -> int:
        """The same under NumPy's name."""
        return len(self.type.shape)

    @property
    def size(self) -> int | Dimension:
        """The number of elements."""
        return self.type.size

    @property
    def name(self) -> str:
        """The first name; a graph may add a number to it to keep names apart."""
        return self.names[0]

    def __repr__(self) -> str:
        name = getattr(self, "asked", "") or shown_name(self)
        return f"<{name} = {self.operation.name} : {self.type}>"


_interned: WeakValueDictionary[Hashable, Node] = WeakValueDictionary()
_interned_lock = threading.Lock()
_serials = itertools.count()


def apply(
    operation: Operation, heads: tuple[Any, ...], attributes: Mapping[str, Any], name: str | None
) -> Node:
    """The node of `operation` on `heads`: the existing one where it was declared before."""
    nodes = as_nodes(operation, heads)
    key = operation, nodes, attribute_key(attributes)
    with _interned_lock:
        known = _interned.get(key)
        if known is not None:
            if name is not None:
                add_name(known, scoped(name))
            return known
    result_type = _infer(operation, nodes, attributes)
    return _interned_node(key, MappingProxyType(dict(attributes)), result_type, name)


def rebuilt(node: Node, heads: tuple[Node, ...]) -> Node:
    """The same operation with the same attributes on other heads.

    Where these have the types of the old ones, so has the result: it need not be inferred.
    """
    for old, new in zip(node.heads, heads, strict=True):
        if old.type is not new.type and old.type != new.type:
            return apply(node.operation, heads, node.attributes, None)
    key = node.operation, heads, node.attribute_key
    return _interned_node(key, node.attributes, node.type, None)


def _interned_node(
    key: tuple[Operation, tuple[Node, ...], Hashable],
    attributes: Mapping[str, Any],
    result_type: TensorType,
    name: str | None,
) -> Node:
    """The node of this operation, these heads and attributes: a new one where there is none."""
    with _interned_lock:
        node = _interned.get(key)  # another thread may have come first
        if node is None:
            node = Node.__new__(Node)
            node.operation, node.heads, node.attribute_key = key
            node.attributes, node.type, node.serial = attributes, result_type, next(_serials)
            node.names, node.origin = (scoped(name or node.operation.name),), current_origin()
            node.asked = ""
            _interned[key] = node
    return node


def as_nodes(operation: Operation, heads: tuple[Any, ...]) -> tuple[Node, ...]:
    """The heads as nodes: numbers and arrays become constants, sizes become numbers."""
    if operation.arity is not None and len(heads) != operation.arity:
        raise DeclarationError(
            f"{operation.name} takes {operation.arity} head(s), not {len(heads)}",
            current_origin(),
        )
    for head in heads:
        if not isinstance(head, Node):
            break
    else:
        return heads
    dtype = None
    if operation.one_dtype:
        dtypes = [head.dtype for head in heads if isinstance(head, Node)]
        dtype = next((each for each in dtypes if each.kind != "b"), None)
    return tuple(as_node(head, operation.name, dtype) for head in heads)


def as_node(value: Any, what: str, dtype: DType | None = None) -> Node:
    """The operand `value` of the operation called `what`, beside nodes of `dtype`.

    Numbers, arrays and sizes take that dtype, as what is fed to an input takes the input's; a
    float never becomes an integer, and a truth value never a number.
    """
    if isinstance(value, Node):
        return value
    if type(value) is float and dtype is not None and dtype.kind == "f":
        return _constant(value, dtype)  # as almost always
    if isinstance(value, Sameness):
        value.refuse()
    if isinstance(value, Dimension):
        number = dtype or as_dtype("int32")
        return apply(extent, (), {"size": value, "dtype": number}, None)
    return _constant(*given_operand(value, what, dtype))


def _infer(
    operation: Operation, heads: tuple[Node, ...], attributes: Mapping[str, Any]
) -> TensorType:
    types = [head.type for head in heads]
    try:
        return operation.infer(*types, **attributes)
    except ValueError as problem:
        raise refused(operation.name, heads, problem) from None
    except TypeError:
        wrong = misuse(signature_of(operation), heads, attributes)
        if wrong is None:  # a fault of the rule itself
            raise
        raise refused(operation.name, heads, wrong) from None


def with_nodes(
    what: str,
    operands: tuple[tuple[str, int], ...],
    arguments: Sequence[Any],
    keywords: Mapping[str, Any],
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of the function called `what`, with nodes where it takes nodes."""
    given, named = list(arguments), dict(keywords)
    for name, place in operands:
        if place < len(given):
            given[place] = as_node(given[place], what)
        elif name in named:
            named[name] = as_node(named[name], what)
    return given, named


def refusal(
    what: str,
    signature: inspect.Signature,
    arguments: Sequence[Any],
    keywords: Mapping[str, Any],
    problem: TypeError | ValueError,
) -> DeclarationError | None:
    """The error for a call that raised `problem`; None where that is a fault of the function."""
    wrong = misuse(signature, arguments, keywords) if isinstance(problem, TypeError) else problem
    if wrong is None:
        return None
    listed = (
        item
        for each in (*arguments, *keywords.values())
        for item in (each if isinstance(each, list | tuple) else [each])
    )
    return refused(what, (item for item in listed if isinstance(item, Node)), wrong)


# ---------------------------------------------------------------- known values


def _infer_constant(value: Literal) -> TensorType:
    return TensorType(value.array.shape, value.array.dtype)


def _constant(value: Any, dtype: Any = None, name: str | None = None) -> Node:
    """A node whose value is known: a number or an array (copied, so later changes do not show).

    Python floats become float32 (or what `default_dtype` says), integers int32 and booleans bool
    unless `dtype` says otherwise; NumPy's scalars and arrays keep their own dtype.
    """
    if dtype is None and type(value) is float:
        dtype = current_site().dtype
    try:
        return apply(constant, (), {"value": literal(value, dtype)}, name)
    except ValueError as problem:
        reason, _, fix = str(problem).partition("; fix: ")
        raise DeclarationError(
            f"constant({value!r:.60}): {reason}", current_origin(), fix
        ) from None


constant = TypedOperation(
    "constant",
    _infer_constant,
    "c",
    arity=0,
    samples=(
        sample(value=Literal(np.arange(6.0).reshape(2, 3))),
        sample(value=Literal(np.array(True))),
    ),
    declare=_constant,
)


def _infer_extent(size: int | Dimension, dtype: DType) -> TensorType:
    return TensorType((), dtype)


def _compute_extent(xp: Any, out: Any, size: int, dtype: DType) -> None:
    out.fill(size)


def _extent(size: int | str | Dimension, dtype: Any = None, name: str | None = None) -> Node:
    """The number `size` itself, as a scalar; a constant where it is known already."""
    (known,) = as_shape(size)
    dtype = float_dtype(dtype)
    if isinstance(known, int):
        return _constant(known, dtype, name)
    return apply(extent, (), {"size": known, "dtype": dtype}, name)


extent = TypedOperation(
    "extent",
    _infer_extent,
    "n",
    _compute_extent,
    arity=0,
    samples=(sample(size=7, dtype=FLOAT32), sample(size=0, dtype=INT64)),
    declare=_extent,
)
