"""A recipe's model in PyTorch, as its users write it, and the updates of its run.

The Transformer with the options that recipes use (shared embeddings, dropouts of their own, learned
positions, norms before or behind) and GPT. Weights have graphgrad's names, so that each is where it
is declared; a linear map holds its matrix transposed. Chosen is what is faster on a processor:
Adam's fused form, and attention by `scaled_dot_product_attention`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from graphgrad.performance.bench_worker import RecipeWorkload

PADDING = 0
Parts = Mapping[str, Any]
"""The settings of a recipe."""


class Norm(nn.Module):
    """Layer normalisation, with or without a bias."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self.gain.shape, self.gain, self.bias, 1e-5)


class Attention(nn.Module):
    """Multi-head attention of queries to a memory."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        width, self.heads = parts["width"], parts["heads"]
        self.rate = parts.get("attention_dropout", 0.0)
        linear = (nn.Linear(width, width, bias=parts["bias"]) for _ in range(4))
        self.query, self.key, self.value, self.output = linear

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (
            each.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for each in (self.query(x), self.key(memory), self.value(memory))
        )
        rate = self.rate if self.training else 0.0
        found = functional.scaled_dot_product_attention(
            query, key, value, mask, rate, is_causal=mask is None
        )
        output: Tensor = self.output(found.transpose(1, 2).flatten(2))
        return output


class FeedForward(nn.Module):
    """The position-wise network."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        inner = parts["inner"] or 4 * parts["width"]
        self.inner = nn.Linear(parts["width"], inner, bias=parts["bias"])
        self.outer = nn.Linear(inner, parts["width"], bias=parts["bias"])
        self.rate = parts.get("activation_dropout", 0.0)
        self.activation = {
            "relu": functional.relu,
            "gelu": functional.gelu,
            "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
        }[parts["activation"]]

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.dropout(self.activation(self.inner(x)), self.rate, self.training)
        output: Tensor = self.outer(hidden)
        return output


class Layer(nn.Module):
    """A layer of encoder or decoder; `crossed` adds attention to a memory."""

    def __init__(self, parts: Parts, crossed: bool, before: bool) -> None:
        super().__init__()
        self.rate, self.before = parts["dropout"], before
        self.attention, self.feed_forward = Attention(parts), FeedForward(parts)
        self.attention_norm, self.feed_forward_norm = (
            Norm(parts["width"], parts["bias"]) for _ in range(2)
        )
        if crossed:
            self.cross_attention = Attention(parts)
            self.cross_attention_norm = Norm(parts["width"], parts["bias"])

    def part(self, x: Tensor, norm: nn.Module, function: Callable[[Tensor], Tensor]) -> Tensor:
        given = norm(x) if self.before else x
        total: Tensor = x + functional.dropout(function(given), self.rate, self.training)
        return total if self.before else norm(total)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        x = self.part(x, self.attention_norm, lambda h: self.attention(h, h, mask))
        if memory is not None:
            crossed = partial(self.cross_attention, memory=memory, mask=memory_mask)
            x = self.part(x, self.cross_attention_norm, crossed)
        return self.part(x, self.feed_forward_norm, self.feed_forward)


class Half(nn.Module):
    """Encoder or decoder: positions, layers, and a norm behind them where norms are before."""

    sines: Tensor

    def __init__(self, parts: Parts, crossed: bool, before: bool, length: int) -> None:
        super().__init__()
        width = parts["width"]
        self.rate, self.scaled = parts["dropout"], "source" in parts
        self.layers = nn.ModuleList(Layer(parts, crossed, before) for _ in range(parts["layers"]))
        self.positions = None
        if parts["positions"] == "learned":
            most = parts["context" if "context" in parts else "maximum_length"]
            self.positions = nn.Parameter(torch.zeros(most, width))
        self.register_buffer("sines", sinusoids(length, width))
        self.final_norm = Norm(width, parts["bias"]) if before else None

    def forward(self, ids: Tensor, table: Tensor, *rest: Tensor | None) -> Tensor:
        places = self.sines if self.positions is None else self.positions
        x = functional.embedding(ids, table)
        x = (x * table.shape[1] ** 0.5 if self.scaled else x) + places[: ids.shape[1]]
        x = functional.dropout(x, self.rate, self.training)
        for layer in self.layers:
            x = layer(x, *rest)
        return x if self.final_norm is None else self.final_norm(x)


class Output(nn.Module):
    """What the output layer has of its own: a bias where it is tied, else a linear map."""

    def __init__(self, parts: Parts, vocabulary: int) -> None:
        super().__init__()
        biased, width = parts.get("output_bias", False), parts["width"]
        self.dense = None if parts["tie"] else nn.Linear(width, vocabulary, bias=biased)
        self.b = nn.Parameter(torch.zeros(vocabulary)) if parts["tie"] and biased else None

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        if self.dense is not None:
            logits: Tensor = self.dense(x)
            return logits
        return functional.linear(x, table, self.b)


class Translator(nn.Module):
    """The encoder–decoder: a batch to the sum of its losses."""

    def __init__(self, parts: Parts, vocabularies: list[int], length: int) -> None:
        super().__init__()
        before, self.smoothing = parts["norm"] == "pre", parts["label_smoothing"]
        source, target = (nn.Parameter(torch.zeros(size, parts["width"])) for size in vocabularies)
        self.encoder, self.decoder = (Half(parts, crossed, before, length) for crossed in (0, 1))
        self.embedding = source if parts["share_embeddings"] else None
        if self.embedding is None:
            self.encoder.embedding, self.decoder.embedding = source, target
        self.decoder.output = Output(parts, vocabularies[1])

    def forward(self, source: Tensor, target_input: Tensor, target_output: Tensor) -> Tensor:
        shared = self.embedding
        first = self.encoder.embedding if shared is None else shared
        second = self.decoder.embedding if shared is None else shared
        size = target_input.shape[1]
        triangle = torch.ones(size, size, dtype=torch.bool).tril()
        source_mask = (source != PADDING)[:, None, None, :]
        target_mask = (target_input != PADDING)[:, None, None, :] & triangle
        memory = self.encoder(source, first, source_mask)
        x = self.decoder(target_input, second, target_mask, memory, source_mask)
        return summed(self.decoder.output(x, second), target_output, self.smoothing)


class Writer(nn.Module):
    """GPT: a batch to the sum of its losses."""

    def __init__(self, parts: Parts, vocabularies: list[int], length: int) -> None:
        super().__init__()
        self.decoder = Half(parts, False, True, length)
        self.decoder.embedding = nn.Parameter(torch.zeros(vocabularies[0], parts["width"]))
        self.decoder.output = Output(parts, vocabularies[0])

    def forward(self, ids: Tensor, following: Tensor) -> Tensor:
        table = self.decoder.embedding
        x = self.decoder(ids, table, None)
        return summed(self.decoder.output(x, table), following, 0.0)


def summed(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """The sum of the losses of all targets that are no padding."""
    return functional.cross_entropy(
        logits.flatten(0, 1),
        targets.flatten(),
        ignore_index=PADDING,
        label_smoothing=smoothing,
        reduction="sum",
    )


def sinusoids(length: int, width: int) -> Tensor:
    """sin(p / 10000^(2i/width)) in even and cos in odd columns."""
    frequencies = 10000.0 ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(length)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)


def load(model: nn.Module, parameters: Mapping[str, np.ndarray]) -> None:
    """graphgrad's weights. Raises KeyError where a weight has no place, or a place no weight."""
    renamed = {}
    for name, array in parameters.items():
        path = re.sub(r"^(encoder|decoder)\.(\d+)\.", r"\1.layers.\2.", name)
        before, _, last = path.rpartition(".")
        matrix = last == "w"
        if matrix or (last == "b" and before != "decoder.output"):
            path = f"{before}.{'weight' if matrix else 'bias'}"
        renamed[path] = torch.from_numpy(np.ascontiguousarray(array.T if matrix else array))
    missing, unknown = model.load_state_dict(renamed, strict=False)
    left = [name for name in missing if not name.endswith("sines")]
    if left or unknown:
        raise KeyError(f"weights that do not fit: without {left}, beside {unknown}")


def optimiser_of(model: nn.Module, settings: Parts) -> torch.optim.Optimizer:
    """Adam, or AdamW that spares what is no matrix, as both are used for these models."""
    betas, epsilon = (settings["beta1"], settings["beta2"]), settings["epsilon"]
    parameters = list(model.parameters())
    if settings["optimiser"] == "adam":
        return torch.optim.Adam(parameters, 1.0, betas, epsilon, fused=True)
    groups = [
        {
            "params": [each for each in parameters if (each.dim() > 1) == matrices],
            "weight_decay": settings["weight_decay"] if matrices else 0.0,
        }
        for matrices in (True, False)
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], 1.0, betas, epsilon, fused=True
    )


def facts(variant: str, threads: int) -> dict[str, Any]:
    """Version and threads, which are set here."""
    torch.set_num_threads(threads)
    return {
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "detail": "fused Adam, scaled_dot_product_attention",
    }


def build_recipe(
    variant: str,
    recipe: RecipeWorkload,
    parameters: dict[str, np.ndarray],
    batches: dict[str, np.ndarray],
    drops: float,
) -> Callable[[], float]:
    """The model, its optimiser, and the function that makes the next update with both."""
    settings = recipe.settings
    torch.manual_seed(settings["seed"])
    rates = batches.pop("rates").tolist()
    feeds: dict[int, dict[str, Tensor]] = {}
    for name, array in batches.items():
        number, _, side = name.partition(".")
        feeds.setdefault(int(number), {})[side] = torch.from_numpy(array.astype(np.int64))
    model_type = Translator if recipe.model == "transformer" else Writer
    length = max(each.shape[1] for feed in feeds.values() for each in feed.values())
    model = model_type(settings, list(recipe.vocabularies), length)
    load(model, parameters)
    model.train(drops > 0)
    loss_of: Callable[..., Tensor] = torch.compile(model) if variant == "compile" else model
    optimiser = optimiser_of(model, settings)
    gathered, clip, done = settings["accumulate"], settings["clip_norm"], 0
    answer = "target_output" if recipe.model == "transformer" else "following"

    def step() -> float:
        nonlocal done
        place = done % recipe.updates
        some = [feeds[place * gathered + part] for part in range(gathered)]
        count = sum(int((feed[answer] != PADDING).sum()) for feed in some)
        for group in optimiser.param_groups:
            group["lr"] = rates[place]
        optimiser.zero_grad()
        total = 0.0
        for feed in some:
            with torch.autocast("cpu", torch.bfloat16, enabled=variant == "bf16"):
                loss = loss_of(**feed) / count
            loss.backward()
            total += loss.item()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimiser.step()
        done += 1
        return total

    return step
