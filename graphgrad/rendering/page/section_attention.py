"""The section `attention` of a page: weight maps beside ∂L/∂scores, for a few real examples.

What attention is follows from the graph and not from names: a softmax over the last axis whose
value is the left head of a matrix product, perhaps after views and elementwise steps (dropout). Its
scores are the softmax's head, before the mask where one is put in by `where`.

    weights  [example, head, query, key]       scores' delta likewise

An axis has tokens where an input of ids [batch, n] has the same named dimension: the n of the graph
before its sizes are set. Values are packed as float32, so the page shows them exactly; under the
mask both are exactly 0. An example is cut to its true length and `MARGIN` places of padding, and
examples, then places, are left out until the section fits `budget` bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphgrad.graph import CONSTANT, Dimension, Graph, Node, Operation
from graphgrad.inspection.selection import parts_of
from graphgrad.inspection.statistics import Arrays, walk
from graphgrad.ops import where
from graphgrad.ops.composite import SOFTMAX
from graphgrad.ops.contraction import MATMUL
from graphgrad.passes import PASSES, optimise, sizes_of, specialise
from graphgrad.rendering.page.encoding import packed, packed_bits

EXAMPLES, SIDE = 4, 64
BUDGET = 6_000_000  # bytes of text in the page
MARGIN = 2  # places of padding that are shown
LONGEST_TOKEN = 24  # characters
SIDES = (64, 48, 32, 24, 16, 12, 8)

Tokens = Mapping[str, Sequence[str]]
"""For an input of ids, the token of each id."""


@dataclass(frozen=True)
class _Attention:
    """One attention of the graph before its sizes are set."""

    weights: Node
    scores: Node
    delta: Node | None
    mask: Node | None
    query: str | None
    """The input whose tokens stand along the queries, and along the keys."""
    key: str | None


def attention_section(
    graph: Graph,
    feeds: Arrays,
    state: Arrays,
    tokens: Tokens | None = None,
    examples: int = EXAMPLES,
    side: int = SIDE,
    budget: int = BUDGET,
) -> dict[str, Any] | None:
    """The section for a derived graph and one batch of inputs; None where nothing attends.

    `examples` of the batch are shown, at most `side` queries and keys of each.
    """
    found = list(_attentions(graph))
    if not found:
        return None
    arrays = _values(graph, found, feeds, state)
    lengths = _lengths(found, arrays)
    maps = [_split(graph, item, arrays, lengths) for item in found]
    count = min(examples, *(len(item["examples"]) for item in maps))
    side, count = _fitting(maps, count, min(side, SIDE), budget)
    shown = [
        {**item, "examples": [_encoded(example, side) for example in item["examples"][:count]]}
        for item in maps
    ]
    inputs = dict.fromkeys(name for item in found for name in (item.query, item.key) if name)
    return {
        "side": side,
        "maps": shown,
        "examples": [
            _texts(inputs, feeds, tokens or {}, number, side, lengths) for number in range(count)
        ],
    }


# ---------------------------------------------------------------- what attends


def _attentions(graph: Graph) -> Iterator[_Attention]:
    parts = parts_of(graph)
    for node in graph.nodes:
        last = node.rank - 1
        if (
            node.operation is SOFTMAX
            and parts[node] == "forward"
            and node.rank >= 2
            and node.attributes["axis"] == last
            and _weighs(graph, node)
        ):
            scores, mask = _unmasked(node.heads[0])
            query, key = (_input_along(graph, node.shape[axis]) for axis in (-2, -1))
            yield _Attention(node, scores, graph.delta_or_none(scores), mask, query, key)


def _weighs(graph: Graph, weights: Node, steps: int = 4) -> bool:
    """Whether the value becomes the left head of a matrix product within a few simple steps."""
    front = [weights]
    for _ in range(steps):
        following = []
        for node in front:
            for tail in graph.tails(node):
                if tail.operation is MATMUL and tail.heads[0] is node:
                    return True
                if _is_simple(tail.operation) and tail.shape == weights.shape:
                    following.append(tail)
        front = following
    return False


def _is_simple(operation: Operation) -> bool:
    return bool(operation.kernel) or operation.view is not None


def _unmasked(scores: Node) -> tuple[Node, Node | None]:
    """The scores before the mask and the mask, True where a query may look."""
    if scores.operation is where and scores.heads[2].operation is CONSTANT:
        return scores.heads[1], scores.heads[0]
    return scores, None


def _input_along(graph: Graph, size: int | Dimension) -> str | None:
    """The input of ids whose positions are this dimension: the first that is declared."""
    if isinstance(size, int):
        return None
    for name, node in graph.inputs.items():
        if node.rank == 2 and node.dtype.kind in "iu" and node.shape[1] == size:
            return name
    return None


# ---------------------------------------------------------------- values


def _values(
    graph: Graph, found: Sequence[_Attention], feeds: Arrays, state: Arrays
) -> dict[Node, np.ndarray]:
    """The weights, deltas and masks of the graph before its sizes are set, from one evaluation."""
    asked = [
        node for item in found for node in (item.weights, item.delta, item.mask) if node is not None
    ]
    sized = specialise(graph, sizes_of(graph, feeds))
    wanted = {str(graph.position(node)): sized.names[graph.name_of(node)] for node in asked}
    optimised, _ = optimise(sized.with_outputs(wanted, {}), PASSES)
    needed = set(optimised.outputs.values())
    kept: dict[Node, np.ndarray] = {}

    def note(node: Node, value: np.ndarray) -> None:
        if node in needed:
            kept[node] = np.array(value)

    walk(optimised, feeds, state, note)
    return {graph.nodes[int(key)]: kept[node] for key, node in optimised.outputs.items()}


def _by_example(array: np.ndarray) -> np.ndarray:
    """[example, head, query, key] of weights of any rank from 2 on."""
    if array.ndim == 2:
        return array[None, None]
    return array.reshape(array.shape[0], -1, *array.shape[-2:])


def _lengths(
    found: Sequence[_Attention], arrays: Mapping[Node, np.ndarray]
) -> dict[str, np.ndarray]:
    """For each input, the number of places of each example that any query looks at."""
    lengths: dict[str, np.ndarray] = {}
    for item in found:
        if item.key is not None:
            seen = (_by_example(arrays[item.weights]) != 0).any(axis=(1, 2))
            longest = seen.shape[1] - np.argmax(seen[:, ::-1], axis=1)
            used = np.where(seen.any(axis=1), longest, 0)
            lengths[item.key] = np.maximum(lengths.get(item.key, 0), used)
    return lengths


def _split(
    graph: Graph,
    item: _Attention,
    arrays: Mapping[Node, np.ndarray],
    lengths: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """One attention with its arrays by example, cut to their true lengths."""
    weights = _by_example(arrays[item.weights])
    deltas = None if item.delta is None else _by_example(arrays[item.delta])
    mask = None
    if item.mask is not None:
        whole = np.broadcast_to(arrays[item.mask], arrays[item.weights].shape)
        mask = _by_example(whole)
    examples = []
    for number in range(len(weights)):
        cut = tuple(
            slice(int(lengths[name][number]) + MARGIN if name in lengths else None)
            for name in (item.query or "", item.key or "")
        )
        examples.append(
            {
                "weights": weights[number][:, *cut],
                "deltas": None if deltas is None else deltas[number][:, *cut],
                "mask": None if mask is None else mask[number][:, *cut],
            }
        )
    name = graph.name_of(item.weights)
    return {
        "name": name.rpartition(".")[0] or name,
        "weights": name,
        "scores": graph.name_of(item.scores),
        "query": item.query,
        "key": item.key,
        "heads": weights.shape[1],
        "examples": examples,
    }


def _fitting(
    maps: Sequence[Mapping[str, Any]], count: int, side: int, budget: int
) -> tuple[int, int]:
    """The side and the number of examples that fit: examples are left out before places."""
    for smaller in (side, *(size for size in SIDES if size < side)):
        for fewer in range(count, 0, -1):
            size = sum(
                _bytes(example["weights"].shape, smaller, example["deltas"] is not None)
                for item in maps
                for example in item["examples"][:fewer]
            )
            if size <= budget:
                return smaller, fewer
    return min(SIDES[-1], side), 1


def _bytes(shape: tuple[int, ...], side: int, deltas: bool) -> int:
    heads, queries, keys = shape
    return heads * min(queries, side) * min(keys, side) * (11 if deltas else 6)


def _encoded(example: Mapping[str, np.ndarray | None], side: int) -> dict[str, Any]:
    weights, deltas, mask = (
        None if array is None else array[:, :side, :side]
        for array in (example["weights"], example["deltas"], example["mask"])
    )
    assert weights is not None
    return {
        "queries": weights.shape[1],
        "keys": weights.shape[2],
        "weights": packed(weights),
        "deltas": None if deltas is None else packed(deltas),
        "mask": None if mask is None else packed_bits(mask),
    }


def _texts(
    inputs: Sequence[str] | Mapping[str, None],
    feeds: Arrays,
    tokens: Tokens,
    number: int,
    side: int,
    lengths: Mapping[str, np.ndarray],
) -> dict[str, list[str]]:
    """The tokens of one example by input; ids where the input's tokens are not known."""
    texts = {}
    for name in inputs:
        ids = np.asarray(feeds[name])[number][:side]
        if name in lengths:
            ids = ids[: int(lengths[name][number]) + MARGIN]
        known = tokens.get(name, ())
        texts[name] = [
            (known[value] if 0 <= value < len(known) else f"#{value}")[:LONGEST_TOKEN]
            for value in ids.tolist()
        ]
    return texts
