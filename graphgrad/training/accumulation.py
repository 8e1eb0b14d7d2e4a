"""Accumulates the gradients of several batches into one update: the setting `accumulate`.

A step then is N batches, and N calls of one program: that of the batch's shape, so nothing more is
compiled. The sums over the batches so far are states of the graph, and so is the number of the
batch within the step (`run.part`). Each call adds its batch to the sums; only the last one of a
step changes the parameters, the moments and the step count, the others keep them (`where`). The
plan sees that such an update changes nothing in the other calls, and the program leaves it out
there (`plan.Step.condition`). A second program, for the update, would be one more to compile and
one more pass over the sums, and ranks, checks and recordings would need both.

    mean over all batches = Σ w L / Σ w          gradient = Σ w ∂L / Σ w

where L is the mean loss of a batch and w what it is a mean over (the number of targets, say). So
the result is that of one large batch to rounding, though batches differ in size and padding. A loss
that is a sum over its batch is added, with w = 1 and without the division.

What the loss is a mean over is read off the graph: `mean(…)` over all axes, `mean_over_targets`, a
sum. A loss of another form declares it as the output `weight`.

Dropout counts batches, not steps, so that no two batches of a step share a mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graphgrad.errors import DeclarationError
from graphgrad.graph import ZEROS, Graph, Node, declared_at, leaf_name, state
from graphgrad.graph.scope import scoped
from graphgrad.ops import (
    add,
    cast,
    divide,
    dropout_mask,
    equal,
    half_squared_error,
    mean,
    multiply,
    ones_like,
    where,
)
from graphgrad.ops import sum as sum_of
from graphgrad.passes.rewrite import map_nodes

PART = "run.part"
"""The state that counts the batches of the step that are done."""
WEIGHT, LOSS_OF_STEP = "weight", "loss_of_step"
"""The output that says what a loss is a mean over, and the one that accumulation adds."""


@dataclass(frozen=True)
class Gathered:
    """The gradients of a step, and what happens at its end only."""

    gradients: Mapping[Node, Node]
    updates: Mapping[Node, Node] = field(default_factory=dict)
    """The next values of the sums and of the number of the batch."""
    outputs: Mapping[str, Node] = field(default_factory=dict)
    last: Node | None = None
    """Whether the batch is the last one of its step; None where every batch is."""

    def at_the_end(self, updates: Mapping[Node, Node]) -> dict[Node, Node]:
        """The updates, each of which keeps its leaf as it is before the last batch of a step."""
        if self.last is None:
            return dict(updates)
        held = {}
        for leaf, node in updates.items():
            with declared_at("", leaf.origin):
                held[leaf] = where(self.last, node, leaf)
        return held


def gathered(
    graph: Graph,
    loss: Node,
    gradients: Mapping[Node, Node],
    part: Node,
    batches: int,
    first: bool,
) -> Gathered:
    """Adds the sums over the batches of a step; of one batch, nothing.

    `gradients` are those of a batch by leaf, `part` is the count of batches (`part_of`). `first`
    tells whether this is the graph's first optimiser: further ones share its count. Raises
    DeclarationError for a loss of which it is not known what it is a mean over.
    """
    if batches == 1:
        return Gathered(gradients)
    weight, divides = _weight_of(graph, loss)
    started, last = equal(part, 0, name="starts"), equal(part, batches - 1, name="ends")
    zero = cast(part * 0, loss.dtype)
    weights = state("weights", (), ZEROS, loss.dtype)
    losses = state("losses", (), ZEROS, loss.dtype)
    together = add(where(started, zero, weights), weight, name="weight_so_far")
    lost = add(where(started, zero, losses), weight * loss, name="loss_so_far")
    updates = {weights: together, losses: lost}
    means = {}
    for leaf, gradient in gradients.items():
        with declared_at(scoped(leaf_name(leaf)), leaf.origin):
            total = state("accumulated", leaf.type.sizes, ZEROS, leaf.dtype)
            part_of_it = multiply(cast(weight, leaf.dtype), gradient) if divides else gradient
            before = where(started, cast(zero, leaf.dtype), total)
            updates[total] = summed = add(before, part_of_it, name="next_accumulated")
            means[leaf] = (
                divide(summed, cast(together, leaf.dtype), name="gradient") if divides else summed
            )
    outputs = {}
    if first:
        updates[part] = where(last, part * 0, part + 1, name="next_part")
        outputs[LOSS_OF_STEP] = divide(lost, together, name="mean_loss") if divides else lost
    return Gathered(means, updates, outputs, last)


def _weight_of(graph: Graph, loss: Node) -> tuple[Node, bool]:
    """What the loss is a mean over, and True; or 1 and False for a sum."""
    if (declared := graph.outputs.get(WEIGHT)) is not None:
        if declared.shape != ():
            raise DeclarationError(
                f"the output {WEIGHT!r} is {declared.type}: it says what the loss is a mean over",
                declared.origin,
                "declare a scalar, such as the number of targets",
            )
        return cast(declared, loss.dtype), True
    if loss.operation is mean:
        return sum_of(ones_like(loss.heads[0])), True
    if loss.operation.name == "divide" and _is_count(graph, loss.heads[1]):
        return loss.heads[1], True
    if _is_sum(loss):
        return cast(ones_like(loss), loss.dtype), False
    raise DeclarationError(
        "gradients cannot be accumulated: the graph does not say what the loss is a mean over",
        loss.origin,
        f"declare it as the output {WEIGHT!r}, a scalar (the number of targets, say); or end the "
        "loss with mean(…), mean_over_targets(…) or sum(…)",
    )


def _is_count(graph: Graph, node: Node) -> bool:
    """Whether a divisor counts something of the batch: a sum that no parameter has a part in."""
    above = graph.ancestors([node])
    return (
        node.operation is sum_of
        and node.shape == ()
        and above.isdisjoint(graph.states.values())
        and not above.isdisjoint(graph.inputs.values())
    )


def _is_sum(node: Node) -> bool:
    """Whether a loss is a sum over its batch, or a sum of such sums."""
    if node.operation is add:
        return all(_is_sum(head) for head in node.heads)
    return node.shape == () and node.operation in (sum_of, half_squared_error)


def part_of(graph: Graph) -> Node:
    """The state that counts the batches of a step: the graph's own, or a new one."""
    known = graph.states.get(PART)
    if known is not None:
        return known
    with declared_at("", None):
        return state(PART, (), dtype="int64")


def counting_batches(graph: Graph, step: Node, part: Node, batches: int) -> Graph:
    """The graph whose dropout masks are those of the batch's number, in place of the step's."""
    if batches == 1:
        return graph
    number = step * batches + part

    def renumbered(node: Node) -> Node | None:
        if node.operation is not dropout_mask or node.heads[1] is not step:
            return None
        return dropout_mask.node(node.heads[0], number, **node.attributes)

    return map_nodes(graph, renumbered, lambda node: node.operation is dropout_mask)
