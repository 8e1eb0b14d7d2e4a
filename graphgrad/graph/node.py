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

import functools
import itertools
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar
from weakref import WeakValueDictionary

import numpy as np

from graphgrad.errors import DeclarationError
from graphgrad.graph.html import node_html
from graphgrad.graph.samples import Sample, sample
from graphgrad.graph.scope import Origin, current_origin, scoped
from graphgrad.graph.types import DType, Shape, TensorType, as_dtype

OPERATORS: dict[str, Callable[..., Node]] = {}
"""What `+`, `@`, … between nodes mean; filled once by `graphgrad.ops`, which stands above."""


@dataclass(frozen=True, eq=False)
class Operation:
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

    def __call__(self, *heads: Any, name: str | None = None, **attributes: Any) -> Node:
        """Declares the node; `name` defaults to the operation's, numbers become constants."""
        return apply(self, heads, attributes, name)

    def __repr__(self) -> str:
        return f"<operation {self.name}>"


class Node:
    """One value of a graph: an operation applied to its heads."""

    __slots__ = ("__weakref__", "attribute_key", "attributes", "heads", "names", "operation",
                 "origin", "serial", "type")  # fmt: skip

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
    def name(self) -> str:
        """The first name; a graph may add a number to it to keep names apart."""
        return self.names[0]

    def __repr__(self) -> str:
        return f"<{self.name} = {self.operation.name} : {self.type}>"

    def _repr_html_(self) -> str:
        return node_html(self)

    # fmt: off
    def __add__(self, other: Any) -> Node: return OPERATORS["add"](self, other)
    def __radd__(self, other: Any) -> Node: return OPERATORS["add"](other, self)
    def __sub__(self, other: Any) -> Node: return OPERATORS["subtract"](self, other)
    def __rsub__(self, other: Any) -> Node: return OPERATORS["subtract"](other, self)
    def __mul__(self, other: Any) -> Node: return OPERATORS["multiply"](self, other)
    def __rmul__(self, other: Any) -> Node: return OPERATORS["multiply"](other, self)
    def __truediv__(self, other: Any) -> Node: return OPERATORS["divide"](self, other)
    def __rtruediv__(self, other: Any) -> Node: return OPERATORS["divide"](other, self)
    def __pow__(self, other: Any) -> Node: return OPERATORS["power"](self, other)
    def __rpow__(self, other: Any) -> Node: return OPERATORS["power"](other, self)
    def __matmul__(self, other: Any) -> Node: return OPERATORS["matmul"](self, other)
    def __neg__(self) -> Node: return OPERATORS["negative"](self)
    def __lt__(self, other: Any) -> Node: return OPERATORS["less"](self, other)
    def __le__(self, other: Any) -> Node: return OPERATORS["less_equal"](self, other)
    def __gt__(self, other: Any) -> Node: return OPERATORS["less"](other, self)
    def __ge__(self, other: Any) -> Node: return OPERATORS["less_equal"](other, self)
    def __getitem__(self, key: Any) -> Node: return OPERATORS["slice"](self, key)
    # fmt: on

    def __bool__(self) -> bool:
        raise DeclarationError(
            f"{self!r} has no truth value: its value is not known while the graph is declared",
            str(self.origin or ""),
            "use where(condition, a, b) for a choice that depends on a value",
        )

    __iter__ = None  # a node is not a sequence; without this, __getitem__ would loop for ever


@dataclass(frozen=True, eq=False)
class Literal:
    """The value of a constant: an array that nobody can write to, equal by content."""

    array: np.ndarray
    key: tuple[DType, tuple[int, ...], bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        frozen = np.array(self.array, order="C")
        frozen.flags.writeable = False
        object.__setattr__(self, "array", frozen)
        object.__setattr__(self, "key", (frozen.dtype, frozen.shape, frozen.tobytes()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Literal) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        if self.array.size == 1:
            return repr(self.array.reshape(()).item())
        return f"<{self.array.size} numbers>"


def _infer_constant(value: Literal) -> TensorType:
    return TensorType(value.array.shape, value.array.dtype)


CONSTANT = Operation(
    "constant", _infer_constant, "c", arity=0,
    samples=(sample(value=Literal(np.arange(6.0).reshape(2, 3))),
             sample(value=Literal(np.array(True)))),
)  # fmt: skip


def constant(value: Any, dtype: Any = None, name: str | None = None) -> Node:
    """A node whose value is known: a number or an array (copied, so later changes do not show).

    Python floats become float32, integers int32 and booleans bool unless `dtype` says otherwise;
    NumPy's scalars and arrays keep their own dtype.
    """
    if dtype is None and isinstance(value, int | float) and not isinstance(value, np.generic):
        whole = "bool" if isinstance(value, bool) else "int32"
        dtype = whole if isinstance(value, int) else "float32"
    try:
        with np.errstate(over="raise"):  # 1e300 is no float32
            array = np.asarray(value, dtype=None if dtype is None else as_dtype(dtype))
        as_dtype(array.dtype)
    except (TypeError, ValueError, ArithmeticError) as problem:
        raise DeclarationError(
            f"constant({value!r:.60}): {problem}", str(current_origin() or "")
        ) from None
    return apply(CONSTANT, (), {"value": Literal(array)}, name)


_interned: WeakValueDictionary[Hashable, Node] = WeakValueDictionary()
_interned_lock = threading.Lock()
_serials = itertools.count()


def apply(
    operation: Operation, heads: tuple[Any, ...], attributes: Mapping[str, Any], name: str | None
) -> Node:
    """The node of `operation` on `heads`: the existing one where it was declared before."""
    nodes = _as_nodes(operation, heads)
    key = operation, nodes, _attribute_key(attributes)
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
    key: tuple[Operation, tuple[Node, ...], Hashable], attributes: Mapping[str, Any],
    result_type: TensorType, name: str | None,
) -> Node:  # fmt: skip
    """The node of this operation, these heads and attributes: a new one where there is none."""
    with _interned_lock:
        node = _interned.get(key)  # another thread may have come first
        if node is None:
            node = Node.__new__(Node)
            node.operation, node.heads, node.attribute_key = key
            node.attributes, node.type, node.serial = attributes, result_type, next(_serials)
            node.names, node.origin = (scoped(name or node.operation.name),), current_origin()
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


def has_default_name(node: Node) -> bool:
    """Whether nobody chose a name: it is called by its operation."""
    return len(node.names) == 1 and node.names[0].rpartition(".")[2] == node.operation.name


def _as_nodes(operation: Operation, heads: tuple[Any, ...]) -> tuple[Node, ...]:
    if operation.arity is not None and len(heads) != operation.arity:
        raise DeclarationError(
            f"{operation.name} takes {operation.arity} head(s), not {len(heads)}",
            str(current_origin() or ""),
        )
    for head in heads:
        if not isinstance(head, Node):
            break
    else:
        return heads
    dtypes = [head.dtype for head in heads if isinstance(head, Node)]
    numeric = [dtype for dtype in dtypes if dtype.kind != "b"] or dtypes
    return tuple(
        head if isinstance(head, Node) else _number(operation, head, numeric) for head in heads
    )


def _number(operation: Operation, value: Any, dtypes: list[DType]) -> Node:
    if isinstance(value, bool | int | float) and dtypes:
        if dtypes[0].kind == "b" and not isinstance(value, bool):
            return constant(value)  # a truth value lends its dtype to no number
        if dtypes[0].kind in "iu" and isinstance(value, float):
            raise DeclarationError(
                f"{operation.name}: the number {value} meets a node of dtype {dtypes[0]}",
                str(current_origin() or ""),
                "write an integer, or cast the node: cast(x, 'float32')",
            )
        return constant(value, dtypes[0])
    if isinstance(value, bool | int | float | np.ndarray | np.generic):
        return constant(value)
    raise DeclarationError(
        f"{operation.name} takes nodes, numbers and arrays, not {type(value).__name__}",
        str(current_origin() or ""),
        "declare the value with input(), parameter() or constant()",
    )


def _infer(
    operation: Operation, heads: tuple[Node, ...], attributes: Mapping[str, Any]
) -> TensorType:
    try:
        return operation.infer(*[head.type for head in heads], **attributes)
    except ValueError as problem:
        raise _refused(operation.name, heads, problem) from None


def _refused(what: str, heads: Iterable[Node], problem: ValueError) -> DeclarationError:
    shown = ", ".join(f"{head.name}: {head.type}" for head in heads)
    reason, _, fix = str(problem).partition("; fix: ")
    return DeclarationError(f"{what}({shown}): {reason}", str(current_origin() or ""), fix)


Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def front(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Marks a function that checks its arguments before it declares nodes.

    What it refuses with a ValueError, as a shape rule does, reaches the user as a DeclarationError
    that names the function, the nodes given to it and the user's line.
    """

    @functools.wraps(function)
    def declare(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
        try:
            return function(*arguments, **keywords)
        except ValueError as problem:
            given = [a if isinstance(a, list | tuple) else [a] for a in arguments]
            heads = [item for items in given for item in items if isinstance(item, Node)]
            raise _refused(function.__name__, heads, problem) from None

    return declare


def _attribute_key(attributes: Mapping[str, Any]) -> Hashable:
    if not attributes:
        return ()
    return tuple([(name, _value_key(attributes[name])) for name in sorted(attributes)])


_FLOATS = (float, np.floating)


def _value_key(value: Any) -> Hashable:
    """A key under which 1, 1.0 and True differ, and 0.0 and -0.0, unlike Python's equality."""
    kind = type(value)
    if kind is int or kind is bool:
        return kind, value
    if isinstance(value, tuple):
        return tuple, tuple(map(_value_key, value))
    if isinstance(value, _FLOATS):
        return kind, float(value).hex()
    return kind, value
