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
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from graphgrad.display import Displayed
from graphgrad.errors import DeclarationError
from graphgrad.graph.arrays import Literal, given_array, literal
from graphgrad.graph.attribute_key import attribute_key
from graphgrad.graph.dimension import Dimension
from graphgrad.graph.infix import Infix, Sameness
from graphgrad.graph.manual import misuse, operation_text, signature_of
from graphgrad.graph.methods import Methods
from graphgrad.graph.samples import Sample, sample
from graphgrad.graph.scope import Origin, current_origin, current_place, scoped
from graphgrad.graph.single import Single
from graphgrad.graph.types import FLOAT32, INT64, DType, Shape, TensorType, as_dtype

Operand = Any
"""What may stand where a node is meant: a node, a number, an array, a size. Beside nodes it takes
their dtype (`as_nodes`)."""


@dataclass(frozen=True, eq=False)
class Operation(Single):
    """One operation, whole.

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
    compute: Callable[..., Any] | None = None
    delta: Callable[..., tuple[Node | None, ...]] | None = None
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

    def __post_init__(self) -> None:
        texts = {
            "__name__": self.name,
            "__doc__": operation_text(self),
            "__signature__": signature_of(self),
        }
        for field, value in texts.items():
            object.__setattr__(self, field, value)

    def __call__(self, *heads: Any, name: str | None = None, **attributes: Any) -> Node:
        """Declares the node; `name` defaults to the operation's, numbers become constants."""
        return apply(self, heads, attributes, name)

    def __repr__(self) -> str:
        return f"<operation {self.name}>"


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


def _infer_constant(value: Literal) -> TensorType:
    return TensorType(value.array.shape, value.array.dtype)


CONSTANT = Operation(
    "constant",
    _infer_constant,
    "c",
    arity=0,
    samples=(
        sample(value=Literal(np.arange(6.0).reshape(2, 3))),
        sample(value=Literal(np.array(True))),
    ),
)


def _infer_extent(size: int | Dimension, dtype: Any) -> TensorType:
    return TensorType((), dtype)


def _compute_extent(xp: Any, out: Any, size: int, dtype: Any) -> None:
    out.fill(size)


EXTENT = Operation(
    "extent",
    _infer_extent,
    "n",
    _compute_extent,
    arity=0,
    samples=(sample(size=7, dtype=FLOAT32), sample(size=0, dtype=INT64)),
)


def constant(value: Any, dtype: Any = None, name: str | None = None) -> Node:
    """A node whose value is known: a number or an array (copied, so later changes do not show).

    Python floats become float32 (or what `default_dtype` says), integers int32 and booleans bool
    unless `dtype` says otherwise; NumPy's scalars and arrays keep their own dtype.
    """
    if dtype is None and type(value) is float:
        dtype = current_place().dtype
    try:
        return apply(CONSTANT, (), {"value": literal(value, dtype)}, name)
    except ValueError as problem:
        reason, _, fix = str(problem).partition("; fix: ")
        raise DeclarationError(
            f"constant({value!r:.60}): {reason}", current_origin(), fix
        ) from None


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


def add_name(node: Node, full_name: str, first: bool = False) -> None:
    """Lets `node` answer to one more name; a default name gives way to a chosen one.

    A graph shows a node by the first of its names: the one it was declared with, or with `first`
    this one.
    """
    if full_name in node.names and not first:
        return
    known = () if has_default_name(node) else node.names
    others = tuple(name for name in known if name != full_name)
    node.names = (full_name, *others) if first else (*others, full_name)


def also_called(node: Node, name: str | None) -> Node:
    """The node itself, where a function has nothing to do but to give it the name asked for."""
    if name is not None:
        add_name(node, scoped(name))
    return node


def has_default_name(node: Node) -> bool:
    """Whether nobody chose a name: it is called by its operation."""
    return len(node.names) == 1 and node.names[0].rpartition(".")[2] == node.operation.name


def shown_name(node: Node) -> str:
    """What a message calls the node: its names, the value of a constant. The default name of what
    is made of numbers only may come from another model and is given without its scope."""
    if node.operation is CONSTANT:
        return repr(node.attributes["value"])
    if has_default_name(node) and not _holds_data(node):
        return node.operation.name
    return ", ".join(node.names[:3])


def _holds_data(node: Node) -> bool:
    """Whether anything that a user declared as its own flows into the node."""
    seen, stack = {node}, [node]
    while stack:
        node = stack.pop()
        if "declaration" in node.attributes:
            return True
        stack += [head for head in node.heads if head not in seen]
        seen.update(node.heads)
    return False


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
    if isinstance(value, Sameness):
        value.refuse()
    if isinstance(value, Dimension):
        number = dtype or as_dtype("int32")
        return apply(EXTENT, (), {"size": value, "dtype": number}, None)
    if not isinstance(value, bool | int | float | np.ndarray | np.generic):
        raise DeclarationError(
            f"{what} takes nodes, numbers and arrays, not {type(value).__name__}",
            current_origin(),
            "make an array of it: numpy.array(…), or stack(…) where it holds nodes"
            if isinstance(value, list | tuple)
            else "declare the value with input(), parameter() or constant()",
        )
    if dtype is None or isinstance(value, bool | np.bool_):
        return constant(value)
    kind = "f" if isinstance(value, float) else np.result_type(value).kind
    if dtype.kind in "iu" and kind == "f":
        shown = f"number {value}" if np.ndim(value) == 0 else f"array of {np.result_type(value)}"
        raise DeclarationError(
            f"{what}: the {shown} meets a node of dtype {dtype}",
            current_origin(),
            "write an integer, or cast the node: cast(x, 'float32')",
        )
    if not isinstance(value, np.ndarray | np.generic):
        return constant(value, dtype)
    array = given_array(f"{what}: the array", value)
    return constant(array if kind == "b" else given_array(f"{what}: the array", array, dtype))


def _infer(
    operation: Operation, heads: tuple[Node, ...], attributes: Mapping[str, Any]
) -> TensorType:
    types = [head.type for head in heads]
    try:
        return operation.infer(*types, **attributes)
    except ValueError as problem:
        raise refused(operation.name, heads, problem) from None
    except TypeError:
        wrong = misuse(inspect.signature(operation), heads, attributes)
        if wrong is None:  # a fault of the rule itself
            raise
        raise refused(operation.name, heads, wrong) from None


def refused(what: str, heads: Iterable[Node], problem: ValueError) -> DeclarationError:
    """The error for what a shape rule or a check of arguments refuses with a ValueError."""
    shown = ", ".join(f"{shown_name(head)}: {head.type}" for head in heads)
    reason, _, fix = str(problem).partition("; fix: ")
    return DeclarationError(f"{what}({shown}): {reason}", current_origin(), fix)
