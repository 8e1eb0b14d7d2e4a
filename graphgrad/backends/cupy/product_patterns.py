"""Recognises, in the nodes of a kernel, what an epilogue of a matrix product computes.

The delta of an activation is recognised by its own rule: the rule is derived for two stand-ins, and
taken through the passes that every graph goes through. Since nodes are hash-consed, the same
expression over a product and an argument is the very node of the kernel, or it is another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

from graphgrad import ops
from graphgrad.backends.cupy.epilogues import Epilogue
from graphgrad.fusion import Group
from graphgrad.fusion.reading import Role, broadcast_source
from graphgrad.graph import Graph, Node, Operation, TensorType, input
from graphgrad.graph.node import with_heads
from graphgrad.passes import FUSING_PASSES, PASSES, SPECIALISED_PASSES, optimise

ACTIVATIONS: Mapping[Operation, str] = {ops.relu: "RELU", ops.gelu_tanh: "GELU"}
"""By operation; the exact GELU is another function than the library's."""


@dataclass(frozen=True)
class Found:
    """A product with its epilogue, by the nodes that are read and written."""

    product: Node
    epilogue: Epilogue
    result: Node
    vector: Node | None = None
    """The bias, or the sum."""
    aux: Node | None = None
    """What the delta of an activation needs."""
    added: Node | None = None
    compared: Node | None = None
    """The result of ReLU, whose sign `aux` says."""

    @property
    def inputs(self) -> tuple[Node, ...]:
        """What is read from memory."""
        its = self.epilogue
        nodes = [*self.product.heads]
        nodes += [self.vector] if self.vector is not None and its.adds_bias else []
        nodes += [self.aux] if self.aux is not None and its.is_delta else []
        nodes += [self.added] if self.added is not None else []
        return tuple(dict.fromkeys(nodes))

    @property
    def outputs(self) -> tuple[Node, ...]:
        """What is written to memory."""
        its, nodes = self.epilogue, [self.result]
        nodes += [self.aux] if self.aux is not None and not its.is_delta else []
        nodes += [self.vector] if self.vector is not None and its.sums else []
        return tuple(nodes)

    def with_aux(self, aux: Node) -> Found:
        """The same, which also keeps what the delta needs."""
        return replace(self, epilogue=Epilogue(self.epilogue | 128), aux=aux)


def value_of(group: Group, product: Node, graph: Graph, alone: bool) -> Found | None:
    """A bias added to a product, an activation of it, both, and the rounding of either to 16 bits,
    if the kernel computes nothing else; `alone` says that nothing else reads the product."""
    inside = set(group.nodes)
    argument, bias, widened, names = product, None, None, list[str]()

    def tails_of(node: Node) -> list[Node]:
        return [tail for tail in graph.tails(node) if tail in inside]

    tails = tails_of(product)
    if len(tails) == 1 and tails[0].operation is ops.add:
        bias, widened = _bias_of(tails[0], product)
        if bias is None or bias in inside:
            return None
        argument, names = tails[0], ["BIAS"]
        tails = tails_of(argument)
    result = argument
    if len(tails) == 1 and tails[0].operation in ACTIVATIONS:
        result = tails[0]
        names = [ACTIVATIONS[result.operation], *names]
        tails = tails_of(result)
    computed = {argument, result} | ({widened} if widened is not None else set())
    activated = result
    if len(tails) == 1 and _is_rounded(tails[0]) and result not in group.outputs:
        (result,) = tails
    if (computed | {result}) - {product} != inside or not names:
        return None
    aux = None
    if argument is not activated and (argument in group.outputs or not alone):
        if names[0] != "GELU":
            return None
        aux, names = argument, [names[0], "AUX", *names[1:]]
    if not alone and aux is not product:
        return None
    return Found(product, Epilogue["_".join(names)], result, bias, aux)


def _bias_of(node: Node, product: Node) -> tuple[Node | None, Node | None]:
    """What is added to a product, if it is one number for each of the last axis, and the node that
    widens it, if there is one."""
    others = [head for head in node.heads if head is not product]
    if len(others) != 1:
        return None, None
    (added,) = others
    widened = added if _is_widened(added) else None
    bias = broadcast_source(added if widened is None else added.heads[0])
    width = product.type.sizes[-1]
    fits = bias.type.size == width == bias.type.sizes[-1:].count(width) * width
    return (bias, widened) if fits else (None, None)


def delta_of(group: Group, product: Node) -> Iterator[Found]:
    """The delta of an activation whose δ is the product, and the sum of that over the rows, if the
    kernel computes nothing else; one for each value that may be the argument."""
    nodes, summed = group.nodes, sum_over_rows(group)
    full = [node for node in group.outputs if node is not summed]
    if len(full) != 1 or (summed is not None and summed.heads[0] is not full[0]):
        return
    (root,) = full
    for operation, name in ACTIVATIONS.items():
        for value in group.inputs:
            if value is product or value.type != root.type:
                continue
            made = _instance(operation.name, root.type, product, value)
            if made[-1] is not root or set(nodes) - {summed} != set(made):
                continue
            epilogue = Epilogue[f"D{name}_BGRAD" if summed is not None else f"D{name}"]
            if name == "GELU":
                yield Found(product, epilogue, root, summed, value)
                continue
            (sign,) = (node for node in made if node.dtype.kind == "b")
            if sign not in group.outputs:
                yield Found(product, epilogue, root, summed, sign, compared=value)


def _instance(name: str, type_: TensorType, product: Node, value: Node) -> tuple[Node, ...]:
    """The delta of an activation for this δ, and this value or argument: its nodes, itself last."""
    template, leaves = _template(name, type_)
    copies = {leaves[0]: product, leaves[1]: value}
    made = []
    for node in template.nodes:
        if node in copies:
            continue
        copies[node] = (
            with_heads(node, tuple(copies[head] for head in node.heads)) if node.heads else node
        )
        if node.heads:
            made.append(copies[node])
    return tuple(made)


@cache
def _template(name: str, type_: TensorType) -> tuple[Graph, tuple[Node, Node]]:
    """The delta of an activation as the passes leave it, over stand-ins for δ and for the value
    that it reads: ReLU's its result, GELU's its argument."""
    operation = next(each for each in ACTIVATIONS if each.name == name)
    delta, value = (input(word, type_.shape, type_.dtype) for word in ("delta", "value"))
    assert operation.delta is not None
    made = operation.delta(delta, value, value)[0]
    assert made is not None
    graph, _ = optimise(Graph({"made": made}), (*PASSES, *SPECIALISED_PASSES, *FUSING_PASSES))
    return graph, (delta, value)


def sum_over_rows(group: Group) -> Node | None:
    """The one sum over all axes but the last that a kernel collects; None if it has none or has
    other sums too."""
    nest = group.nest
    if nest is None or len(nest.loops.partial_sums) != 1:
        return None
    (number,) = nest.loops.partial_sums
    return nest.nodes[number] if nest.loops.role(number) == Role.COLUMN else None


def sum_of(group: Group) -> Node | None:
    """The sum over rows that is all that a kernel computes, but for widening what it adds up."""
    summed = sum_over_rows(group)
    others = [node for node in group.nodes if node is not summed]
    widened = [] if summed is None else [summed.heads[0]]
    if summed is None or (others and (others != widened or not _is_widened(others[0]))):
        return None
    return summed


def summand_of(summed: Node) -> Node:
    """What a sum adds up, before it is widened."""
    head = summed.heads[0]
    return head.heads[0] if _is_widened(head) else head


def _is_widened(node: Node) -> bool:
    return node.operation is ops.cast and node.heads[0].type.is_half and node.type.is_float


def _is_rounded(node: Node) -> bool:
    return node.operation is ops.cast and node.type.is_half and not node.heads[0].type.is_half


def added_to(group: Group, products: Collection[Node]) -> list[Found]:
    """A chain of sums, each of which adds one of these products to what there is before it; empty
    if the kernel computes anything else."""
    found: list[Found] = []
    for node in group.nodes:
        if node.operation is not ops.add or any(head.type != node.type for head in node.heads):
            return []
        used = {each.product for each in found}
        own = [head for head in node.heads if head in products and head not in used]
        if not own or node.heads[0] is node.heads[1]:
            return []
        product = own[-1]
        (other,) = (head for head in node.heads if head is not product)
        found.append(Found(product, Epilogue.DEFAULT, node, added=other))
    return found
