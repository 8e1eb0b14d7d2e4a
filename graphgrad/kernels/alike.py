"""Prints each kind of loop nest once: equal layers have regions that differ in their nodes alone.

Two regions are alike where everything that `print_loops` looks at is equal, with nodes told apart
by the order in which they are met. Then the nest of one is the nest of the other with its nodes in
their places, and the text is the same. A model of forty layers is printed as quickly as one of two.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace

from graphgrad.graph import Node
from graphgrad.kernels.loop_nest import LoopNest, Stream, Word
from graphgrad.kernels.loops import print_loops
from graphgrad.kernels.reading import is_generator, is_inlined, unrepeated
from graphgrad.kernels.region import Region


class LoopPrinter:
    """Prints the loop nests of one program."""

    def __init__(self) -> None:
        self._printed: dict[Hashable, tuple[Iterable[Node], LoopNest]] = {}

    def nest(
        self, region: Region, outputs: Sequence[Node], shared: Mapping[Node, Node] | None = None
    ) -> LoopNest:
        """What `print_loops` gives for these."""
        nodes, kind = _kind(region, outputs, shared or {})
        if kind not in self._printed:
            self._printed[kind] = nodes, print_loops(region, outputs, shared)
            return self._printed[kind][1]
        model, nest = self._printed[kind]
        return _with_nodes(nest, region, dict(zip(model, nodes, strict=True)))


def _kind(
    region: Region, outputs: Sequence[Node], shared: Mapping[Node, Node]
) -> tuple[Iterable[Node], Hashable]:
    """The nodes that the nest is about, numbered by their order, and what it is without them."""
    numbers: dict[Node, int] = {}
    roles = region.roles
    parts: list[Hashable] = [region.space]
    for node, role in roles.items():
        heads = [numbers[head] if head in roles else _outside(head, numbers) for head in node.heads]
        numbers[node] = len(numbers)
        parts.append((node.operation, node.dtype, role, *heads))
    parts.append(tuple([numbers[node] for node in outputs]))
    parts += [(numbers[node], numbers[argument]) for node, argument in shared.items()]
    return numbers, tuple(parts)


def _outside(head: Node, numbers: dict[Node, int]) -> Hashable:
    """What a kernel sees of a value that it does not compute."""
    if is_inlined(head):
        return head.dtype, head.attributes["value"]
    head = unrepeated(head)
    seen = numbers.setdefault(head, len(numbers)), head.type
    if not is_generator(head):
        return seen
    sources = [(numbers.setdefault(source, len(numbers)), source.dtype) for source in head.heads]
    return *seen, head.attributes["rate"], *sources  # its stream is no part of the text


def _with_nodes(nest: LoopNest, region: Region, nodes: Mapping[Node, Node]) -> LoopNest:
    """The nest of a region that is alike."""
    return replace(
        nest,
        region=region,
        words=tuple([_with_node(word, nodes) for word in nest.words]),
        arguments=tuple([replace(each, node=nodes[each.node]) for each in nest.arguments]),
        outputs=tuple([nodes[node] for node in nest.outputs]),
        collected=tuple([nodes[node] for node in nest.collected]),
        last_read={nodes[node]: stage for node, stage in nest.last_read.items()},
        first_write={nodes[node]: stage for node, stage in nest.first_write.items()},
    )


def _with_node(word: Word, nodes: Mapping[Node, Node]) -> Word:
    if isinstance(word, Node):
        return nodes[word]
    return Stream(nodes[word.mask]) if isinstance(word, Stream) else word
