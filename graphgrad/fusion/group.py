"""Groups of nodes that are computed together: the result of fusion and the input of the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graphgrad.fusion.nest import LoopNest
from graphgrad.graph import Node, TensorType
from graphgrad.ops.contraction import matmul
from graphgrad.options import DEFAULTS, Options
from graphgrad.schedule import Schedule


@dataclass(frozen=True, eq=False)
class Group:
    """One operation, several that one step computes (joint.py), or a region for a loop nest.

    `outputs` are the nodes that are read outside of the group; only they get a place in memory.
    `may_overwrite` lists, for an output, the inputs that it may overwrite if they are not read
    later. `nest` is None where no loop nest computes it.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    scratch: tuple[TensorType, ...] = ()
    may_overwrite: Mapping[Node, tuple[Node, ...]] = field(default_factory=dict)
    nest: LoopNest | None = None
    by_kernel: bool = False
    """Whether a kernel computes it that is not a loop nest (attention)."""
    sizes: Mapping[Node, int] = field(default_factory=dict)
    """The bytes of outputs that take another size than their type has."""
    side_by_side: bool = False
    """Whether the outputs, all of one size, lie one after the other."""

    @property
    def is_kernel(self) -> bool:
        """Whether one kernel computes it."""
        return self.by_kernel or self.nest is not None

    def bytes_of(self, node: Node) -> int:
        """The bytes of an output."""
        return self.sizes.get(node, node.type.nbytes)


def single_operation(node: Node, options: Options = DEFAULTS) -> Group:
    """The group of one operation. A product on a device needs no scratch: a library reads operands
    of any dtype as they are."""
    operation = node.operation
    scratch: tuple[TensorType, ...] = ()
    by_library = operation is matmul and options.backend != "numpy"
    if operation.scratch is not None and not by_library:
        scratch = operation.scratch(*(head.type for head in node.heads), **node.attributes)
    read = node.heads[: operation.reads]
    may_overwrite = {node: read} if operation.in_place else {}
    return Group((node,), read, (node,), scratch, may_overwrite)


def without_fusion(schedule: Schedule) -> list[Group]:
    """A group for each operation; views are not computed."""
    views = schedule.layouts.views
    return [single_operation(node) for node in schedule.order if node not in views]
