"""Reads values and deltas in the middle of a model in the words of its vocabulary.

logit lens (nostalgebraist 2020)    logits as they would be if the model ended after a layer: the
                                    layer's value takes the place of the last layer's value
backward lens (Katz et al. 2024)    -δ · Wᵀ with the matrix W of the output layer: the words towards
                                    which a step against the gradient would move a layer's value

Both are nodes of a graph like any others. Where the values of layers come from is found by
structure: the logits are the head of the cross-entropy, the output layer is the product before
them, and layers are the scopes with a number (`decoder.0`) by whose one exit a value of the same
type leaves that the logits depend on. Any nodes of that type can be given instead.

What the lens says of an early layer is a reading, not a prediction of the model: only the last
layer was trained to be read so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from graphgrad.backprop import derive
from graphgrad.compile import compile
from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.figures.axes import axes_of_graph
from graphgrad.graph import Graph, Node
from graphgrad.interpret.named_array import NamedArray
from graphgrad.interpret.substitution import substituted
from graphgrad.ops import add, negative
from graphgrad.ops.composite import cross_entropy
from graphgrad.ops.contraction import matmul

Arrays = Mapping[str, np.ndarray]
Made = TypeVar("Made")


@dataclass(frozen=True)
class Word:
    """One token of the vocabulary with its value: a probability, or a share of a delta."""

    token: int
    value: float


@dataclass(frozen=True)
class Reading:
    """What a lens says of one node: `logits` [..., vocabulary]."""

    name: str
    logits: NamedArray

    @property
    def probabilities(self) -> NamedArray:
        """softmax of the logits, in float64."""
        shifted = self.logits.array.astype(np.float64)
        shifted = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
        normal = shifted / shifted.sum(axis=-1, keepdims=True)
        return NamedArray(self.name, self.logits.axes, normal)

    def top(self, place: tuple[int, ...], count: int = 5) -> list[Word]:
        """The tokens with the largest logits at an index of the other axes, the largest first."""
        return _top(self.probabilities.array[place], count)


@dataclass(frozen=True)
class BackwardReading:
    """What the backward lens says of one delta: `directions` [..., vocabulary], -δ · Wᵀ."""

    name: str
    directions: NamedArray

    def top(self, place: tuple[int, ...], count: int = 5) -> list[Word]:
        """The tokens that a step against the gradient would most move the value towards."""
        return _top(self.directions.array[place], count)

    def bottom(self, place: tuple[int, ...], count: int = 5) -> list[Word]:
        """The tokens that it would most move the value away from."""
        return [
            Word(word.token, -word.value) for word in _top(-self.directions.array[place], count)
        ]


def _top(values: np.ndarray, count: int) -> list[Word]:
    best = np.argsort(-values, kind="stable")[:count]
    return [Word(int(token), float(values[token])) for token in best]


def logit_lens(graph: Graph, layers: Sequence[str | Node] = ()) -> Callable[..., list[Reading]]:
    """Compiles the logits of a model as they would be after each layer.

    `graph` is forward, with a cross-entropy of the logits; `layers` are names or nodes in order,
    the last of which the rest of the model reads; by default they are found (module docstring).
    Returns a function of the state and the inputs, `lens(state, feeds)`, that gives a `Reading` for
    each layer; the last is the model's own. Raises DeclarationError where the graph has no such
    parts, or layers differ in type.

    >>> import graphgrad as gg
    >>> x, w = gg.input("x", ("batch", 2)), gg.parameter("w", (2, 3), gg.uniform(1.0))
    >>> h = gg.tanh(gg.tanh(x, name="first"), name="second")
    >>> losses = gg.cross_entropy(h @ w, gg.input("truth", "batch", "int32"))
    >>> graph = gg.Graph({"loss": gg.mean(losses, name="loss")})
    >>> lens = logit_lens(graph, ["first", "second"])
    >>> readings = lens(gg.initial_state(graph), {"x": [[1.0, 0.0]], "truth": [0]})
    >>> [(reading.name, reading.logits.axes) for reading in readings]
    [('first', ('batch', 'vocabulary')), ('second', ('batch', 'vocabulary'))]
    """
    logits, nodes = logits_of(graph), layers_of(graph, layers)
    last, axes = nodes[-1], axes_of_graph(graph)[logits]
    forward = graph.with_outputs({"logits": logits}, {})
    outputs = {
        graph.name_of(node): logits
        if node is last
        else substituted(forward, {last: node}).outputs["logits"]
        for node in nodes
    }

    def read(name: str, array: np.ndarray) -> Reading:
        return Reading(name, NamedArray(name, axes, array))

    return _runner(Graph(outputs), read)


def backward_lens(
    graph: Graph, layers: Sequence[str | Node] = (), of: str = "loss"
) -> Callable[..., list[BackwardReading]]:
    """Compiles -δ · Wᵀ of each layer, W the matrix of the output layer.

    Arguments and errors are those of `logit_lens`; the deltas are those of the scalar output `of`.

    >>> import graphgrad as gg
    >>> x, w = gg.input("x", ("batch", 2)), gg.parameter("w", (2, 3), gg.uniform(1.0))
    >>> h = gg.tanh(gg.tanh(x, name="first"), name="second")
    >>> losses = gg.cross_entropy(h @ w, gg.input("truth", "batch", "int32"))
    >>> graph = gg.Graph({"loss": gg.mean(losses, name="loss")})
    >>> lens = backward_lens(graph, ["first", "second"])
    >>> second = lens(gg.initial_state(graph), {"x": [[1.0, 0.0]], "truth": [2]})[1]
    >>> second.name, second.top((0,), 1)[0].token
    ('second', 2)
    """
    product, side = output_product(graph)
    nodes = layers_of(graph, layers)
    forward = graph.with_outputs({of: graph[of]}, {})
    derived = derive(forward, of)
    table, attributes = product.heads[1 - side], product.attributes
    outputs: dict[str, Node] = {}
    for node in nodes:
        name = graph.name_of(node)
        direction = negative(derived.delta(name))
        heads = (direction, table) if side == 0 else (table, direction)
        outputs[name] = matmul.node(*heads, **attributes)
    all_axes = axes_of_graph(graph)

    def read(name: str, array: np.ndarray) -> BackwardReading:
        axes = (*all_axes[graph[name]][:-1], "vocabulary")
        return BackwardReading(name, NamedArray(name, axes, array))

    return _runner(Graph(outputs), read)


def _runner(graph: Graph, made: Callable[[str, np.ndarray], Made]) -> Callable[..., list[Made]]:
    run = compile(graph)

    def read(state: Arrays, feeds: Arrays) -> list[Made]:
        own = {name: state[name] for name in graph.states}
        given = {name: feeds[name] for name in graph.inputs}
        return [made(name, array) for name, array in run(own, given).items()]

    return read


# ---------------------------------------------------------------- the parts of a model


def logits_of(graph: Graph) -> Node:
    """The logits: the head of the one cross-entropy. DeclarationError where there is not one."""
    found = {node.heads[0] for node in graph.nodes if node.operation is cross_entropy}
    if len(found) != 1:
        raise DeclarationError(
            f"a lens reads the logits of a cross-entropy, and the graph has {len(found)} of them",
            fix="declare the loss with gg.cross_entropy, once",
        )
    return found.pop()


def output_product(graph: Graph) -> tuple[Node, int]:
    """The product of the output layer, and which of its heads is the value of the last layer.

    The other head has the matrix: it does not depend on an input.
    """
    node = logits_of(graph)
    data = graph.descendants(graph.inputs.values())
    while node.operation is add:
        following = [head for head in node.heads if head in data and head.shape == node.shape]
        if len(following) != 1:
            break
        node = following[0]
    sides = [number for number, head in enumerate(node.heads) if head in data]
    if node.operation is not matmul or len(sides) != 1:
        raise DeclarationError(
            f"{graph.name_of(node)!r} is not a product with a matrix of the vocabulary",
            node.origin,
            "the backward lens reads models that end with a linear layer",
        )
    return node, sides[0]


def layers_of(graph: Graph, given: Sequence[str | Node] = ()) -> list[Node]:
    """The nodes given, or the exits of the numbered scopes that lead to the logits, in order."""
    nodes = [graph[item] for item in given] or list(_exits(graph))
    if not nodes:
        raise UnknownNameError(
            "no scope of the model has a number and one exit",
            fix="name the nodes to be read, in order",
        )
    logits = logits_of(graph)
    needed = graph.ancestors([logits])
    for node in nodes:
        if node.type != nodes[-1].type or node not in needed:
            raise DeclarationError(
                f"{graph.name_of(node)!r} is {node.type}, not a value of the logits with the type "
                f"of {graph.name_of(nodes[-1])!r}, {nodes[-1].type}",
                node.origin,
                "choose values of one residual stream",
            )
    return nodes


def _exits(graph: Graph) -> Iterator[Node]:
    """What enters the first numbered scope of the last group of layers, and the exit of each."""
    logits = logits_of(graph)
    needed = graph.ancestors([logits])
    scopes: dict[tuple[str, int], list[Node]] = {}
    for node in graph.nodes:
        found = _scope_of(graph.name_of(node))
        if found and node in needed and node.heads:
            scopes.setdefault(found, []).append(node)
    if not scopes:
        return
    last_group = max(scopes, key=lambda key: graph.position(scopes[key][-1]))[0]
    exits = [
        node
        for key in sorted(scopes)
        if key[0] == last_group
        for node in _leaving(graph, scopes[key], needed)
    ]
    first = scopes[min(key for key in scopes if key[0] == last_group)]
    entering = [head for node in first for head in node.heads if head not in first]
    alike = [node for node in (*entering[:1], *exits) if node.type == exits[-1].type]
    yield from dict.fromkeys(alike)


def _scope_of(name: str) -> tuple[str, int] | None:
    """The outermost numbered scope of a name: `decoder.0.attention.q` is in (decoder, 0)."""
    parts = name.split(".")
    for number, part in enumerate(parts[:-1]):
        if part.isdecimal():
            return ".".join(parts[:number]), int(part)
    return None


def _leaving(graph: Graph, inside: Sequence[Node], needed: set[Node]) -> list[Node]:
    """The last value that leaves a scope towards the logits."""
    own = set(inside)
    leaving = [
        node
        for node in inside
        if node.rank and any(tail in needed and tail not in own for tail in graph.tails(node))
    ]
    return leaving[-1:]
