"""Operations and nodes, the parts of a graph.

An `Operation` is one block in `graphgrad.ops`: name, formula, shape rule, delta rule, computation
and samples. A `Node` is an operation applied to its heads. Nodes are immutable and hash-consed: an
operation with equal heads and equal attributes is the same node, so there are no common
subexpressions. Only leaves with a user's data (inputs, parameters, states) are distinct each time
they are declared, so two models never share nodes that depend on data.

A node stores its heads, not its tails: tails belong to a graph. Names are labels and not part of
the identity of a node; a node that is declared twice has both names.
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

from graphgrad.display import Displayed
from graphgrad.errors import DeclarationError
from graphgrad.graph.arguments import node_parameters, signature_problem
from graphgrad.graph.arrays import given_operand, literal
from graphgrad.graph.attribute_key import attribute_key
from graphgrad.graph.block import Block
from graphgrad.graph.dimension import Dimension
from graphgrad.graph.help_text import describe, operation_text, signature_of, typed_text
from graphgrad.graph.infix import Infix, Sameness
from graphgrad.graph.known import (
    CONSTANT_SAMPLES,
    EXTENT_SAMPLES,
    compute_extent,
    infer_constant,
    infer_extent,
)
from graphgrad.graph.methods import Methods
from graphgrad.graph.node_names import add_name, declaration_error, shown_name
from graphgrad.graph.scope import Origin, current_origin, current_site, scoped
from graphgrad.graph.single import Single
from graphgrad.graph.types import DType, TensorType, as_dtype, as_shape, float_dtype, need_no_halves

Parameters = ParamSpec("Parameters")
Delta = Callable[..., "tuple[Node | None, ...]"]
Operand = Any
"""A node, or a number, an array or a size that becomes a node. Beside nodes it gets their dtype
(`as_nodes`)."""


@dataclass(frozen=True, eq=False)
class Operation(Block):
    """An operation: its formula, shape rule, delta rule and computation. A call declares a node.

    For an operation of your own that is not elementwise (see `elementwise` for those): `name`,
    `infer` (the shape rule: from the `TensorType` of each head to that of the result, or ValueError
    with the reason), `formula` (text), `compute(xp, out, *heads)` (writes into `out`),
    `delta(delta, y, *heads)` (the contribution to each head as a node, or None), `delta_formula`
    and `arity`, the number of heads. Keyword arguments of a call are the attributes of the node:
    the functions get them as keywords, and a delta rule finds them in `y.attributes`.

    >>> def infer(x):
    ...     return gg.TensorType(x.shape[:1], x.dtype)
    >>> def compute(xp, out, x):
    ...     xp.sum(x, axis=1, out=out)
    >>> def delta(delta, y, x):
    ...     return (gg.broadcast_to(delta[:, None], x.shape),)
    >>> row_sum = gg.Operation("row_sum", infer, "Σ of a row", compute, delta, "δ", arity=1)
    >>> row_sum(gg.input("x", (3, 4)))
    <row_sum = row_sum : float32[3]>
    """

    delta: Delta | None = None

    def __post_init__(self) -> None:
        describe(self, operation_text(self), signature_of(self))

    def node(self, *heads: Operand, name: str | None = None, **attributes: Any) -> Node:
        """The node with these heads and exactly these attributes, those of the shape rule.

        Numbers among the heads become constants; `name` defaults to the operation's.
        """
        return make_node(self, heads, attributes, name)

    def __call__(self, *heads: Any, **attributes: Any) -> Node:
        """Declares the node; the keyword `name` names it."""
        name = attributes.pop("name", None)
        return make_node(self, heads, attributes, name)

    def __repr__(self) -> str:
        return f"<operation {self.name}>"


@dataclass(frozen=True, eq=False, repr=False)
class TypedOperation(Operation, Generic[Parameters]):
    """An operation with a signature of its own, as `softmax(x, axis=-1)`.

    A call runs `declare`, which checks and normalises its arguments and declares the node by
    `softmax.node(x, axis=1)`. It may return another node of the same value: `reshape` to the shape
    of x returns x.

    A changed copy (`dataclasses.replace`) declares nodes by its `node` only: its call would still
    run the function, which declares a node of the original.
    """

    declare: Callable[Parameters, Node] = field(kw_only=True)
    example: tuple[str, str] | None = field(default=None, kw_only=True)
    """A call on x, of shape [3, 4], and the type of its result."""

    operands: tuple[tuple[str, int], ...] = field(init=False, repr=False)
    """The name and position of each argument that is a node."""

    def __post_init__(self) -> None:
        signature = inspect.signature(self.declare)
        describe(self, typed_text(self, self.declare, self.example), signature)
        object.__setattr__(self, "__module__", self.declare.__module__)
        object.__setattr__(self, "operands", node_parameters(signature))

    def __call__(self, *arguments: Parameters.args, **keywords: Parameters.kwargs) -> Node:
        declare: Callable[..., Node] = self.declare
        given: Sequence[Any] = arguments
        named: Mapping[str, Any] = keywords
        for _, position in self.operands:
            if position >= len(given) or not isinstance(given[position], Node):
                given, named = with_nodes(self.name, self.operands, given, named)
                break
        try:
            return declare(*given, **named)
        except (TypeError, ValueError) as problem:
            error = call_error(self.name, inspect.signature(self), given, named, problem)
            if error is None:
                raise
            raise error from None


class Node(Methods, Infix, Single, Displayed):
    """One value of a graph: an operation applied to its heads. Immutable.

    Operations declare nodes; Python's operators and the methods of arrays work on them. A node has
    `operation`, `heads`, `attributes`, `type` (`shape` and `dtype`), `names` and `origin`, the line
    of the user's code that declared it. Equal declarations are the same node.

    >>> x = gg.input("x", ("batch", 3))
    >>> y = gg.tanh(x @ gg.parameter("w", (3, 2)), name="y")
    >>> y, y.heads[0].operation.name
    (<y = tanh : float32[batch, 2]>, 'matmul')
    """

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
    """The key by which hash-consing compares the attributes."""
    type: TensorType
    serial: int
    """Grows with every declaration, so heads have smaller serials than their tails."""
    names: tuple[str, ...]
    """The scoped names given so far, or the default name, that of the operation."""
    origin: Origin | None
    asked: str
    """The name of the last look-up of the node in a graph; used by `repr` only."""

    @property
    def name(self) -> str:
        """The first name; a graph adds a number to it if another node has the name.

        >>> gg.tanh(gg.input("x"), name="z").name
        'z'
        """
        return self.names[0]

    def __repr__(self) -> str:
        name = getattr(self, "asked", "") or shown_name(self)
        return f"<{name} = {self.operation.name} : {self.type}>"


_interned: WeakValueDictionary[Hashable, Node] = WeakValueDictionary()
_interned_lock = threading.Lock()
_serials = itertools.count()


def make_node(
    operation: Operation, heads: tuple[Any, ...], attributes: Mapping[str, Any], name: str | None
) -> Node:
    """The node of `operation` on `heads`: the existing one if it was declared before."""
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


def with_heads(node: Node, heads: tuple[Node, ...]) -> Node:
    """The node of the same operation with the same attributes on other heads.

    If the new heads have the types of the old ones, the result has the type of the old node, and
    the shape rule is not run.
    """
    for old, new in zip(node.heads, heads, strict=True):
        if old.type is not new.type and old.type != new.type:
            return make_node(node.operation, heads, node.attributes, None)
    key = node.operation, heads, node.attribute_key
    return _interned_node(key, node.attributes, node.type, None)


def _interned_node(
    key: tuple[Operation, tuple[Node, ...], Hashable],
    attributes: Mapping[str, Any],
    result_type: TensorType,
    name: str | None,
) -> Node:
    """The node of this operation, these heads and attributes; created if there is none."""
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
    """The heads as nodes: numbers and arrays become constants, sizes become `extent` nodes."""
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
    """The operand `value` of the operation `what` as a node, beside nodes of `dtype`.

    Numbers, arrays and sizes get that dtype, as the values of inputs do; a float never becomes an
    integer, and a truth value never becomes a number.
    """
    if isinstance(value, Node):
        return value
    if type(value) is float and dtype is not None and dtype.kind == "f":
        return _constant(value, dtype)  # the usual case
    if isinstance(value, Sameness):
        value.refuse()
    if isinstance(value, Dimension):
        number = dtype or as_dtype("int32")
        return make_node(extent, (), {"size": value, "dtype": number}, None)
    return _constant(*given_operand(value, what, dtype))


def _infer(
    operation: Operation, heads: tuple[Node, ...], attributes: Mapping[str, Any]
) -> TensorType:
    types = [head.type for head in heads]
    try:
        if not operation.takes_halves:
            need_no_halves(types)
        return operation.infer(*types, **attributes)
    except ValueError as problem:
        raise declaration_error(operation.name, heads, problem) from None
    except TypeError:
        wrong = signature_problem(signature_of(operation), heads, attributes)
        if wrong is None:  # the shape rule itself is wrong
            raise
        raise declaration_error(operation.name, heads, wrong) from None


def with_nodes(
    what: str,
    operands: tuple[tuple[str, int], ...],
    arguments: Sequence[Any],
    keywords: Mapping[str, Any],
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of the function `what`, with those for its node parameters as nodes."""
    given, named = list(arguments), dict(keywords)
    for name, position in operands:
        if position < len(given):
            given[position] = as_node(given[position], what)
        elif name in named:
            named[name] = as_node(named[name], what)
    return given, named


def call_error(
    what: str,
    signature: inspect.Signature,
    arguments: Sequence[Any],
    keywords: Mapping[str, Any],
    problem: TypeError | ValueError,
) -> DeclarationError | None:
    """The error for a call that raised `problem`; None if the function itself is wrong."""
    wrong = (
        signature_problem(signature, arguments, keywords)
        if isinstance(problem, TypeError)
        else problem
    )
    if wrong is None:
        return None
    listed = (
        item
        for each in (*arguments, *keywords.values())
        for item in (each if isinstance(each, list | tuple) else [each])
    )
    return declaration_error(what, (item for item in listed if isinstance(item, Node)), wrong)


# ---------------------------------------------------------------- known values


def _constant(value: Any, dtype: Any = None, name: str | None = None) -> Node:
    """A node with a known value: a number, an array or nested lists. Arrays are copied.

    Without `dtype`, Python's floats become float32 (or the dtype of `default_dtype`), integers
    int32 and booleans bool; NumPy's scalars and arrays keep their dtype. Raises DeclarationError
    for a value that is not numeric.

    >>> gg.constant([[1, 2], [3, 4]])
    <<4 numbers> = constant : int64[2, 2]>
    """
    if dtype is None and type(value) is float:
        dtype = current_site().dtype
    try:
        return make_node(constant, (), {"value": literal(value, dtype)}, name)
    except ValueError as problem:
        reason, _, fix = str(problem).partition("; fix: ")
        raise DeclarationError(
            f"constant({value!r:.60}): {reason}", current_origin(), fix
        ) from None


constant = TypedOperation(
    "constant",
    infer_constant,
    "c",
    arity=0,
    samples=CONSTANT_SAMPLES,
    declare=_constant,
)


def _extent(size: int | str | Dimension, dtype: Any = None, name: str | None = None) -> Node:
    """A size as a scalar node: the number of elements along an axis, also of a named dimension.

    The dtype is float32 by default, or that of `default_dtype`. A known size is a constant.

    >>> x = gg.input("x", ("batch", 3))
    >>> mean = gg.sum(x, axis=0) / gg.extent(x.shape[0])
    >>> gg.compile(gg.Graph({"mean": mean}))(x=np.ones((4, 3)))["mean"]
    array([1., 1., 1.], dtype=float32)
    """
    (known,) = as_shape(size)
    dtype = float_dtype(dtype)
    if isinstance(known, int):
        return _constant(known, dtype, name)
    return make_node(extent, (), {"size": known, "dtype": dtype}, name)


extent = TypedOperation(
    "extent",
    infer_extent,
    "n",
    compute_extent,
    arity=0,
    samples=EXTENT_SAMPLES,
    declare=_extent,
)
