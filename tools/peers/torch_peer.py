"""PyTorch in the bench, as its users write it: modules, autograd, Adam.

The models are the Transformer, with the options that recipes use (shared embeddings, dropouts of
their own, learned positions, norms before or behind), and GPT. Weights have graphgrad's names, so
that each is where it is declared; a linear map holds its matrix transposed. Adam's fused form and
`scaled_dot_product_attention` are what is faster on a processor.

The variant is `eager` or `compile` (`torch.compile` around the model); behind a dash the precision,
if it is not float32, such as `compile-bf16`: autocast to bfloat16 or, with a GradScaler, float16 in
the forward pass, weights and Adam in float32; or `tf32`, products of float32 that a device rounds.
In front of a colon the device: `cuda:compile`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from graphgrad.performance.bench_worker import RecipeWorkload, Workload

PADDING = 0
PEAK_SIZES = {"cpu": 2048, "cuda": 8192}
"""The sizes of the matrices whose product gives the peak rate."""
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
Parts = Mapping[str, Any]
"""The settings of a model, by the names that recipes have for them."""


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
            "gelu_tanh": partial(functional.gelu, approximate="tanh"),
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
        return functional.linear(x, table, self.b) if self.dense is None else self.dense(x)


class Translator(nn.Module):
    """The encoder–decoder: a batch to the mean of its losses, or to their sum."""

    triangle: Tensor

    def __init__(self, parts: Parts, vocabularies: Sequence[int], length: int, how: str) -> None:
        super().__init__()
        before = parts["norm"] == "pre"
        self.loss = partial(loss_of_targets, smoothing=parts["label_smoothing"], how=how)
        source, target = (nn.Parameter(torch.zeros(size, parts["width"])) for size in vocabularies)
        kinds = (False, True)
        self.encoder, self.decoder = (Half(parts, crossed, before, length) for crossed in kinds)
        self.embedding = source if parts["share_embeddings"] else None
        if self.embedding is None:
            self.encoder.embedding, self.decoder.embedding = source, target
        self.decoder.output = Output(parts, vocabularies[1])
        self.register_buffer("triangle", torch.ones(length, length, dtype=torch.bool).tril())

    def forward(self, source: Tensor, target_input: Tensor, target_output: Tensor) -> Tensor:
        shared = self.embedding
        first = self.encoder.embedding if shared is None else shared
        second = self.decoder.embedding if shared is None else shared
        size = target_input.shape[1]
        source_mask = (source != PADDING)[:, None, None, :]
        target_mask = (target_input != PADDING)[:, None, None, :] & self.triangle[:size, :size]
        memory = self.encoder(source, first, source_mask)
        x = self.decoder(target_input, second, target_mask, memory, source_mask)
        return self.loss(self.decoder.output(x, second), target_output)


class Writer(nn.Module):
    """GPT: a batch to the mean of its losses, or to their sum."""

    def __init__(self, parts: Parts, vocabularies: Sequence[int], length: int, how: str) -> None:
        super().__init__()
        self.loss = partial(loss_of_targets, smoothing=0.0, how=how)
        self.decoder = Half(parts, False, True, length)
        self.decoder.embedding = nn.Parameter(torch.zeros(vocabularies[0], parts["width"]))
        self.decoder.output = Output(parts, vocabularies[0])

    def forward(self, ids: Tensor, following: Tensor) -> Tensor:
        table = self.decoder.embedding
        x = self.decoder(ids, table, None)
        return self.loss(self.decoder.output(x, table), following)


MODELS: Mapping[str, tuple[type[nn.Module], str]] = {
    "transformer": (Translator, "target_output"),
    "gpt": (Writer, "following"),
}
"""The class of each model, and the input that holds its targets."""


def loss_of_targets(logits: Tensor, targets: Tensor, smoothing: float, how: str) -> Tensor:
    """The mean or the sum of the losses of all targets that are not padding."""
    return functional.cross_entropy(
        logits.flatten(0, 1),
        targets.flatten(),
        ignore_index=PADDING,
        label_smoothing=smoothing,
        reduction=how,
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
    left = [name for name in missing if not name.endswith(("sines", "triangle"))]
    if left or unknown:
        raise KeyError(f"weights that do not fit: without {left}, beside {unknown}")


def split_variant(variant: str) -> tuple[str, str, str]:
    """The device, `eager` or `compile`, and the precision."""
    device, _, rest = variant.rpartition(":")
    way, _, precision = rest.partition("-")
    return device or "cpu", way, precision or "fp32"


class Training:
    """A model with its optimiser, on the device and in the precision of a variant."""

    def __init__(
        self,
        variant: str,
        model: nn.Module,
        optimiser_of: Callable[[nn.Module], torch.optim.Optimizer],
        clip: float = 0.0,
    ) -> None:
        self.device, way, precision = split_variant(variant)
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        self.model, self.clip = model.to(self.device), clip
        self.optimiser = optimiser_of(self.model)
        self.loss_of: Callable[..., Tensor] = (
            torch.compile(self.model) if way == "compile" else self.model
        )
        self.half = HALVES.get(precision)
        self.scaler = torch.amp.GradScaler(self.device, enabled=precision == "fp16")

    def placed(self, batch: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        """The arrays of a batch on the device."""
        return {
            name: torch.from_numpy(array.astype(np.int64)).to(self.device)
            for name, array in batch.items()
        }

    def update(self, feeds: Sequence[Mapping[str, Tensor]], count: int = 1) -> float:
        """One update by these batches; returns the sum of their losses, divided by `count`."""
        self.optimiser.zero_grad()
        total = torch.zeros((), device=self.device)
        for feed in feeds:
            with torch.autocast(self.device, self.half, enabled=self.half is not None):
                loss = self.loss_of(**feed)
            loss = loss / count if count != 1 else loss
            self.scaler.scale(loss).backward()
            total += loss.detach()
        if self.clip:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return total.item()


def recipe_optimiser(model: nn.Module, settings: Parts) -> torch.optim.Optimizer:
    """Adam, or AdamW that spares what is not a matrix, as both are used for these models."""
    betas, epsilon = (settings["beta1"], settings["beta2"]), settings["epsilon"]
    parameters = list(model.parameters())
    if settings["optimiser"] == "adam":
        return torch.optim.Adam(parameters, 1.0, betas, epsilon, fused=True)
    matrices = [each for each in parameters if each.dim() > 1]
    others = [each for each in parameters if each.dim() <= 1]
    decays = ((matrices, settings["weight_decay"]), (others, 0.0))
    groups = [{"params": some, "weight_decay": decay} for some, decay in decays if some]
    return torch.optim.AdamW(groups, 1.0, betas, epsilon, fused=True)


def facts(variant: str, threads: int) -> dict[str, Any]:
    """Version and threads, which are set here."""
    torch.set_num_threads(threads)
    return {
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "detail": "fused Adam, scaled_dot_product_attention",
    }


def peak_gflops(variant: str, seconds: float = 0.5) -> float:
    """The best rate of a matrix product on the device of the variant, in its precision."""
    device, _, precision = split_variant(variant)
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    size = PEAK_SIZES[device]
    dtype = HALVES.get(precision, torch.float32)
    left, right = (torch.rand(size, size, device=device, dtype=dtype) for _ in range(2))
    times: list[float] = []
    while sum(times) < seconds or len(times) < 4:
        started = time.perf_counter()
        torch.matmul(left, right)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return 2 * size**3 / min(times) / 1e9


def build(
    variant: str,
    workload: Workload,
    parameters: dict[str, np.ndarray],
    batch: dict[str, np.ndarray],
    dropout: float,
) -> Callable[[], float]:
    """The model, its optimiser and the step that uses both."""
    torch.manual_seed(workload.seed)
    kind, _ = MODELS[workload.model]
    length = max(workload.source, workload.target)
    model = kind(workload.settings(dropout), [workload.vocabulary] * 2, length, "mean")
    load(model, parameters)
    betas, rate = (workload.beta1, workload.beta2), workload.learning_rate
    adam = partial(torch.optim.Adam, lr=rate, betas=betas, eps=workload.epsilon, fused=True)
    training = Training(variant, model, lambda model: adam(model.parameters()))
    feeds = [training.placed(batch)]
    return lambda: training.update(feeds)


def build_recipe(
    variant: str,
    recipe: RecipeWorkload,
    parameters: dict[str, np.ndarray],
    batches: dict[str, np.ndarray],
    drops: float,
) -> Callable[[], float]:
    """The model, its optimiser, and the function that makes the next update with both."""
    settings, (kind, answer) = recipe.settings, MODELS[recipe.model]
    torch.manual_seed(settings["seed"])
    rates = batches.pop("rates").tolist()
    arrays: dict[int, dict[str, np.ndarray]] = {}
    for name, array in batches.items():
        number, _, side = name.partition(".")
        arrays.setdefault(int(number), {})[side] = array
    length = max(each.shape[1] for some in arrays.values() for each in some.values())
    model = kind(settings, list(recipe.vocabularies), length, "sum")
    load(model, parameters)
    model.train(drops > 0)
    make = partial(recipe_optimiser, settings=settings)
    training = Training(variant, model, make, settings["clip_norm"])
    feeds = {number: training.placed(some) for number, some in arrays.items()}
    counts = {number: int((some[answer] != PADDING).sum()) for number, some in arrays.items()}
    gathered, done = settings["accumulate"], 0

    def step() -> float:
        nonlocal done
        place = done % recipe.updates
        some = range(place * gathered, (place + 1) * gathered)
        for group in training.optimiser.param_groups:
            group["lr"] = rates[place]
        done += 1
        return training.update([feeds[n] for n in some], sum(counts[n] for n in some))

    return step
