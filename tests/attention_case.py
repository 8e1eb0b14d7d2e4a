"""Attention of some size, with its deltas, for tests of its kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import graphgrad as gg
from graphgrad import Graph


@dataclass(frozen=True)
class Case:
    """Attention of some size, with the deltas of all that it reads."""

    heads: tuple[int, ...] = (1, 2)
    queries: int = 5
    keys: int = 5
    width: int = 4
    value_width: int = 3
    mask: str = ""
    causal: bool = False
    rate: float = 0.0
    dtype: str = "float32"

    def graph(self) -> Graph:
        sizes = {"q": (self.queries, self.width), "k": (self.keys, self.width)}
        sizes["v"] = (self.keys, self.value_width)
        q, k, v = (gg.input(n, (*self.heads, *its), self.dtype) for n, its in sizes.items())
        masks = {"keys": (*[1] * len(self.heads), 1, self.keys), "all": (self.queries, self.keys)}
        mask = gg.input("mask", masks[self.mask], "bool") if self.mask else None
        seed, step = gg.input("seed", (), "int64"), gg.input("step", (), "int32")
        dropout = (seed, step, self.rate, 5) if self.rate else None
        o = gg.dot_product_attention(q, k, v, mask, causal=self.causal, dropout=dropout)
        sent = gg.input("sent", o.shape, self.dtype)
        graph = gg.derive(Graph({"o": o}, names={"sent": sent}), o, [q, k, v], sent)
        return graph.with_outputs({"o": o, **{f"d{n}": graph.delta(n) for n in "qkv"}})

    def feeds(self, graph: Graph) -> dict[str, Any]:
        """Values for the inputs; where there is a mask, the first query sees no key."""
        generator = np.random.default_rng(3)
        found: dict[str, Any] = {}
        for name, node in graph.inputs.items():
            found[name] = generator.normal(size=node.type.sizes).astype(node.dtype)
        for name in {"mask"} & found.keys():
            found[name] = generator.random(found[name].shape) < 0.7
            found[name][..., 0, :] &= self.mask == "keys"
        drawn = {"seed": 2**33 + 7, "step": 3}
        return found | {name: drawn[name] for name in drawn.keys() & found.keys()}
