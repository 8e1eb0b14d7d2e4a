"""JAX in the bench, as its users write it: pure functions on a dictionary of arrays, one `jit`.

The variant is the precision of the products of float32, in front of a colon `cuda` for a CUDA
device; `cuda` alone leaves the precision as JAX is configured. Weights, moments and the key are
donated, so the step updates them in place. The random numbers are JAX's default ones; those of
XLA's own generator (`rbg`) are not faster on a processor.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import numpy as jnp

if TYPE_CHECKING:
    from graphgrad.performance.bench_worker import Workload

PADDING = 0
PRODUCTS = {"fp32": "highest", "tf32": "tensorfloat32", "bf16": "bfloat16"}
"""JAX's names for what products of float32 read."""
Tree = dict[str, Any]


def dense(weights: Tree, name: str, x: jax.Array) -> jax.Array:
    return x @ weights[f"{name}.w"] + weights[f"{name}.b"]


def layer_norm(weights: Tree, name: str, x: jax.Array) -> jax.Array:
    mean = x.mean(-1, keepdims=True)
    variance = x.var(-1, keepdims=True)
    standard = (x - mean) * jax.lax.rsqrt(variance + 1e-5)
    return standard * weights[f"{name}.gain"] + weights[f"{name}.bias"]


def attention(
    weights: Tree, name: str, heads: int, queries: jax.Array, memory: jax.Array, mask: jax.Array
) -> jax.Array:
    """Multi-head attention of queries to a memory."""
    query, key, value = (
        dense(weights, f"{name}.{which}", x).reshape(*x.shape[:2], heads, -1)
        for which, x in (("query", queries), ("key", memory), ("value", memory))
    )
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) * query.shape[-1] ** -0.5
    found = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), axis=-1)
    joined = jnp.einsum("bhqk,bkhd->bqhd", found, value)
    return dense(weights, f"{name}.output", joined.reshape(queries.shape))


def feed_forward(weights: Tree, name: str, x: jax.Array) -> jax.Array:
    return dense(weights, f"{name}.outer", jax.nn.relu(dense(weights, f"{name}.inner", x)))


def loss_of(
    weights: Tree, batch: Tree, key: jax.Array, workload: Workload, dropout: float
) -> jax.Array:
    """From a batch to its loss."""
    places = iter(range(1000))

    def dropped(x: jax.Array) -> jax.Array:
        if not dropout:
            return x
        kept = jax.random.bernoulli(jax.random.fold_in(key, next(places)), 1 - dropout, x.shape)
        return jnp.where(kept, x / (1 - dropout), 0.0)

    def sublayer(name: str, x: jax.Array, y: jax.Array) -> jax.Array:
        return layer_norm(weights, f"{name}_norm", x + dropped(y))

    def embedded(half: str, ids: jax.Array) -> jax.Array:
        x = weights[f"{half}.embedding"][ids] * workload.width**0.5
        return dropped(x + sinusoids(ids.shape[1], workload.width))

    attend = partial(attention, weights, heads=workload.heads)
    source_mask = (batch["source"] != PADDING)[:, None, None, :]
    triangle = jnp.tril(jnp.ones((workload.target, workload.target), bool))
    target_mask = (batch["target_input"] != PADDING)[:, None, None, :] & triangle
    x = embedded("encoder", batch["source"])
    for name in (f"encoder.{number}" for number in range(workload.layers)):
        y = attend(f"{name}.attention", queries=x, memory=x, mask=source_mask)
        x = sublayer(f"{name}.attention", x, y)
        x = sublayer(f"{name}.feed_forward", x, feed_forward(weights, f"{name}.feed_forward", x))
    memory, x = x, embedded("decoder", batch["target_input"])
    for name in (f"decoder.{number}" for number in range(workload.layers)):
        y = attend(f"{name}.attention", queries=x, memory=x, mask=target_mask)
        x = sublayer(f"{name}.attention", x, y)
        y = attend(f"{name}.cross_attention", queries=x, memory=memory, mask=source_mask)
        x = sublayer(f"{name}.cross_attention", x, y)
        x = sublayer(f"{name}.feed_forward", x, feed_forward(weights, f"{name}.feed_forward", x))
    logits = dense(weights, "decoder.output.dense", x)
    return cross_entropy(logits, batch["target_output"], workload.label_smoothing)


def cross_entropy(logits: jax.Array, targets: jax.Array, smoothing: float) -> jax.Array:
    """The mean over the targets that are no padding, with label smoothing."""
    log_probabilities = jax.nn.log_softmax(logits)
    true = jnp.take_along_axis(log_probabilities, targets[..., None], -1)[..., 0]
    losses = -(1 - smoothing) * true - smoothing * log_probabilities.mean(-1)
    counted = targets != PADDING
    return jnp.where(counted, losses, 0.0).sum() / counted.sum()


def sinusoids(length: int, width: int) -> np.ndarray:
    """sin(p / 10000^(2i/width)) in even and cos in odd columns."""
    angles = np.arange(length)[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
    pairs = np.stack([np.sin(angles), np.cos(angles)], 2)
    return pairs.reshape(length, width).astype(np.float32)


def adam(
    weights: Tree, gradients: Tree, moments: Tree, count: jax.Array, workload: Workload
) -> tuple[Tree, Tree]:
    """The next weights and moments (Kingma and Ba 2015, algorithm 1)."""
    beta1, beta2 = workload.beta1, workload.beta2
    first = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, moments["first"], gradients)
    second = jax.tree.map(
        lambda v, g: beta2 * v + (1 - beta2) * g * g, moments["second"], gradients
    )
    rate = workload.learning_rate / (1 - beta1**count)
    root = jnp.sqrt(1 - beta2**count)
    moved = jax.tree.map(
        lambda w, m, v: w - rate * m / (jnp.sqrt(v) / root + workload.epsilon),
        weights,
        first,
        second,
    )
    return moved, {"first": first, "second": second}


def facts(variant: str, threads: int) -> dict[str, Any]:
    """Version; XLA starts a thread for each processor that this process may use."""
    return {"version": jax.__version__, "threads": threads, "detail": "jit, donated state"}


def build(
    variant: str,
    workload: Workload,
    parameters: dict[str, np.ndarray],
    batch: dict[str, np.ndarray],
    dropout: float,
) -> Callable[[], float]:
    """The compiled step and the state that it is given and gives back."""
    precision = variant.rpartition(":")[2]
    if precision in PRODUCTS:
        jax.config.update("jax_default_matmul_precision", PRODUCTS[precision])
    if variant.startswith("cuda") and jax.default_backend() != "gpu":
        raise RuntimeError(f"JAX computes on {jax.default_backend()}: it finds no CUDA device")

    @partial(jax.jit, donate_argnums=0)
    def train(state: Tree, feeds: Tree) -> tuple[Tree, jax.Array]:
        count = state["count"] + 1
        key = jax.random.fold_in(state["key"], count)
        loss, gradients = jax.value_and_grad(loss_of)(
            state["weights"], feeds, key, workload, dropout
        )
        weights, moments = adam(state["weights"], gradients, state["moments"], count, workload)
        return {"weights": weights, "moments": moments, "count": count, "key": state["key"]}, loss

    weights = {name: jnp.array(array) for name, array in parameters.items()}
    moments = {which: jax.tree.map(jnp.zeros_like, weights) for which in ("first", "second")}
    state: Tree = {
        "weights": weights,
        "moments": moments,
        "count": jnp.int32(0),
        "key": jax.random.key(workload.seed),
    }
    feeds = {name: jnp.array(array) for name, array in batch.items()}

    def step() -> float:
        nonlocal state
        state, loss = train(state, feeds)
        jax.block_until_ready(state)
        return float(loss)

    return step
