"""Declares the lecture's attention, step by step, and a small network that learns a look-up.

Attention is a query to a key–value store. There are N keys k_n of D_k features, each with a value
v_n of D_v features; a query q is compared with all keys, and the result is the sum of the values,
weighted by how well their keys match.

    1  one query          `score`, `look_up`       α_n = softmax(q · k_n),  o = Σ_n α_n v_n
    2  many queries       `attention_weights`      α_ij: how much query i attends to key j
    3  as matrices        `layers.attention`       softmax(Q Kᵀ / √D_k) V
    4  self-attention     `self_attention`         Q = X W^Q, K = X W^K, V = X W^V
    5  with a mask        `masked_attention`       softmax(Q Kᵀ, where allowed) V

Rows are vectors, so a value is [query, feature], [key, feature] or [query, key].

`graphgrad train attention` learns a look-up. Every example is a store of its own, with keys of
equal length in random directions, and the query is a copy of one key with noise on it. The network
has W^Q and W^K only, drawn at random, so at first its scores are random. As the keys are equally
long, softmax(q · k_n / σ²) is the probability that a query with noise of deviation σ means k_n: the
best possible answer has the form of attention, and W^Q W^Kᵀ / √D_k grows towards 1/σ² times the
identity (about half of that after the default steps).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from graphgrad.compile import compile
from graphgrad.errors import DeclarationError
from graphgrad.graph import Graph, Node, input, normal, parameter, scope
from graphgrad.layers import attention, causal_mask
from graphgrad.ops import expand_dims, half_squared_error, matmul, multiply, softmax, sum, where
from graphgrad.training.setting_values import at_least, below
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.task import Feeds, State, Task

# ---------------------------------------------------------------- the steps of the lecture


def score(query: Node, keys: Node, name: str = "scores") -> Node:
    """score(q, k) = q · k = Σ_d q_d k_d: how well a query [feature] matches a key [feature].

    For all keys at once, [key, feature], one score a key: [key].
    """
    return sum(multiply(query, keys), -1, name=name)


def look_up(query: Node, keys: Node, values: Node) -> Node:
    """The answer to one query: q [D_k], keys [N, D_k], values [N, D_v] -> o [D_v].

    Softmax turns the scores, which may be any numbers, into weights α_n >= 0 with the sum 1; the
    answer is o = Σ_n α_n v_n.
    """
    scores = score(query, keys)
    weights = softmax(scores, name="weights")
    weighted = multiply(expand_dims(weights, 1), values, name="weighted")
    return sum(weighted, 0, name="o")


def attention_weights(queries: Node, keys: Node) -> Node:
    """The matrix α_ij = exp(q_i · k_j) / Σ_n exp(q_i · k_n): [query, key].

    Row i is the distribution of the attention of query i over the keys, so its sum is 1.
    """
    scores = matmul(queries, keys, transpose_b=True, name="scores")
    return softmax(scores, name="weights")


def self_attention(
    x: Node, key_width: int, value_width: int, mask: Node | None = None, name: str = "attention"
) -> Node:
    """Attention in which queries, keys and values are all computed from one input.

    Q = X W^Q, K = X W^K, V = X W^V, then softmax(Q Kᵀ / √D_k) V: from [..., position, feature] to
    [..., position, value_width]. The factor keeps the weights smooth: the scores of wide keys would
    be large, and the delta of a softmax whose weights are nearly 0 and 1 vanishes.
    """
    with scope(name):
        query = projected(x, key_width, "Q")
        key = projected(x, key_width, "K")
        value = projected(x, value_width, "V")
        return attention(query, key, value, mask)


def projected(x: Node, width: int, name: str) -> Node:
    """X W, with a parameter `W_<name>` drawn from N(0, 1/features)."""
    features = x.shape[-1]
    if not isinstance(features, int):
        raise DeclarationError(f"a projection needs a known number of features, not {x.type}")
    weight = parameter(f"W_{name}", (features, width), normal(features**-0.5), x.dtype)
    return matmul(x, weight, name=name)


def masked_attention(queries: Node, keys: Node, values: Node) -> Node:
    """The lecture's mask example in its four steps: a query does not attend to later keys.

    The mask forbids the upper triangle. A forbidden score becomes -∞, so its weight and its delta
    are exactly 0. (The example leaves out 1/√D_k: it is `attention(…, scaled=False)`.)
    """
    # step 1: from the input's length, the mask
    mask = causal_mask(queries.shape[0], name="mask")
    # step 2: the inner products of Q and K
    scores = matmul(queries, keys, transpose_b=True, name="scores")
    # step 3: the mask, before softmax
    masked = where(mask, scores, -math.inf, name="masked_scores")
    weights = softmax(masked, name="weights")
    # step 4: the masked weights times V
    return matmul(weights, values, name="values")


# ---------------------------------------------------------------- a look-up that is learned


@dataclass(frozen=True)
class Settings(TrainingSettings):
    """Plain gradient descent; the loss is a sum over the batch."""

    keys: int = 8
    """Keys in a store."""
    width: int = 8
    """Features of a key and of a query, and columns of W^Q and W^K."""
    value_width: int = 4
    """Features of a value."""
    noise: float = 0.5
    """σ, the deviation of the noise on a query; the elements of a key have variance 1."""
    steps: int = 1000
    optimiser: str = "sgd"
    learning_rate: float = 0.01
    schedule: str = "constant"
    warmup: int = 0
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        TrainingSettings.__post_init__(self)
        for name in ("keys", "width", "value_width"):
            at_least(name, getattr(self, name), 1)
            below(name, getattr(self, name), 10**6)
        at_least("noise", self.noise, 0)


CHECK = {"dtype": "float64", "batch_size": 2, "keys": 3, "width": 2, "value_width": 2}


def network(settings: Settings) -> Graph:
    """½ Σ (o - v)², where o is the answer of the store and v the value of the key that was meant.

    Inputs: `query` and `truth` [batch, 1, feature], `keys` and `values` [batch, key, feature].
    """
    wide, narrow = settings.width, settings.value_width
    query = input("query", ("batch", 1, wide), settings.dtype)
    keys = input("keys", ("batch", settings.keys, wide), settings.dtype)
    values = input("values", ("batch", settings.keys, narrow), settings.dtype)
    truth = input("truth", ("batch", 1, narrow), settings.dtype)
    with scope("attention"):
        o = attention(projected(query, wide, "Q"), projected(keys, wide, "K"), values)
    return Graph({"loss": half_squared_error(o, truth, name="loss")})


@dataclass(frozen=True)
class Lookups:
    """Inputs of the network, and for each example the index of the key that was meant."""

    feeds: Feeds
    meant: np.ndarray


def draw_lookups(settings: Settings, count: int, stream: int, step: int) -> Lookups:
    """`count` random stores with a query each: a pure function of its arguments."""
    generator = np.random.default_rng([settings.seed, stream, step])
    keys = generator.standard_normal((count, settings.keys, settings.width))
    keys *= math.sqrt(settings.width) / np.linalg.norm(keys, axis=-1, keepdims=True)
    values = generator.standard_normal((count, settings.keys, settings.value_width))
    meant = generator.integers(settings.keys, size=count)
    chosen = np.arange(count), meant
    query = keys[chosen] + settings.noise * generator.standard_normal((count, settings.width))
    feeds = {
        "query": query[:, None],
        "keys": keys,
        "values": values,
        "truth": values[chosen][:, None],
    }
    return Lookups(feeds, meant)


def right(lookups: Lookups, answers: np.ndarray) -> np.ndarray:
    """Whether the nearest value to each answer [batch, 1, feature] is the one that was meant."""
    distances = np.square(answers - lookups.feeds["values"]).sum(axis=-1)
    return distances.argmin(axis=-1) == lookups.meant


TRAINING, HELD_OUT = 0, 1
HELD_OUT_LOOKUPS = 1000


def task(settings: Settings, files: Mapping[str, str]) -> Task:
    """The task of looking a value up by a noisy copy of its key; the seed determines the data."""
    graph = network(settings)
    fetched = ["attention.weights", "attention.values"]
    compiled = compile(graph, fetch=fetched, backend=settings.backend)
    unseen = draw_lookups(settings, HELD_OUT_LOOKUPS, HELD_OUT, 0)

    def answer(state: State) -> dict[str, np.ndarray]:
        return compiled(state, **unseen.feeds)

    def feeds(step: int) -> Feeds:
        return draw_lookups(settings, settings.batch_size, TRAINING, step).feeds

    def evaluate(state: State) -> dict[str, float]:
        """`right` is the share of right look-ups, `best` that of taking the key nearest to the
        query, which is the best possible rule. `loss`, a sum, is scaled to the size of a batch."""
        found = answer(state)
        matches = np.matmul(unseen.feeds["keys"], unseen.feeds["query"].swapaxes(1, 2))[..., 0]
        return {
            "loss": float(found["loss"]) * settings.batch_size / HELD_OUT_LOOKUPS,
            "examples": HELD_OUT_LOOKUPS,
            "right": float(right(unseen, found["attention.values"]).mean()),
            "best": float((matches.argmax(axis=-1) == unseen.meant).mean()),
        }

    return Task(
        graph,
        feeds,
        evaluate,
        validate=evaluate,
        examples=partial(_examples, answer, unseen),
        notice=f"each store has {settings.keys} keys; queries are keys with noise of "
        f"deviation {settings.noise:g}",
    )


def _examples(
    answer: Callable[[State], dict[str, np.ndarray]], unseen: Lookups, state: State
) -> list[str]:
    """One line per look-up: the weights of all keys, the meant one in brackets."""
    found = answer(state)
    verdicts = right(unseen, found["attention.values"])
    lines = []
    for number in range(4):
        weights = [f" {weight:.2f} " for weight in found["attention.weights"][number, 0]]
        meant = int(unseen.meant[number])
        weights[meant] = f"[{weights[meant].strip()}]"
        lines.append(f"α = {''.join(weights)}  {'right' if verdicts[number] else 'wrong'}")
    return lines
