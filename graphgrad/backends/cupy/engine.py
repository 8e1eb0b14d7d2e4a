"""The engine of CUDA devices: from a plan to a program as data.

Every step of the plan becomes launches of kernels: those of its loop nest, or those that rules.py
names for an operation. A matrix product is left to a library, and what has no kernel is computed by
the array module as the operation's block says.
"""

from __future__ import annotations

from graphgrad.backends.cupy.launches import Computed, DeviceProgram, Guard, Product
from graphgrad.backends.cupy.lowering import Lowering, contiguous_array
from graphgrad.backends.cupy.rules import rule_of
from graphgrad.graph import LEAVES
from graphgrad.ops.contraction import MATMUL
from graphgrad.plan import Plan, Step


def lower(plan: Plan) -> DeviceProgram:
    """The program of a plan for a device."""
    lowering = Lowering(plan)
    for number, step in enumerate(plan.steps):
        if number == plan.guard_position:
            _guard(lowering)
        _add_step(lowering, step)
        lowering.free_scratch()
    if plan.guard_position == len(plan.steps):
        _guard(lowering)
    for leaf, node in plan.copies:
        lowering.copy(node, lowering.array(node), lowering.array(leaf))
    graph = plan.graph
    leaves = [node for node in graph.nodes if node.operation in LEAVES]
    return DeviceProgram(
        tuple(lowering.actions),
        lowering.kernels,
        plan.arena_bytes,
        lowering.scratch_bytes,
        {name: lowering.array(node) for name, node in graph.outputs.items()},
        {leaf: lowering.array(leaf) for leaf in leaves},
    )


def _guard(lowering: Lowering) -> None:
    for node in lowering.plan.guards:
        lowering.actions.append(Guard(node, lowering.array(node)))


def _add_step(lowering: Lowering, step: Step) -> None:
    node, nest = step.node, step.group.nest
    if nest is not None:
        number = {each: place for place, each in enumerate(nest.nodes)}
        in_place = {number[output]: number[head] for output, head in step.inherited.items()}
        lowering.nest(node, nest, in_place)
        return
    heads = tuple(map(lowering.array, node.heads))
    rule = rule_of(node.operation)
    if node.operation is MATMUL:
        first, second = heads
        lowering.actions.append(Product(node, lowering.array(node), (first, second)))
    elif rule is not None:
        rule(lowering, node)
    else:
        scratch = tuple(
            contiguous_array(lowering.arena_pointer(its.offset), its.type.dtype, its.type.sizes)
            for its in step.scratch
        )
        lowering.actions.append(Computed(node, lowering.array(node), heads, scratch))
