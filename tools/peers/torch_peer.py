"""PyTorch in the bench, as its users write it: modules, autograd, Adam.

The variant is `eager`, `compile` (`torch.compile` around the model) or `bf16` (the forward pass
under autocast to bfloat16, weights and Adam in float32), or `compile-bf16`. Chosen is what is
faster on a processor: Adam's fused form, and attention by `scaled_dot_product_attention`. A variant
such as `cuda:compile` runs on the CUDA device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from graphgrad.performance.bench_worker import Workload

PADDING = 0


class Attention(nn.Module):
    """Multi-head attention of queries to a memory."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

    def forward(self, queries: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (
            each.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for each in (self.query(queries), self.key(memory), self.value(memory))
        )
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.output(found.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """The position-wise network."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(functional.relu(self.inner(x)))


class Layer(nn.Module):
    """The parts of both kinds of layers: self-attention, the position-wise network, their norms."""

    def __init__(self, workload: Workload, dropout: float) -> None:
        super().__init__()
        width = workload.width
        self.attention = Attention(width, workload.heads)
        self.attention_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, workload.inner)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)


class EncoderLayer(Layer):
    """Self-attention and the position-wise network, each with dropout, residual and norm."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.attention(x, x, mask)))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))


class DecoderLayer(Layer):
    """A layer with attention to the encoder's last output between the two parts."""

    def __init__(self, workload: Workload, dropout: float) -> None:
        super().__init__(workload, dropout)
        self.cross_attention = Attention(workload.width, workload.heads)
        self.cross_attention_norm = nn.LayerNorm(workload.width)

    def forward(self, x: Tensor, mask: Tensor, memory: Tensor, memory_mask: Tensor) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.attention(x, x, mask)))
        seen = self.cross_attention(x, memory, memory_mask)
        x = self.cross_attention_norm(x + self.dropout(seen))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))


class Half(nn.Module):
    """Encoder or decoder: an embedding with positions, and layers."""

    def __init__(self, layer: type[Layer], workload: Workload, length: int, dropout: float) -> None:
        super().__init__()
        self.scale = workload.width**0.5
        self.embedding = nn.Embedding(workload.vocabulary, workload.width)
        self.layers = nn.ModuleList(layer(workload, dropout) for _ in range(workload.layers))
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("positions", sinusoids(length, workload.width))

    def forward(self, ids: Tensor, *rest: Tensor) -> Tensor:
        x = self.dropout(self.embedding(ids) * self.scale + self.positions)
        for layer in self.layers:
            x = layer(x, *rest)
        return x


class Transformer(nn.Module):
    """From a batch to its loss."""

    triangle: Tensor

    def __init__(self, workload: Workload, dropout: float) -> None:
        super().__init__()
        self.smoothing = workload.label_smoothing
        self.encoder = Half(EncoderLayer, workload, workload.source, dropout)
        self.decoder = Half(DecoderLayer, workload, workload.target, dropout)
        self.output = nn.Linear(workload.width, workload.vocabulary)
        triangle = torch.ones(workload.target, workload.target, dtype=torch.bool).tril()
        self.register_buffer("triangle", triangle)

    def forward(self, source: Tensor, target_input: Tensor, target_output: Tensor) -> Tensor:
        source_mask = (source != PADDING)[:, None, None, :]
        target_mask = (target_input != PADDING)[:, None, None, :] & self.triangle
        memory = self.encoder(source, source_mask)
        logits = self.output(self.decoder(target_input, target_mask, memory, source_mask))
        return functional.cross_entropy(
            logits.flatten(0, 1),
            target_output.flatten(),
            ignore_index=PADDING,
            label_smoothing=self.smoothing,
        )


def sinusoids(length: int, width: int) -> Tensor:
    """sin(p / 10000^(2i/width)) in even and cos in odd columns."""
    frequencies = 10000.0 ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(length)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)


def load(model: Transformer, parameters: Mapping[str, np.ndarray]) -> None:
    """graphgrad's weights under PyTorch's names; a linear map holds its matrix transposed."""
    renamed = {}
    for name, array in parameters.items():
        path, _, last = name.rpartition(".")
        half, _, rest = path.partition(".")
        path = f"{half}.layers.{rest}" if rest[:1].isdigit() else path
        path = path.replace("decoder.output.dense", "output")
        ending = {"w": "weight", "b": "bias", "gain": "weight", "embedding": "embedding.weight"}
        values = torch.from_numpy(np.ascontiguousarray(array.T if last == "w" else array))
        renamed[f"{path}.{ending.get(last, last)}"] = values
    missing, unknown = model.load_state_dict(renamed, strict=False)
    left = [name for name in missing if not name.endswith(("positions", "triangle"))]
    if left or unknown:
        raise KeyError(f"weights that do not fit: without {left}, beside {unknown}")


def facts(variant: str, threads: int) -> dict[str, Any]:
    """Version and threads, which are set here."""
    torch.set_num_threads(threads)
    return {
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "detail": "fused Adam, scaled_dot_product_attention",
    }


def build(
    variant: str,
    workload: Workload,
    parameters: dict[str, np.ndarray],
    batch: dict[str, np.ndarray],
    dropout: float,
) -> Callable[[], float]:
    """The model, its optimiser and the step that uses both."""
    torch.manual_seed(workload.seed)
    device, _, variant = variant.rpartition(":")
    device = device or "cpu"
    model = Transformer(workload, dropout)
    load(model, parameters)
    model = model.to(device)
    loss_of: Callable[..., Tensor] = (
        torch.compile(model) if variant.startswith("compile") else model
    )
    optimiser = torch.optim.Adam(
        model.parameters(),
        workload.learning_rate,
        (workload.beta1, workload.beta2),
        workload.epsilon,
        fused=True,
    )
    feeds = {
        name: torch.from_numpy(array.astype(np.int64)).to(device) for name, array in batch.items()
    }

    def step() -> float:
        optimiser.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=variant.endswith("bf16")):
            loss = loss_of(**feeds)
        loss.backward()
        optimiser.step()
        return loss.item()

    return step
