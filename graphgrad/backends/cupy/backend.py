"""Lowers a plan to a program for a CUDA device, as data.

Every step of the plan becomes launches of kernels: those of its loop nest, or those that rules.py
names for an operation. A matrix product is left to a library, and what has no kernel is computed by
the array module as the operation's block says. Steps that compute one number each, such as those of
a learning rate or a gradient's norm, become one kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from graphgrad import ops
from graphgrad.backends.cupy.attention import attention
from graphgrad.backends.cupy.launches import Array, Computed, DeviceProgram, Gemm, Launch, Product
from graphgrad.backends.cupy.lowering import Lowering
from graphgrad.backends.cupy.merge_launches import merge_launches
from graphgrad.backends.cupy.product_batches import ProductBatch, stacked
from graphgrad.backends.cupy.product_groups import ProductGroup, described
from graphgrad.backends.cupy.products import FLOATS, gemm_of
from graphgrad.backends.cupy.rules import rule_of
from graphgrad.fusion.builder import build_nest
from graphgrad.fusion.reading import Role
from graphgrad.fusion.region import Region
from graphgrad.graph import LEAVES, Node
from graphgrad.ops.attention import OPERATIONS as ATTENTION
from graphgrad.plan import Plan, Step

MOST_NUMBERS = 120
"""Steps of one number each that become one kernel; a kernel takes 4 kB of parameters at most."""


def lower(
    plan: Plan,
    joined: bool = True,
    workspace: Callable[[Gemm], int] = lambda gemm: 0,
    on_tensor_cores: Callable[[], bool] = lambda: True,
) -> DeviceProgram:
    """The program of a plan for a device; unless `joined`, every launch is one by itself.

    `workspace` says how many bytes the device's library needs for a product; `on_tensor_cores`,
    whether attention of 16 bits has the kernels on tensor cores, and is asked only for such a plan.
    """
    lowering, graph = Lowering(plan, on_tensor_cores), plan.graph
    before, after = plan.steps[: plan.guard_position], plan.steps[plan.guard_position :]
    _add_steps(lowering, before)
    for node in plan.guards:
        lowering.guard(node)
    _add_steps(lowering, after)
    for leaf, node in plan.copies:
        lowering.copy(node, lowering.array(node), lowering.array(leaf))
    outputs = {name: lowering.array(node) for name, node in graph.outputs.items()}
    stored = (node for step in plan.steps for node in step.group.outputs)
    values = {node: lowering.array(node) for node in stored}
    actions = lowering.actions
    if lowering.refusals or lowering.guarded:
        actions = [lowering.cleared(), *actions]
    if joined:
        actions = merge_launches(actions, lowering.kernels)
    products = [action for action in actions if isinstance(action, Product)]
    names: dict[str, dict[str, None]] = {}
    for action in actions:
        if isinstance(action, Launch):
            names.setdefault(action.kernel, {}).update(
                dict.fromkeys(map(graph.name_of, action.nodes))
            )
    return DeviceProgram(
        tuple(actions),
        {name: text for name, text in lowering.kernels.items() if name in names},
        plan.arena_bytes,
        lowering.numbers_bytes,
        lowering.scratch_bytes,
        tuple(lowering.refusals),
        outputs,
        {leaf: lowering.array(leaf) for leaf in graph.nodes if leaf.operation in LEAVES},
        {kernel: tuple(its) for kernel, its in names.items()},
        values,
        max((workspace(each.gemm) for each in products if each.gemm is not None), default=0),
    )


def _add_steps(lowering: Lowering, steps: Sequence[Step]) -> None:
    for run in _runs(lowering, steps):
        if len(run) == 1:
            _add_step(lowering, run[0])
        else:
            nodes = [step.node for step in run]
            region = Region((1,), roles=dict.fromkeys(nodes, Role.FULL))
            lowering.nest(nodes[-1], build_nest(region, nodes, lowering.plan.graph))
        lowering.free_scratch()


def _runs(lowering: Lowering, steps: Sequence[Step]) -> Iterator[list[Step]]:
    """The steps in order, those that compute one number each together: such a step waits until
    another one reads its number, or writes a state."""
    waiting: list[Step] = []
    places = lowering.plan.places
    for step in steps:
        if _is_number(lowering, step):
            waiting.append(step)
            if len(waiting) == MOST_NUMBERS:
                yield waiting
                waiting = []
            continue
        read = {places[head].root for head in step.group.inputs}
        stateful = any(places[node].kind == "state" for node in step.group.outputs)
        made = {each for its in waiting for each in (its.node, places[its.node].root)}
        if waiting and (stateful or not made.isdisjoint(read)):
            yield waiting
            waiting = []
        yield [step]
    if waiting:
        yield waiting


def _is_number(lowering: Lowering, step: Step) -> bool:
    """Whether a step computes one number from others by an elementwise operation."""
    node, places = step.node, lowering.plan.places
    if step.group.nest is not None or not node.operation.kernel:
        return False
    values = (node, *node.heads)
    return all(its.shape == () and places[its].root.type.size == 1 for its in values)


def _add_step(lowering: Lowering, step: Step) -> None:
    if isinstance(step.group, ProductGroup):
        found = step.group.found
        gemm, extras, why = described(found, lowering.array)
        assert gemm is not None, why
        out, heads = lowering.array(found.result), tuple(map(lowering.array, found.product.heads))
        lowering.actions.append(Product(found.result, out, heads, gemm, extras))
        return
    if isinstance(step.group, ProductBatch):
        _add_batch(lowering, step.group.nodes)
        return
    node, nest = step.node, step.group.nest
    if nest is not None:
        number = {each: place for place, each in enumerate(nest.nodes)}
        in_place = {number[output]: number[head] for output, head in step.in_place.items()}
        lowering.nest(node, nest, in_place)
        return
    if len(step.group.nodes) > 1 or node.operation in ATTENTION:
        attention(lowering, step.group.nodes)
        return
    heads, rule = tuple(map(lowering.array, node.heads)), rule_of(node.operation)
    if node.operation is not ops.matmul and rule is not None:
        rule(lowering, node)
        return
    target = lowering.array(node)
    aside = lowering.guarded and isinstance(target.memory, Node)
    out = lowering.scratch(node.type) if aside else target  # a library looks at no flag
    if node.operation is ops.matmul:
        out = _add_product(lowering, node, out)
    else:
        scratch = tuple(lowering.in_arena(its.offset, its.type) for its in step.scratch)
        lowering.actions.append(Computed(node, out, heads, scratch))
    if out is not target:
        lowering.copy(node, out, target)


def _add_batch(lowering: Lowering, nodes: Sequence[Node]) -> None:
    """Products of one value with others, as a batch where these lie at equal distances."""
    *others, last = nodes
    out = stacked([lowering.array(node) for node in nodes])
    sides = [stacked([lowering.array(node.heads[side]) for node in nodes]) for side in (0, 1)]
    heads = tuple(side for side in sides if side is not None)
    if out is not None and len(heads) == len(sides):
        gemm = gemm_of(out, heads, **last.attributes)
        if gemm is not None:
            made = Product(last, out, heads, gemm, others=tuple(others))
            lowering.actions.append(made)
            return
    for node in nodes:
        _add_product(lowering, node, lowering.array(node))


def _add_product(lowering: Lowering, node: Node, out: Array) -> Array:
    """A product of arrays as BLAS reads them, copied before where they lie otherwise; where the
    result lies."""
    heads, attributes = tuple(map(lowering.array, node.heads)), node.attributes
    if not out.size:
        return out
    gemm = gemm_of(out, heads, **attributes)
    if gemm is None and str(node.dtype) in FLOATS and all(head.size for head in heads):
        heads = tuple(lowering.contiguous(node, head) for head in heads)
        gemm = gemm_of(out, heads, **attributes)
        if gemm is None:
            out = lowering.scratch(node.type)
            gemm = gemm_of(out, heads, **attributes)
    lowering.actions.append(Product(node, out, heads, gemm))
    return out
