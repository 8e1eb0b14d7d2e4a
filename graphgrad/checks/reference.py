"""What values should be, node by node, from values that are known: three ways of computing it.

- as the reference engine does, in the dtypes of the nodes;
- in float64 throughout, which settles whether a difference is rounding;
- in float64 with every value shaken by about a unit in the last place of the node's own dtype: how
  far the result moves is how far rounding alone can carry it. (Stochastic arithmetic; Vignes 1993,
  "A stochastic arithmetic for reliable scientific computation".) What a comparison reads is not
  shaken, since a value that equals another one would not after that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphgrad.graph import Graph, Node, TensorType, constant
from graphgrad.graph.types import FLOAT64
from graphgrad.ops.evaluate import evaluate_node

Values = Mapping[Node, np.ndarray]
SHAKEN_BY = 4.0
"""Units in the last place; more than one rounding makes, as a kernel rounds more often."""


def expected_value(node: Node, known: Values) -> np.ndarray:
    """The value of a node that its heads' known values give; what is unknown is computed first."""
    return _Evaluation(known).result(node)


def wide_value(node: Node, known: Values) -> np.ndarray:
    """The same with every float in float64."""
    return _Evaluation(known, wide=True).result(node)


def shaken_value(node: Node, known: Values, seed: int) -> np.ndarray:
    """The same in float64 with every float on the way shaken; with seed 0 all in one direction, as
    rows that are alike are rounded alike."""
    return _Evaluation(known, wide=True, noise=_Noise(seed)).result(node)


class _Noise:
    """Directions for the elements of values, one after another."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed) if seed else None

    def __call__(self, shape: tuple[int, ...]) -> np.ndarray | float:
        return self._generator.choice((-1.0, 1.0), shape) if self._generator else 1.0


class _Evaluation:
    def __init__(self, known: Values, wide: bool = False, noise: _Noise | None = None) -> None:
        self.known, self.wide, self.noise = known, wide, noise
        self._made: dict[tuple[Node, bool], np.ndarray] = {}

    def result(self, node: Node) -> np.ndarray:
        """Computed from its heads, whether or not it is known itself."""
        shaking = self.noise is not None
        stack: list[tuple[Node, bool, bool]] = [(node, shaking, True)]
        while stack:
            current, shaken, last = stack[-1]
            key = (current, shaken)
            if key in self._made and not last:
                stack.pop()
                continue
            if current in self.known and not (last and current.heads):
                self._made[key] = self._known(current, shaken)
                stack.pop()
                if last:
                    return self._made[key]
                continue
            moving = shaken and current.type.is_float  # a comparison reads unshaken values
            missing = [head for head in current.heads if (head, moving) not in self._made]
            if missing:
                stack += [(head, moving, False) for head in missing]
                continue
            value = self._computed(current, [self._made[head, moving] for head in current.heads])
            stack.pop()
            if last:
                return value
            self._made[key] = self._moved(current, value) if moving else value
        raise AssertionError("the node that was asked for is computed last")

    def _known(self, node: Node, moving: bool) -> np.ndarray:
        value = _widened(node, self.known[node]) if self.wide else self.known[node]
        return self._moved(node, value) if moving and node.operation is not constant else value

    def _moved(self, node: Node, value: np.ndarray) -> np.ndarray:
        assert self.noise is not None
        return _shaken(node, value, self.noise) if node.type.is_float else value

    def _computed(self, node: Node, heads: Sequence[np.ndarray]) -> np.ndarray:
        if node.operation.view is not None:
            try:
                return np.asarray(
                    node.operation.view(heads[0], *(None for _ in heads[1:]), **node.attributes)
                )
            except ValueError:  # these elements do not lie so that they can be seen this way
                pass
        if not self.wide:
            return evaluate_node(node, heads)
        return wide_node(node, heads)


def wide_values(graph: Graph, values: Values) -> dict[Node, np.ndarray]:
    """Every value of a graph with floats in float64, from these values of its leaves."""
    wide: dict[Node, np.ndarray] = {}
    for node in graph.nodes:
        wide[node] = (
            wide_node(node, [wide[head] for head in node.heads])
            if node.heads
            else _widened(node, values[node])
        )
    return wide


def shaken_values(graph: Graph, wide: Values, seed: int = 1) -> dict[Node, np.ndarray]:
    """Those values with every float shaken; integers and truth values are the unshaken ones."""
    noise = _Noise(seed)
    shaken: dict[Node, np.ndarray] = {}
    for node in graph.nodes:
        if not node.type.is_float or node.operation is constant:
            shaken[node] = wide[node]
        else:
            value = (
                wide_node(node, [shaken[head] for head in node.heads]) if node.heads else wide[node]
            )
            shaken[node] = _shaken(node, value, noise)
    return shaken


def _widened(node: Node, value: np.ndarray) -> np.ndarray:
    return value.astype(np.float64) if node.type.is_float else value


def _shaken(node: Node, value: np.ndarray, noise: _Noise) -> np.ndarray:
    """A value whose elements have each moved up or down."""
    units = SHAKEN_BY * float(np.finfo(node.dtype).eps)
    return np.asarray(value * (1.0 + units * noise(value.shape)))


def wide_node(node: Node, heads: Sequence[np.ndarray]) -> np.ndarray:
    """One operation with every float in float64."""
    operation, keywords = node.operation, dict(node.attributes)
    out = np.empty(node.type.sizes, np.float64 if node.type.is_float else node.dtype)
    if operation.scratch is not None:
        types = operation.scratch(*(_wide(head.type) for head in node.heads), **node.attributes)
        keywords["scratch"] = tuple(np.empty(each.sizes, each.dtype) for each in types)
    assert operation.compute is not None, "what a program computes can be computed"
    with np.errstate(all="ignore"):
        operation.compute(np, out, *heads, **keywords)
    return out


def _wide(type_: TensorType) -> TensorType:
    return TensorType(type_.shape, FLOAT64) if type_.is_float else type_
