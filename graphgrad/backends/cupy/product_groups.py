"""Products with the kernels that an epilogue spares: groups of the plan, each one launch.

A kernel is left out if all that it computes can be done by the product that it reads, or by one
that reads the same:

    product + bias, ReLU or GELU (tanh) of it         BIAS, RELU, RELU_BIAS, GELU, …
    δ where y > 0, else 0, and its sum over rows      DRELU, DRELU_BGRAD; the product before writes
                                                      bits in place of the comparison
    δ · GELU'(x), and its sum over rows               DGELU, DGELU_BGRAD, by the stored x
    sum of δ over rows, beside xᵀ·δ                   BGRADA, BGRADB
    product + product, or + anything that lies alike  the second is added to the first

A kernel that does more than that stays whole: it reads the product's result anyway, and adding a
bias there costs nothing. The nodes keep their places in the plan, which knows nothing of epilogues.
`products.py` says which arrays the library takes, `takes` whether this device's does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from graphgrad import ops
from graphgrad.backends.cupy.epilogues import Epilogue, aux_bytes
from graphgrad.backends.cupy.launches import Array, Extras, Gemm
from graphgrad.backends.cupy.product_batches import join_batches
from graphgrad.backends.cupy.product_patterns import (
    Found,
    added_to,
    delta_of,
    sum_of,
    summand_of,
    value_of,
)
from graphgrad.backends.cupy.products import gemm_of, with_epilogue
from graphgrad.fusion import Group
from graphgrad.graph import Node
from graphgrad.schedule import Schedule

Takes = Callable[[Gemm], bool]
"""Whether a library carries out a product with its epilogue."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ProductGroup(Group):
    """A product and what its epilogue computes; `result` lies where the product's would."""

    found: Found

    @property
    def result(self) -> Node:
        """The value that is written in place of the product."""
        return self.found.result


def join_products(
    schedule: Schedule, groups: Sequence[Group], takes: Takes = lambda gemm: True
) -> list[Group]:
    """The groups in order, with those joined that one product can do."""
    return _Joiner(schedule, join_batches(schedule, groups), takes).joined()


def bits_of(array: Array, gemm: Gemm) -> Array:
    """The place of a comparison as that of ReLU's bits."""
    size = aux_bytes(gemm.rows, gemm.columns)
    return Array(array.memory, array.offset, np.dtype(np.uint8), (size,), (1,))


def described(found: Found, array: Callable[[Node], Array]) -> tuple[Gemm | None, Extras, str]:
    """The call of a product with its epilogue, and its further arrays; or None and why not."""
    out, heads = array(found.result), tuple(map(array, found.product.heads))
    gemm = gemm_of(out, heads, **found.product.attributes)
    vector, aux, added = (
        None if node is None else array(node) for node in (found.vector, found.aux, found.added)
    )
    if gemm is not None and aux is not None and found.epilogue.activation == "relu":
        aux = bits_of(aux, gemm)
    extras = Extras(vector, aux, added)
    gemm, why = with_epilogue(gemm, found.epilogue, out, heads, extras)
    return gemm, extras, why


def sizes_of(found: Found, gemm: Gemm) -> Mapping[Node, int]:
    """The bytes of what takes another size than its type has: ReLU's bits."""
    if found.aux is None or found.epilogue.activation != "relu" or found.epilogue.is_delta:
        return {}
    return {found.aux: aux_bytes(gemm.rows, gemm.columns)}


@dataclass
class _Joiner:
    schedule: Schedule
    groups: Sequence[Group]
    takes: Takes
    slots: list[list[Group]] = field(init=False)
    """The groups that run in place of each."""

    def __post_init__(self) -> None:
        graph, self.layouts = self.schedule.graph, self.schedule.layouts
        self.slots = [[group] for group in self.groups]
        self.slot_of = {
            node: number for number, group in enumerate(self.groups) for node in group.outputs
        }
        self.readers: dict[Node, set[int]] = {}
        for number, group in enumerate(self.groups):
            for head in group.inputs:
                self.readers.setdefault(self.root(head), set()).add(number)
        kept = (*graph.outputs.values(), *graph.updates.values(), *self.schedule.guards)
        self.kept = set(map(self.root, kept))
        self.updates = set(graph.updates.values())
        self.activated: dict[Node, int] = {}
        """Where the result of ReLU comes from a product."""

    def joined(self) -> list[Group]:
        for find in (self._values, self._deltas, self._sums, self._contributions):
            for number, group in enumerate(self.groups):
                if group.nest is not None and self.slots[number] == [group]:
                    find(number, group)
        return [group for slot in self.slots for group in slot]

    # ------------------------------------------------------------ what is found

    def _values(self, number: int, group: Group) -> None:
        for product in self._products_read(group):
            found = value_of(group, product, self.schedule.graph, self.only_reader(product, number))
            if found is None:
                continue
            # an argument that others read too is written where the product was
            place = self.slot_of[product] if found.aux is product else number
            if self._replace(place, {number, self.slot_of[product]}, [found], group.nodes):
                if found.epilogue.activation == "relu":
                    self.activated[found.result] = place
                return

    def _deltas(self, number: int, group: Group) -> None:
        for product in self._products_read(group):
            if not self.only_reader(product, number):
                continue
            for found in delta_of(group, product):
                if found.epilogue.activation == "gelu_tanh":
                    if self._replace(number, {number, self.slot_of[product]}, [found], group.nodes):
                        return
                elif self._relu_pair(number, group, found):
                    return

    def _relu_pair(self, number: int, group: Group, found: Found) -> bool:
        """Joins a delta of ReLU, if the product that ReLU came from can write bits for it."""
        assert found.aux is not None and found.compared is not None
        place = self.activated.get(found.compared)
        if place is None:
            return False
        (before,) = self.slots[place]
        assert isinstance(before, ProductGroup)
        value = before.found.with_aux(found.aux)
        forward = self._group(value, (*before.nodes, found.aux))
        nodes = [node for node in group.nodes if node is not found.aux]
        if forward is None or not self._replace(
            number, {number, self.slot_of[found.product]}, [found], nodes
        ):
            return False
        self.slots[place] = [forward]
        return True

    def _sums(self, number: int, group: Group) -> None:
        summed = sum_of(group)
        if summed is None:
            return
        for other in sorted(self.readers.get(self.root(summand_of(summed)), ())):
            its = self.slots[other]
            if len(its) != 1 or its[0].nest is not None or isinstance(its[0], ProductGroup):
                continue
            product = its[0].nodes[-1]
            if (
                len(its[0].nodes) > 1
                or product.operation is not ops.matmul
                or self._read_between(number, other)
            ):
                continue
            found = self._sum_beside(product, summed)
            if found and self._replace(max(number, other), {number, other}, [found], group.nodes):
                return

    def _sum_beside(self, product: Node, summed: Node) -> Found | None:
        """The product with the sum over the rows of one of its heads, if it is the inner axis."""
        delta, attributes = summand_of(summed), product.attributes
        gemm = gemm_of(self.array(product), tuple(map(self.array, product.heads)), **attributes)
        inner_first = (attributes["transpose_a"], not attributes["transpose_b"])
        for side, head in enumerate(product.heads):
            whole = head.rank == 2 and head.type.size == delta.type.size
            if not (whole and inner_first[side] and head.shape[-1] == delta.shape[-1]):
                continue
            same = self.root(head) is self.root(delta)
            if not same or not (self.layouts.contiguous(head) and self.layouts.contiguous(delta)):
                continue
            left = gemm is not None and (side == 1) == gemm.swapped
            epilogue = Epilogue.BGRADA if left else Epilogue.BGRADB
            return Found(product, epilogue, product, vector=summed)
        return None

    def _contributions(self, number: int, group: Group) -> None:
        own = {
            product for product in self._products_read(group) if self.only_reader(product, number)
        }
        found = added_to(group, own)
        if found:
            taken = {self.slot_of[each.product] for each in found}
            self._replace(number, {number, *taken}, found, ())

    # ------------------------------------------------------------ whether it can be done

    def _products_read(self, group: Group) -> list[Node]:
        """The products that a group reads and that still run by themselves."""
        products = [node for node in group.inputs if node.operation is ops.matmul]
        return [
            node
            for node in products
            if node in self.slot_of
            and [each.nodes for each in self.slots[self.slot_of[node]]] == [(node,)]
            and not isinstance(self.slots[self.slot_of[node]][0], ProductGroup)
        ]

    def only_reader(self, node: Node, number: int) -> bool:
        """Whether nothing but this group reads the value."""
        return self.readers.get(node) == {number} and node not in self.kept

    def _read_between(self, number: int, other: int) -> bool:
        """Whether what the earlier of two groups computes is read before the later one runs, or
        the guards are checked between them."""
        early, late = sorted((number, other))
        outputs = self.groups[early].outputs
        read = any(place <= late for node in outputs for place in self.readers.get(node, ()))
        before = self.schedule.before_guards
        sides = {self.groups[each].nodes[-1] in before for each in (early, late)}
        return read or len(sides) > 1

    def _replace(
        self, place: int, taken: Iterable[int], found: Sequence[Found], nodes: Sequence[Node]
    ) -> bool:
        """Puts products with epilogues in place of what they do, if the library takes them all."""
        groups = []
        for each in found:
            own = [node for node in nodes if node is not each.product] or [each.result]
            group = self._group(each, (each.product, *own))
            if group is None:
                return False
            groups.append(group)
        for number in taken:
            self.slots[number] = []
        self.slots[place] = [*groups]
        return True

    def _group(self, found: Found, nodes: Sequence[Node]) -> ProductGroup | None:
        """The group of a product with its epilogue; None if the library does not take it."""
        gemm, _, _ = described(found, self.array)
        if gemm is None or not self.updates.isdisjoint(found.outputs) or not self.takes(gemm):
            return None
        in_place = () if found.added is None else (found.added,)
        nodes = tuple(dict.fromkeys(nodes))
        return ProductGroup(
            nodes,
            found.inputs,
            found.outputs,
            may_overwrite={found.result: in_place},
            sizes=sizes_of(found, gemm),
            found=found,
        )

    def root(self, node: Node) -> Node:
        """The value whose memory a view shows."""
        while node in self.layouts.views:
            node = node.heads[0]
        return node

    def array(self, node: Node) -> Array:
        """How a value lies; where, is not known yet but for its distance from its root."""
        its, root = self.layouts.arrays[node], self.root(node)
        offset = 0
        if root is not node:
            offset = int(its.ctypes.data - self.layouts.arrays[root].ctypes.data)
        return Array(root, offset, node.dtype, node.type.sizes, its.strides)
