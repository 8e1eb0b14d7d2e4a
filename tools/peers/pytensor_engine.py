"""PyTensor in the bench: symbolic variables, `grad`, shared weights with updates, one `function`.

The linker is the one to C: the default, to Numba, takes many minutes to compile the step of a small
Transformer. Random numbers come from a NumPy generator that is shared and updated.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

os.environ["PYTENSOR_FLAGS"] = "floatX=float32,linker=cvm"  # read at import

import pytensor
from pytensor import tensor as pt
from pytensor.tensor.random import shared_rng
from pytensor.tensor.special import log_softmax, softmax

if TYPE_CHECKING:
    from graphgrad.performance.bench_worker import Workload

PADDING = 0
Tree = dict[str, Any]


class Model:
    """The layers, over weights by name."""

    def __init__(self, weights: Tree, workload: Workload, dropout: float) -> None:
        self.weights, self.workload, self.rate = weights, workload, dropout
        self.generator = self.random = shared_rng(seed=workload.seed)

    def dense(self, name: str, x: Any) -> Any:
        return x @ self.weights[f"{name}.w"] + self.weights[f"{name}.b"]

    def layer_norm(self, name: str, x: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        standard = centred / pt.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(1e-5))
        return standard * self.weights[f"{name}.gain"] + self.weights[f"{name}.bias"]

    def dropped(self, x: Any, length: int) -> Any:
        if not self.rate:
            return x
        size = (self.workload.batch, length, self.workload.width)
        self.random, drawn = self.random.uniform(size=size)
        kept = drawn.astype("float32") >= np.float32(self.rate)
        return x * kept.astype("float32") * np.float32(1 / (1 - self.rate))

    def sublayer(self, name: str, x: Any, y: Any, length: int) -> Any:
        return self.layer_norm(f"{name}_norm", x + self.dropped(y, length))

    def attention(
        self, name: str, queries: Any, memory: Any, mask: Any, lengths: tuple[int, int]
    ) -> Any:
        """Multi-head attention of queries to a memory."""
        workload = self.workload
        each = workload.width // workload.heads

        def split(which: str, x: Any, length: int) -> Any:
            heads = self.dense(f"{name}.{which}", x)
            shaped = heads.reshape((workload.batch, length, workload.heads, each))
            return shaped.transpose(0, 2, 1, 3)

        query, key, value = (
            split("query", queries, lengths[0]),
            split("key", memory, lengths[1]),
            split("value", memory, lengths[1]),
        )
        scores = (query @ key.transpose(0, 1, 3, 2)) * np.float32(each**-0.5)
        found = softmax(pt.where(mask, scores, np.float32(-np.inf)), axis=-1) @ value
        joined = found.transpose(0, 2, 1, 3).reshape((workload.batch, lengths[0], workload.width))
        return self.dense(f"{name}.output", joined)

    def feed_forward(self, name: str, x: Any) -> Any:
        return self.dense(f"{name}.outer", pt.maximum(self.dense(f"{name}.inner", x), 0))

    def embedded(self, half: str, ids: Any, length: int) -> Any:
        x = self.weights[f"{half}.embedding"][ids] * np.float32(self.workload.width**0.5)
        return self.dropped(x + sinusoids(length, self.workload.width), length)

    def loss(self, source: Any, target_input: Any, target_output: Any) -> Any:
        """From a batch to its loss."""
        workload = self.workload
        m, n = workload.source, workload.target
        source_mask = pt.neq(source, PADDING)[:, None, None, :]
        triangle = np.tril(np.ones((n, n), bool))
        target_mask = pt.neq(target_input, PADDING)[:, None, None, :] & triangle
        x = self.embedded("encoder", source, m)
        for name in (f"encoder.{number}" for number in range(workload.layers)):
            y = self.attention(f"{name}.attention", x, x, source_mask, (m, m))
            x = self.sublayer(f"{name}.attention", x, y, m)
            x = self.sublayer(
                f"{name}.feed_forward", x, self.feed_forward(f"{name}.feed_forward", x), m
            )
        memory, x = x, self.embedded("decoder", target_input, n)
        for name in (f"decoder.{number}" for number in range(workload.layers)):
            y = self.attention(f"{name}.attention", x, x, target_mask, (n, n))
            x = self.sublayer(f"{name}.attention", x, y, n)
            y = self.attention(f"{name}.cross_attention", x, memory, source_mask, (n, m))
            x = self.sublayer(f"{name}.cross_attention", x, y, n)
            x = self.sublayer(
                f"{name}.feed_forward", x, self.feed_forward(f"{name}.feed_forward", x), n
            )
        logits = self.dense("decoder.output.dense", x)
        return cross_entropy(logits, target_output, workload)


def cross_entropy(logits: Any, targets: Any, workload: Workload) -> Any:
    """The mean over the targets that are no padding, with label smoothing."""
    rows = workload.batch * workload.target
    smoothing = workload.label_smoothing
    log_probabilities = log_softmax(logits.reshape((rows, workload.vocabulary)), axis=-1)
    flat = targets.reshape((rows,))
    true = log_probabilities[pt.arange(rows), flat]
    losses = np.float32(smoothing - 1) * true - np.float32(smoothing) * log_probabilities.mean(-1)
    counted = pt.neq(flat, PADDING).astype("float32")
    return (losses * counted).sum() / counted.sum()


def sinusoids(length: int, width: int) -> np.ndarray:
    """sin(p / 10000^(2i/width)) in even and cos in odd columns."""
    angles = np.arange(length)[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
    pairs = np.stack([np.sin(angles), np.cos(angles)], 2)
    return pairs.reshape(length, width).astype(np.float32)


def adam(weights: Tree, gradients: list[Any], workload: Workload) -> list[tuple[Any, Any]]:
    """The updates of weights and moments (Kingma and Ba 2015, algorithm 1)."""
    beta1, beta2 = np.float32(workload.beta1), np.float32(workload.beta2)
    count = pytensor.shared(np.float32(0), "count")
    number = count + np.float32(1)
    rate = np.float32(workload.learning_rate) / (1 - beta1**number)
    root = pt.sqrt(1 - beta2**number)
    updates = [(count, number)]
    for weight, gradient in zip(weights.values(), gradients, strict=True):
        first, second = (pytensor.shared(np.zeros_like(weight.get_value())) for _ in range(2))
        mean = beta1 * first + (1 - beta1) * gradient
        square = beta2 * second + (1 - beta2) * gradient * gradient
        change = rate * mean / (pt.sqrt(square) / root + np.float32(workload.epsilon))
        updates += [(first, mean), (second, square), (weight, weight - change)]
    return updates


def facts(variant: str, threads: int) -> dict[str, Any]:
    """Version; its BLAS takes the processors that this process may use."""
    if not pytensor.config.cxx:
        raise RuntimeError("PyTensor finds no C++ compiler")
    return {
        "version": pytensor.__version__,
        "threads": threads,
        "detail": f"linker {pytensor.config.linker}",
    }


def build(
    variant: str,
    workload: Workload,
    parameters: dict[str, np.ndarray],
    batch: dict[str, np.ndarray],
    dropout: float,
) -> Callable[[], float]:
    """The compiled function."""
    weights = {name: pytensor.shared(array, name) for name, array in parameters.items()}
    ids = {name: pt.matrix(name, dtype="int32") for name in batch}
    model = Model(weights, workload, dropout)
    loss = model.loss(**ids)
    gradients = pytensor.grad(loss, list(weights.values()))
    updates = adam(weights, gradients, workload)
    if model.random is not model.generator:
        updates.append((model.generator, model.random))
    function = pytensor.function(list(ids.values()), loss, updates=updates)
    return lambda: float(function(*batch.values()))
