"""PyTorch that translates greedily with a cache, as its users write it: what our decoding is
compared with (`python -m graphgrad.tools.peers.torch_decoding`).

Keys and values of earlier positions are kept in tensors that grow by `torch.cat`, those of the
source are computed once, and the output layer meets the last position alone. Sentences are sorted
by length and decoded in batches, as ours are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from graphgrad.tools.peers.torch_peer import (
    PADDING,
    Attention,
    Layer,
    Translator,
    load,
    sinusoids,
)


def split(x: Tensor, heads: int) -> Tensor:
    """[batch, position, feature] -> [batch, head, position, feature of the head]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attend(layer: Attention, x: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """One position's look at keys and values that are there."""
    query = split(layer.query(x), layer.heads)
    found = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return layer.output(found.transpose(1, 2).flatten(2))


class Greedy:
    """The most probable token, again and again."""

    def __init__(self, sizes: Any, state: Any, positions: int) -> None:
        parts = sizes.settings(0.0)
        self.model = Translator(parts, [sizes.vocabulary] * 2, positions, "mean").eval()
        load(self.model, state)
        self.positions = sinusoids(positions, sizes.width)

    @torch.inference_mode()
    def __call__(
        self, sources: Sequence[Sequence[int]], limits: Sequence[int], begin: int, end: int
    ) -> list[list[int]]:
        """The tokens of each sentence of a batch, up to its end or its limit."""
        width = max(map(len, sources))
        source = torch.full((len(sources), width), PADDING)
        for row, tokens in enumerate(sources):
            source[row, : len(tokens)] = torch.tensor(tokens)
        model, mask = self.model, (source != PADDING)[:, None, None, :]
        memory = self.embedded(model.encoder, source, 0)
        for layer in model.encoder.layers:
            memory = layer(memory, mask)
        layers: list[Any] = list(model.decoder.layers)
        crossed = [
            tuple(
                split(part(memory), layer.cross_attention.heads)
                for part in (layer.cross_attention.key, layer.cross_attention.value)
            )
            for layer in layers
        ]
        past: list[tuple[Tensor, Tensor] | None] = [None] * len(layers)
        token = torch.full((len(sources), 1), begin)
        chosen, bounds = [], torch.tensor(limits)
        done = torch.zeros(len(sources), dtype=torch.bool)
        for step in range(max(limits)):
            x = self.embedded(model.decoder, token, step)
            for number, layer in enumerate(layers):
                x, past[number] = self.layer(layer, x, past[number], crossed[number], mask)
            token = model.decoder.output(x[:, -1], model.decoder.embedding).argmax(-1, keepdim=True)
            chosen.append(token[:, 0])
            done |= (token[:, 0] == end) | (bounds <= step + 1)
            if done.all():
                break
        rows = torch.stack(chosen, 1).tolist()
        return [_until(row[:limit], end) for row, limit in zip(rows, limits, strict=True)]

    def embedded(self, half: Any, ids: Tensor, start: int) -> Tensor:
        """Embeddings × √width plus positions from `start` on."""
        x = functional.embedding(ids, half.embedding) * half.embedding.shape[1] ** 0.5
        return x + self.positions[start : start + ids.shape[1]]

    def layer(
        self,
        layer: Layer,
        x: Tensor,
        past: tuple[Tensor, Tensor] | None,
        crossed: tuple[Tensor, ...],
        mask: Tensor,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """A layer at one new position."""
        own, heads = layer.attention, layer.attention.heads
        key, value = split(own.key(x), heads), split(own.value(x), heads)
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        x = layer.attention_norm(x + attend(own, x, key, value, None))
        x = layer.cross_attention_norm(x + attend(layer.cross_attention, x, *crossed, mask))
        return layer.feed_forward_norm(x + layer.feed_forward(x)), (key, value)


def _until(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end) + 1] if end in tokens else tokens
