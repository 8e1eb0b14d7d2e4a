"""Joins products with the kernels that read them: a step that keeps a product's rows in cache.

A fused region walks the rows of its space, in blocks. If it reads a product of those rows and
columns, its kernel can compute the product itself: some rows of it, then what the region does with
them, then the next rows. So bias, activation, residual, dropout, norms, the softmax and the
cross-entropy of logits, the deltas of all these, and the update of a weight by its delta are done
while a product's numbers are in cache; if nothing else reads the product, it is never written to
memory. The conditions, which `_seen_as` checks:

- the region reads the product at every element of its space (the role FULL), whose columns are
  those of the product, which lies without gaps;
- no step between the product's place and the region's reads the product;
- the product is one of float32 whose batches are one matrix of rows (product_shapes.py).

An output of the region may not take the place of anything that the product reads: other rows would
read what has been overwritten. What each number is made of does not change: the bits of a joined
product are those of a product alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graphgrad.backends.numpy.product_shapes import ProductShape, described
from graphgrad.fusion import Group
from graphgrad.fusion.reading import Role
from graphgrad.graph import Node, TensorType
from graphgrad.schedule import Schedule


@dataclass(frozen=True, slots=True, eq=False)
class OwnProduct:
    """A product that a step computes by itself."""

    node: Node
    shape: ProductShape
    read_as: Node
    """The node that the region reads: the product, or a view of it."""
    stored: bool
    """Whether it has a place in memory, because others read it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ProductGroup(Group):
    """Products, and the region that reads them, if there is one."""

    products: tuple[OwnProduct, ...] = ()


def product_shapes(schedule: Schedule, groups: Sequence[Group]) -> dict[int, ProductShape]:
    """The products that our kernels can compute, by the number of their group."""
    found = {}
    for number, group in enumerate(groups):
        shape = described(group.nodes[0], schedule.layouts) if len(group.nodes) == 1 else None
        if shape is not None:
            found[number] = shape
    return found


def own_products(
    schedule: Schedule,
    groups: Sequence[Group],
    shapes: Mapping[int, ProductShape],
    joined: bool = True,
) -> list[Group]:
    """The groups, with our own products in place of those of `shapes`; `joined` with the regions
    that read them."""
    return _Joiner(schedule, groups, shapes, joined).result()


@dataclass
class _Joiner:
    schedule: Schedule
    groups: Sequence[Group]
    shapes: Mapping[int, ProductShape]
    join: bool
    readers: dict[Node, list[int]] = field(default_factory=dict)
    """The steps that read the memory of each value, in order."""

    def __post_init__(self) -> None:
        graph, self.layouts = self.schedule.graph, self.schedule.layouts
        for number, group in enumerate(self.groups):
            for head in dict.fromkeys(map(self.root, group.inputs)):
                self.readers.setdefault(head, []).append(number)
        kept = (*graph.outputs.values(), *graph.updates.values(), *self.schedule.guards)
        self.kept = set(map(self.root, kept))

    def result(self) -> list[Group]:
        """The groups in order."""
        shapes, read_by = self.shapes, self._read_by()
        taken = {its.node for products in read_by.values() for its in products}
        result: list[Group] = []
        for number, group in enumerate(self.groups):
            if number in shapes:
                if group.nodes[0] not in taken:
                    result.append(self._alone(group, shapes[number]))
            elif number in read_by:
                result.append(self._with_products(group, read_by[number]))
            else:
                result.append(group)
        return result

    def _read_by(self) -> dict[int, list[OwnProduct]]:
        """The products that are joined with the region that reads them first."""
        found: dict[int, list[OwnProduct]] = {}
        for number, shape in self.shapes.items() if self.join else ():
            (product,) = self.groups[number].nodes
            readers = self.readers.get(product, [])
            seen = self._seen_as(product, readers[0]) if readers else None
            if seen is not None:
                stored = len(readers) > 1 or product in self.kept
                found.setdefault(readers[0], []).append(OwnProduct(product, shape, seen, stored))
        return found

    def _seen_as(self, product: Node, reader: int) -> Node | None:
        """The argument by which the region of a step reads the product's rows; None if the region
        cannot compute the product."""
        nest = self.groups[reader].nest
        if nest is None or not self.layouts.contiguous(product):
            return None
        columns = product.type.sizes[-1]
        read = [node for node in self.groups[reader].inputs if self.root(node) is product]
        if len(read) != 1 or read[0].type.sizes != nest.loops.space:
            return None
        (node,) = read
        number = nest.nodes.index(node) if node in nest.nodes else -1
        full = number >= 0 and nest.loops.role(number) == Role.FULL
        alike = node.type.sizes[-1] == columns and node.type.size == product.type.size
        alike = alike and self.layouts.contiguous(node)
        return node if full and alike else None

    def _alone(self, group: Group, shape: ProductShape) -> Group:
        (node,) = group.nodes
        products = (OwnProduct(node, shape, node, stored=True),)
        return ProductGroup(
            group.nodes, group.inputs, group.outputs, _scratch(products), products=products
        )

    def _with_products(self, group: Group, products: Sequence[OwnProduct]) -> Group:
        """The region with the products that it reads."""
        nodes = [its.node for its in products]
        unread = {its.read_as for its in products}
        heads = [head for node in nodes for head in node.heads]
        inputs = [node for node in group.inputs if node not in unread]
        stored = [its.node for its in products if its.stored]
        fixed = {*map(self.root, heads), *nodes}
        may_overwrite = {
            output: tuple(head for head in places if self.root(head) not in fixed)
            for output, places in group.may_overwrite.items()
        }
        return ProductGroup(
            (*nodes, *group.nodes),
            tuple(dict.fromkeys([*inputs, *heads])),
            (*group.outputs, *stored),
            (*group.scratch, *_scratch(products)),
            may_overwrite,
            group.nest,
            products=tuple(products),
        )

    def root(self, node: Node) -> Node:
        """The value whose memory a view shows."""
        while node in self.layouts.views:
            node = node.heads[0]
        return node


def _scratch(products: Sequence[OwnProduct]) -> tuple[TensorType, ...]:
    return tuple(its.shape.panels for its in products if its.shape.copies_b)
