"""How a random graph grows: the operations and idioms that passes meet, each as one step.

Values are computed while the graph grows, so that domains are guarded by what a value is: what is
not finite or too large is wrapped in tanh.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np

import graphgrad as gg
from graphgrad import Graph, Node
from graphgrad.graph.types import broadcast
from graphgrad.ops.evaluate import evaluate_node


@dataclass
class Growing:
    """The nodes that stand so far, with their values."""

    random: Random
    dtype: str = "float64"
    values: dict[Node, np.ndarray] = field(default_factory=dict)
    tame: list[Node] = field(default_factory=list)

    def pick(self, *ranks: int) -> Node:
        """A float node, of one of these ranks where any are given."""
        nodes = [n for n in self.tame if n.type.is_float and (not ranks or n.rank in ranks)]
        return self.random.choice(nodes[-6:] + nodes)

    def partner(self, x: Node) -> Node:
        """A float node that broadcasts with x."""
        fitting = [n for n in self.tame if n.type.is_float and _fits(n, x)]
        return self.random.choice(fitting[-6:] + fitting)

    def coin(self) -> bool:
        return self.random.random() < 0.5

    def some(self, items: Sequence[Any], least: int, most: int) -> list[Any]:
        """Some different items, in random order."""
        count = self.random.randint(least, most)
        return self.random.sample(items, min(count, len(items)))

    def axis(self, x: Node) -> int:
        return self.random.randrange(x.rank)

    def add(self, node: Node) -> Node:
        """Takes the node in with everything it is made of, tamed where it is wild."""
        for part in Graph(node):
            if part not in self.values:
                self.values[part] = _value(part, self.values)
                if (np.abs(self.values[part].astype(float)) < 50).all():
                    self.tame.append(part)
        if node not in self.tame:
            return self.add(gg.tanh(gg.where(gg.is_finite(node), node, 0.5)))
        return node


def _value(node: Node, values: Mapping[Node, np.ndarray]) -> np.ndarray:
    if "value" in node.attributes:
        return node.attributes["value"].array
    return evaluate_node(node, [values[head] for head in node.heads])


def _fits(node: Node, x: Node) -> bool:
    try:
        broadcast([node.shape, x.shape])
    except ValueError:
        return False
    return True


def _unary(function: Callable[[Node], Node]) -> Callable[[Growing], Node]:
    return lambda g: function(g.pick())


def _binary(function: Callable[[Node, Node], Node]) -> Callable[[Growing], Node]:
    def grow(g: Growing) -> Node:
        x = g.pick()
        y = g.partner(x)
        return function(x, y) if g.coin() else function(y, x)

    return grow


def _along(function: Callable[[Node, int], Node]) -> Callable[[Growing], Node]:
    def grow(g: Growing) -> Node:
        x = g.pick(1, 2, 3)
        return function(x, g.axis(x))

    return grow


def _repeated(function: Callable[[Node, Node], Node]) -> Callable[[Node, Node], Node]:
    """One side is broadcast explicitly."""
    return lambda x, y: function(x, gg.broadcast_to(y, broadcast([x.shape, y.shape])))


def _product(g: Growing) -> Node:
    x = g.pick(2, 3)
    fitting = [
        n
        for n in g.tame
        if n.type.is_float and n.rank >= 2 and n.shape[-1] == x.shape[-1] and _fits_in_front(n, x)
    ]
    y = g.random.choice(fitting)
    if g.coin():
        return gg.matmul(x, y, transpose_b=True)
    axes = (*range(y.rank - 2), y.rank - 1, y.rank - 2)
    return gg.matmul(x, gg.transpose(y, axes))


def _fits_in_front(a: Node, b: Node) -> bool:
    try:
        broadcast([a.shape[:-2], b.shape[:-2]])
    except ValueError:
        return False
    return True


def _wider(x: Node) -> Node:
    """x, repeated along a new first axis."""
    return gg.broadcast_to(x, (2, *x.shape))


def _at(axis: int, key: Any) -> tuple[Any, ...]:
    return (slice(None),) * axis + (key,)


def _beside(x: Node, axis: int) -> Node:
    return gg.concatenate([x * 0.5, gg.tanh(x)], axis)


def _beside_itself(x: Node, axis: int) -> Node:
    """A square may stand beside its row: the numbers of the rows as another one's columns."""
    reduced = gg.sum(x, axis) * 0.1
    return x + reduced if _fits(reduced, x) else gg.tanh(reduced)


def _chosen_along(x: Node, axis: int) -> Node:
    """Each element takes the place of two, from behind."""
    places = np.arange(int(x.shape[axis]))[::-1] // 2
    ranks = [size if number == axis else 1 for number, size in enumerate(x.shape)]
    indices = np.broadcast_to(places.reshape(ranks), x.type.sizes).astype("int32")
    return gg.take_along_axis(x, gg.constant(indices), axis)


def _largest_of_outer(g: Growing) -> Node:
    """The maximum of what is made of a column and a row, whose delta looks for it again."""
    column, row = g.pick(1), g.pick(1)
    z = gg.tanh(gg.expand_dims(column, 1) + row * 0.7)
    return gg.max(z, g.random.randrange(2))


def _half(x: Node, axis: int) -> Node:
    return x[(slice(None),) * axis + (slice(0, (int(x.shape[axis]) + 1) // 2),)]


GROWTHS: tuple[Callable[[Growing], Node], ...] = (
    *map(
        _unary,
        (
            gg.tanh,
            gg.sigmoid,
            gg.sin,
            gg.negative,
            gg.absolute,
            gg.relu,
            gg.gelu,
            gg.softplus,
            gg.stop_gradient,
            lambda x: gg.exp(gg.tanh(x)),
            lambda x: x**2.0,
            lambda x: x**1.0,
            lambda x: gg.sqrt(x * x + 0.5),
            lambda x: 1.0 / gg.sqrt(x * x + 0.5),
            lambda x: gg.log(1.0 + x * x),
            lambda x: gg.log(1.0 + gg.exp(x)),
            lambda x: gg.log(gg.sigmoid(x)),
            lambda x: gg.log(1.0 - gg.sigmoid(gg.tanh(x))),
            lambda x: gg.exp(x) - 1.0,
            lambda x: x * 1.0,
            lambda x: x + 0.0,
            lambda x: 0.0 - x,
            lambda x: x / 4.0,
            lambda x: x * 2.0 * 0.75,
            lambda x: gg.negative(-x),
            lambda x: x / 3.0,
            lambda x: gg.reshape(x, -1),
            lambda x: gg.reshape(gg.reshape(x, -1), x.shape),
            gg.transpose,
            lambda x: gg.transpose(gg.transpose(x)),
            lambda x: gg.expand_dims(x, 0),
            lambda x: gg.sum(gg.expand_dims(x, 0), 0),
            lambda x: gg.cast(x > 0.123, x.dtype) * x,
            lambda x: _wider(_wider(x)),
            lambda x: gg.transpose(_wider(x)),
            lambda x: _wider(x)[1],
            lambda x: gg.sum(x),
            lambda x: gg.mean(gg.transpose(x)),
            lambda x: gg.max(x),
        ),
    ),
    *map(
        _binary,
        (
            gg.add,
            gg.subtract,
            gg.multiply,
            gg.maximum,
            gg.minimum,
            lambda x, y: x / (y * y + 0.5),
            lambda x, y: x + -y,
            lambda x, y: x - -y,
            lambda x, y: -x * -y,
            lambda x, y: gg.where(x < y, x, y * 2.0),
            _repeated(gg.add),
            _repeated(gg.multiply),
            _repeated(gg.subtract),
            _repeated(gg.maximum),
            _repeated(lambda x, y: gg.where(gg.less_equal(y, x), y, x)),
        ),
    ),
    *map(
        _along,
        (
            gg.sum,
            gg.mean,
            gg.max,
            gg.min,
            gg.variance,
            gg.logsumexp,
            gg.softmax,
            gg.log_softmax,
            lambda x, a: gg.sum(x, a, keepdims=True),
            lambda x, a: gg.log(gg.softmax(x, a)),
            lambda x, a: gg.log(gg.sum(gg.exp(x), a)),
            lambda x, a: gg.exp(x) / gg.sum(gg.exp(x), a, keepdims=True),
            lambda x, a: x - gg.logsumexp(x, a, keepdims=True),
            lambda x, a: gg.standardise(x, 0.1),
            lambda x, a: gg.concatenate([x, x * 0.5], a),
            _half,
            lambda x, a: gg.max(x, a, keepdims=True) - x,
            lambda x, a: x * gg.mean(x, a, keepdims=True),
            lambda x, a: x[_at(a, slice(None, None, 2))],
            lambda x, a: x[_at(a, 0)],
            _beside_itself,
            lambda x, a: gg.stack([x, gg.tanh(x)], a),
            lambda x, a: gg.split(_beside(x, a), 2, a)[1],
            lambda x, a: gg.pad(x, [(0, 0)] * a + [(1, 1)] + [(0, 0)] * (x.rank - a - 1)),
            lambda x, a: gg.sum(gg.transpose(x), a),
            lambda x, a: gg.mean(_beside(x, a)[_at(a, -1)]),
            lambda x, a: gg.standardise(gg.transpose(x), 0.1),
            _chosen_along,
        ),
    ),
    _product,
    _product,
    _largest_of_outer,
)
