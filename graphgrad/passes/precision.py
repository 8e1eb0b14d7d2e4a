"""Mixed precision: which numbers matrix products read, and what stays float32.

`in_bfloat16` and `in_float16` cast the operands of every matrix product of float32, forward and
backward, and leave all else as it is: parameters (the master weights), norms, softmax, losses,
sums of deltas and the optimiser compute in float32. A product adds up in float32. If another
product reads its result, the result is rounded to 16 bits, once, and stored so; otherwise it stays
float32. `in_tf32` marks the products instead: a device rounds their operands as it reads them.

- The casts are nodes, called after what they cast (`encoder.w.bfloat16`). Equal nodes are one node:
  a weight is cast once a step, and the forward product and that of its delta read the same cast.
- A view is cast before it is made: its memory is that of the one cast value.
- A bias is read in 16 bits where its sum with a product is, or ReLU of the sum: a library adds it
  in the launch of the product. The sign of ReLU's result is that of its 16 bits, and of a product
  or zero in its place the product is rounded, not the choice: that changes no value.
- A name means the value that had it, or, where that exists in 16 bits only, the one of 16 bits.
- To ask for a value changes no other: an output of 16 bits is widened for whoever asked.

This pass changes values by rounding, unlike all others, so it runs only if `compile` is asked for
another precision than fp32.

    >>> import graphgrad as gg
    >>> x, w = gg.input("x", ("batch", 3)), gg.parameter("w", (3, 2))
    >>> graph = gg.Graph({"y": gg.tanh(gg.matmul(x, w, name="a"), name="y")})

Before and after:

    >>> print(graph)
    %0 = input() : float32[batch, 3]    # x
    %1 = parameter(initial=constant(0)) : float32[3, 2]    # w
    %2 = matmul(%0, %1, transpose_a=False, transpose_b=False) : float32[batch, 2]    # a
    %3 = tanh(%2) : float32[batch, 2]    # y
    output y = %3
    >>> print(in_bfloat16(graph))
    %0 = input() : float32[batch, 3]    # x
    %1 = parameter(initial=constant(0)) : float32[3, 2]    # w
    %2 = cast(%0) : bfloat16[batch, 3]    # x.bfloat16
    %3 = cast(%1) : bfloat16[3, 2]    # w.bfloat16
    %4 = matmul(%2, %3, transpose_a=False, transpose_b=False) : float32[batch, 2]    # a
    %5 = tanh(%4) : float32[batch, 2]    # y
    output y = %5
    >>> print(in_tf32(graph)["a"].attributes["precision"])
    tf32
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from graphgrad import ops
from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.graph import LEAVES, Graph, Node, Operation, declared_at, parameter
from graphgrad.graph.node import with_heads
from graphgrad.graph.types import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, DType
from graphgrad.ops import dot_product_attention
from graphgrad.ops.arithmetic import cast
from graphgrad.ops.attention import attention_delta, attention_statistics
from graphgrad.ops.contraction import TF32, matmul
from graphgrad.passes.fold_constants import fold_constants
from graphgrad.passes.pattern import is_number
from graphgrad.passes.rewrite import map_nodes
from graphgrad.text import suggestion

_READ: Mapping[Operation, tuple[int, ...]] = {
    matmul: (0, 1),
    dot_product_attention: (0, 1, 2),
    attention_statistics: (0, 1),
    attention_delta: (0, 1, 2, 3, 5),
}
"""The positions of the heads that products read, also those inside attention as one operation."""
_MOVED = (ops.reshape, ops.transpose, ops.broadcast_to, ops.concatenate)
"""Operations whose heads are cast instead of their result: it has no fewer elements."""
_ACTIVATIONS = (ops.relu,)
"""Operations whose delta reads no more of their argument than the sign of their result."""


def in_tf32(graph: Graph) -> Graph:
    """The graph whose products of float32 have operands with 11 binary digits (TensorFloat-32)."""

    def marked(node: Node) -> Node | None:
        if node.operation is not matmul or "precision" in node.attributes:
            return None
        if not _is_product(node):
            return None
        return matmul.node(*node.heads, **node.attributes, precision=TF32)

    return map_nodes(graph, marked, _is_product)


def in_bfloat16(graph: Graph) -> Graph:
    """The graph whose products of float32 read bfloat16, and add up in float32."""
    return _Casts(graph, BFLOAT16).inserted()


def in_float16(graph: Graph) -> Graph:
    """The graph whose products of float32 read float16, and add up in float32."""
    return _Casts(graph, FLOAT16).inserted()


PRECISION_PASSES: Mapping[str, tuple[Callable[[Graph], Graph], ...]] = {
    "fp32": (),
    "tf32": (in_tf32,),
    "bf16": (in_bfloat16, fold_constants),
    "fp16": (in_float16, fold_constants),
}
"""The passes for each precision."""


def mixed_precision(graph: Graph, precision: str) -> Graph:
    """The graph in which matrix products have this precision: tf32, bf16 or fp16.

    `compile(…, precision=…)` does this itself; here the result can be read, drawn and compared.
    Raises UnknownNameError for another precision, and DeclarationError for products of float64.

    >>> w = gg.parameter("w", (3, 2))
    >>> graph = gg.mixed_precision(gg.Graph({"y": gg.input("x", (4, 3)) @ w}), "bf16")
    >>> graph["w.bfloat16"]
    <w.bfloat16 = cast : bfloat16[3, 2]>
    """
    if precision not in PRECISION_PASSES:
        raise UnknownNameError(
            f"there is no precision {precision!r}",
            fix=suggestion(precision, PRECISION_PASSES, "precisions"),
        )
    need_no_float64(graph, precision)
    for each in PRECISION_PASSES[precision]:
        graph = each(graph)
    return graph


def _is_product(node: Node) -> bool:
    return node.operation in _READ and node.heads[0].dtype == FLOAT32


def need_no_float64(graph: Graph, precision: str) -> None:
    """Raises DeclarationError for a product of float64, which has no other precision."""
    if precision == "fp32":
        return
    for node in graph.nodes:
        if node.operation is matmul and node.heads[0].dtype == FLOAT64:
            raise DeclarationError(
                f"{graph.name_of(node)!r} is a product of float64: the precision {precision} is "
                "one of models in float32",
                node.origin,
                "declare the model in float32 (the setting dtype=float32), or leave it at fp32",
            )


class _Casts:
    """Casts what products read. A value has up to two forms: `wide`, in float32, and `thin`."""

    def __init__(self, graph: Graph, dtype: DType) -> None:
        self.graph, self.dtype = graph, dtype
        self.wide_wanted: set[Node] = set()
        self.thin_wanted: set[Node] = set()
        self.wide: dict[Node, Node] = {}
        self.thin: dict[Node, Node] = {}

    def inserted(self) -> Graph:
        """The graph with the casts."""
        if not any(map(_is_product, self.graph.nodes)):
            return self.graph
        self._find_wishes()
        order: list[Node] = []
        for node in self.graph.nodes:
            with declared_at(self.graph.name_of(node), node.origin):
                self._build(node)
            # a leaf is cast where it is first read, all else where it is computed
            made = (self.wide,) if node.operation in LEAVES else (self.thin, self.wide)
            order += [form[node] for form in made if node in form]
        if self.graph.updates:
            # casts of parameters live until the backward products: made together, by one launch
            leaves = [leaf for leaf in self.graph.nodes if leaf.operation is parameter]
            order = [*(self.thin[leaf] for leaf in leaves if leaf in self.thin), *order]
        forms = {**self.thin, **self.wide}
        replacement = {node: new for node, new in forms.items() if new is not node}
        return self.graph.replace_nodes(replacement).changed(order=order)

    def _find_wishes(self) -> None:
        """Finds in which forms each value is read, from the outputs back."""
        graph = self.graph
        roots = (*graph.outputs.values(), *graph.updates.values(), *graph.updates)
        self.wide_wanted.update(roots)
        for node in reversed(graph.nodes):
            if not graph.tails(node) and node not in self.thin_wanted:
                self.wide_wanted.add(node)  # kept for its name
            if _is_product(node):
                read = _READ[node.operation]
                for place, head in enumerate(node.heads):
                    (self.thin_wanted if place in read else self.wide_wanted).add(head)
                continue
            self._find_wishes_of(node)

    def _find_wishes_of(self, node: Node) -> None:
        """The forms in which the heads of a node are read that is not a product."""
        thin = node in self.thin_wanted
        if not thin and any(self._is_sign(tail, node) for tail in self.graph.tails(node)):
            self.wide_wanted.add(node)
        if thin and self._is_moved(node):
            self.thin_wanted.update(node.heads)
        elif thin:
            self.wide_wanted.add(node)
            self.thin_wanted.update(self._chosen(node))
        if node in self.wide_wanted:
            heads = (head for head in node.heads if not self._is_sign(node, head))
            self.wide_wanted.update(heads)
            self.thin_wanted.update(self._biases(node))

    def _is_sign(self, node: Node, head: Node) -> bool:
        """Whether a node compares the result of an activation with zero."""
        others = [each for each in node.heads if each is not head]
        compares = node.operation is ops.less and len(others) == 1 and is_number(others[0], 0)
        return compares and head.operation in _ACTIVATIONS

    def _chosen(self, node: Node) -> tuple[Node, ...]:
        """The product that a node is, or zero in its place."""
        if node.operation is not ops.where or not is_number(node.heads[2], 0):
            return ()
        return (node.heads[1],) if node.heads[1].operation is matmul else ()

    def _biases(self, node: Node) -> tuple[Node, ...]:
        """What a node adds to the last axis of a product, if it is read in 16 bits, or by an
        activation that is."""
        if node.operation is not ops.add or not _is_product(node.heads[0]):
            return ()
        activated = (tail for tail in self.graph.tails(node) if tail.operation in _ACTIVATIONS)
        product, bias = node.heads
        vector = bias.operation is parameter and bias.rank == 1 and product.shape == node.shape
        read = vector and not self.thin_wanted.isdisjoint((node, *activated))
        return (bias,) if read else ()

    def _is_moved(self, node: Node) -> bool:
        """Whether the heads are cast in place of the result."""
        if node.operation is ops.slice:  # if all of the head is read in slices, not some of it
            return all(tail.operation is ops.slice for tail in self.graph.tails(node.heads[0]))
        return node.operation in _MOVED

    def _build_product(self, node: Node, wide: bool, thin: bool) -> None:
        """A matrix product gives float32 or 16 bits, as it is read; attention what it reads."""
        read = _READ[node.operation]
        heads = [(self.thin if n in read else self.wide)[head] for n, head in enumerate(node.heads)]
        if node.operation is matmul and not thin:
            self.wide[node] = matmul.node(*heads, **node.attributes, dtype=FLOAT32)
            return
        made = node.operation.node(*heads, **node.attributes)
        if made.dtype == FLOAT32:  # the statistics of attention
            self.wide[node] = made
            return
        self.thin[node] = made
        if wide:
            self.wide[node] = cast(made, FLOAT32, name="float32")

    def _wide_heads(self, node: Node) -> Iterator[Node]:
        """The heads of a node that computes in float32."""
        biases = self._biases(node)
        for head in node.heads:
            if head in biases:
                spread = ops.broadcast_to(self.thin[head], node.shape)
                yield cast(spread, FLOAT32, name="float32")
            elif head in self.thin and self._is_sign(node, head):
                yield cast(self.thin[head], FLOAT32, name="float32")
            else:
                yield self.wide[head]

    def _build(self, node: Node) -> None:
        """Makes the forms in which the node is read."""
        wide, thin = node in self.wide_wanted, node in self.thin_wanted
        if _is_product(node):
            self._build_product(node, wide, thin)
            return
        if wide:
            self.wide[node] = with_heads(node, tuple(self._wide_heads(node)))
        if thin and self._is_moved(node):
            heads = [self.thin[head] for head in node.heads]
            self.thin[node] = with_heads(node, tuple(heads))
        elif thin:
            self.thin[node] = cast(self.wide[node], self.dtype, name=str(self.dtype))
