"""Small cases of attention with their exact results: what kernels are compared with on a device.

`exact` computes values and deltas in float64 on the processor, from the formulas and by no kernel,
and says how large roundings may make an error: each result is a sum, and a rounding of its terms is
in proportion to what they would add up to without their signs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphgrad import ops
from graphgrad.backprop import derive
from graphgrad.graph import Graph
from graphgrad.graph import input as declare
from graphgrad.philox import fill_dropout_mask

EPSILON: Mapping[str, float] = {"bfloat16": 2**-8, "float16": 2**-11}
"""Half the distance from 1 to the next number, relative to which results are rounded."""
SMALLEST = 1e-6
"""What is not counted as an error, however small a result is."""
STREAM = 5
Arrays = Mapping[str, Any]


@dataclass(frozen=True)
class AttentionCase:
    """Attention of some size, with the deltas of all that it reads."""

    heads: tuple[int, ...] = (1, 2)
    queries: int = 5
    keys: int = 5
    width: int = 4
    value_width: int = 3
    mask: str = ""
    """What is masked: nothing, "keys", or "all" pairs of query and key."""
    causal: bool = False
    rate: float = 0.0
    dtype: str = "float32"

    def graph(self) -> Graph:
        """Values `o` and the deltas `dq`, `dk` and `dv` of what the input `sent` is sent back."""
        sizes = {"q": (self.queries, self.width), "k": (self.keys, self.width)}
        sizes["v"] = (self.keys, self.value_width)
        q, k, v = (declare(n, (*self.heads, *its), self.dtype) for n, its in sizes.items())
        masks = {"keys": (*[1] * len(self.heads), 1, self.keys), "all": (self.queries, self.keys)}
        mask = declare("mask", masks[self.mask], "bool") if self.mask else None
        seed, step = declare("seed", (), "int64"), declare("step", (), "int32")
        dropout = (seed, step, self.rate, STREAM) if self.rate else None
        o = ops.dot_product_attention(q, k, v, mask, causal=self.causal, dropout=dropout)
        sent = declare("sent", o.shape, self.dtype)
        graph = derive(Graph({"o": o}, names={"sent": sent}), o, [q, k, v], sent)
        return graph.with_outputs({"o": o, **{f"d{n}": graph.delta(n) for n in "qkv"}})

    def feeds(self, graph: Graph) -> dict[str, Any]:
        """Values for the inputs; where pairs are masked, the first query sees no key."""
        generator = np.random.default_rng(3)
        found: dict[str, Any] = {}
        for name, node in graph.inputs.items():
            found[name] = generator.normal(size=node.type.sizes).astype(node.dtype)
        for name in {"mask"} & found.keys():
            found[name] = generator.random(found[name].shape) < 0.7
            found[name][..., 0, :] &= self.mask == "keys"
        drawn = {"seed": 2**33 + 7, "step": 3}
        return found | {name: drawn[name] for name in drawn.keys() & found.keys()}


def exact(case: AttentionCase, feeds: Arrays) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Values and deltas in float64, and what the terms of each would add up to without signs."""
    q, k, v, sent = (feeds[name].astype(np.float64) for name in ("q", "k", "v", "sent"))
    scale = case.width**-0.5
    seen = np.broadcast_to(feeds.get("mask", True), (*q.shape[:-1], case.keys))
    if case.causal:
        seen = seen & (np.arange(case.keys) <= np.arange(case.queries)[:, None])
    scores = np.where(seen, scale * q @ k.swapaxes(-1, -2), -np.inf)
    weights = np.exp(scores - np.maximum(scores.max(-1, keepdims=True), -1e300))
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-300)
    kept = np.ones(weights.shape)
    if case.rate:
        fill_dropout_mask(kept, int(feeds["seed"]), int(feeds["step"]), STREAM, case.rate)
    dropped, turned = weights * kept, (kept * weights).swapaxes(-1, -2)
    o, through = dropped @ v, kept * (sent @ v.swapaxes(-1, -2))
    inner = scale * weights * (through - (sent * o).sum(-1, keepdims=True))
    size = kept * (abs(sent) @ abs(v).swapaxes(-1, -2)) + (abs(sent * o)).sum(-1, keepdims=True)
    size = scale * weights * size
    return {
        "o": (o, dropped @ abs(v)),
        "dq": (inner @ k, size @ abs(k)),
        "dk": (inner.swapaxes(-1, -2) @ q, size.swapaxes(-1, -2) @ abs(q)),
        "dv": (turned @ sent, turned @ abs(sent)),
    }


def errors(case: AttentionCase, found: Arrays, feeds: Arrays) -> Iterator[tuple[str, float]]:
    """The largest error of each result, as a multiple of what roundings may make it; infinite where
    a number is not finite."""
    for name, (wanted, size) in exact(case, feeds).items():
        away = abs(np.asarray(found[name]).astype(np.float64) - wanted)
        bound = EPSILON[case.dtype] * (size + abs(wanted)) + SMALLEST
        yield (
            name,
            float(np.max(np.nan_to_num(away / bound, nan=np.inf, posinf=np.inf), initial=0.0)),
        )
