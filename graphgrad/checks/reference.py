"""Computes the expected value of a node from known values, in three ways.

- In the dtypes of the nodes, by the reference evaluation (`ops.evaluate`).
- In float64 throughout, which decides whether a difference is rounding.
- In float64 with every value perturbed by about a unit in the last place of the node's dtype; the
  distance that the result moves is the distance that rounding alone can cause. (Stochastic
  arithmetic; Vignes 1993, "A stochastic arithmetic for reliable scientific computation".) Heads of
  comparisons are not perturbed: equal values would no longer be equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphgrad.graph import Graph, Node, TensorType, constant
from graphgrad.graph.types import FLOAT64
from graphgrad.ops.evaluate import evaluate_node

Values = Mapping[Node, np.ndarray]
PERTURBED_BY = 4.0
"""Units in the last place; more than one rounding, as a kernel rounds several times."""


def expected_value(node: Node, known: Values) -> np.ndarray:
    """The value of a node, computed from the known values of its heads; unknown heads are computed
    first."""
    return _Evaluation(known).result(node)


def float64_value(node: Node, known: Values) -> np.ndarray:
    """The value of a node, computed in float64 from the known values of its heads."""
    return _Evaluation(known, wide=True).result(node)


def perturbed_value(node: Node, known: Values, seed: int) -> np.ndarray:
    """The value of a node, computed in float64 with every intermediate float perturbed.

    With seed 0 all floats are perturbed in one direction, as equal rows are rounded equally.
    """
    return _Evaluation(known, wide=True, noise=_Noise(seed)).result(node)


class _Noise:
    """Draws the directions, 1 or -1, in which elements are perturbed."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed) if seed else None

    def __call__(self, shape: tuple[int, ...]) -> np.ndarray | float:
        return self._generator.choice((-1.0, 1.0), shape) if self._generator else 1.0


class _Evaluation:
    def __init__(self, known: Values, wide: bool = False, noise: _Noise | None = None) -> None:
        self.known, self.wide, self.noise = known, wide, noise
        self._made: dict[tuple[Node, bool], np.ndarray] = {}

    def result(self, node: Node) -> np.ndarray:
        """Computes the node from its heads, even if its own value is known."""
        perturbing = self.noise is not None
        stack: list[tuple[Node, bool, bool]] = [(node, perturbing, True)]
        while stack:
            current, perturbed, last = stack[-1]
            key = (current, perturbed)
            if key in self._made and not last:
                stack.pop()
                continue
            if current in self.known and not (last and current.heads):
                self._made[key] = self._known(current, perturbed)
                stack.pop()
                if last:
                    return self._made[key]
                continue
            moving = perturbed and current.type.is_float  # a comparison reads unperturbed values
            missing = [head for head in current.heads if (head, moving) not in self._made]
            if missing:
                stack += [(head, moving, False) for head in missing]
                continue
            value = self._computed(current, [self._made[head, moving] for head in current.heads])
            stack.pop()
            if last:
                return value
            self._made[key] = self._moved(current, value) if moving else value
        raise AssertionError("the requested node is computed last")

    def _known(self, node: Node, moving: bool) -> np.ndarray:
        value = _in_float64(node, self.known[node]) if self.wide else self.known[node]
        return self._moved(node, value) if moving and node.operation is not constant else value

    def _moved(self, node: Node, value: np.ndarray) -> np.ndarray:
        assert self.noise is not None
        return _perturbed(node, value, self.noise) if node.type.is_float else value

    def _computed(self, node: Node, heads: Sequence[np.ndarray]) -> np.ndarray:
        if node.operation.view is not None:
            try:
                return np.asarray(
                    node.operation.view(heads[0], *(None for _ in heads[1:]), **node.attributes)
                )
            except ValueError:  # the strides of these elements allow no such view
                pass
        if not self.wide:
            return evaluate_node(node, heads)
        return float64_result(node, heads)


def float64_values(graph: Graph, values: Values) -> dict[Node, np.ndarray]:
    """Every value of a graph with floats in float64, from these values of its leaves."""
    wide: dict[Node, np.ndarray] = {}
    for node in graph.nodes:
        wide[node] = (
            float64_result(node, [wide[head] for head in node.heads])
            if node.heads
            else _in_float64(node, values[node])
        )
    return wide


def perturbed_values(graph: Graph, wide: Values, seed: int = 1) -> dict[Node, np.ndarray]:
    """The values of a graph with every float perturbed; integers and booleans are unperturbed."""
    noise = _Noise(seed)
    perturbed: dict[Node, np.ndarray] = {}
    for node in graph.nodes:
        if not node.type.is_float or node.operation is constant:
            perturbed[node] = wide[node]
        else:
            value = (
                float64_result(node, [perturbed[head] for head in node.heads])
                if node.heads
                else wide[node]
            )
            perturbed[node] = _perturbed(node, value, noise)
    return perturbed


def _in_float64(node: Node, value: np.ndarray) -> np.ndarray:
    return value.astype(np.float64) if node.type.is_float else value


def _perturbed(node: Node, value: np.ndarray, noise: _Noise) -> np.ndarray:
    """A value whose elements are each perturbed up or down; one of 16 bits is stored exactly."""
    if node.type.is_half:
        return np.asarray(value)
    units = PERTURBED_BY * float(np.finfo(node.dtype).eps)
    return np.asarray(value * (1.0 + units * noise(value.shape)))


def float64_result(node: Node, heads: Sequence[np.ndarray]) -> np.ndarray:
    """Computes one operation with every float in float64."""
    operation, keywords = node.operation, dict(node.attributes)
    out = np.empty(node.type.sizes, np.float64 if node.type.is_float else node.dtype)
    if operation.scratch is not None:
        types = operation.scratch(
            *(_float64_type(head.type) for head in node.heads), **node.attributes
        )
        keywords["scratch"] = tuple(np.empty(each.sizes, each.dtype) for each in types)
    assert operation.compute is not None, "what a program computes can be computed"
    with np.errstate(all="ignore"):
        operation.compute(np, out, *heads, **keywords)
    return out


def _float64_type(type_: TensorType) -> TensorType:
    return TensorType(type_.shape, FLOAT64) if type_.is_float else type_
