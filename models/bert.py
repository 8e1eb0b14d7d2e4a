"""BERT: the encoder of the Transformer alone, which learns to fill gaps in a text.

Read top to bottom: settings, a layer, the encoder, the output layer, then the two ways it runs. No
mask hides later positions: every position attends to all others, so the next token is not a
question that can be asked. Instead some tokens are hidden and predicted (masked language
modelling).

It is BERT's architecture (Devlin et al. 2019): token, segment and position embeddings, normalised;
normalisation after each residual sum; GELU; a transformation before the output layer, which is tied
to the embedding. The second task of the paper, whether two sentences follow each other, is left out
as in RoBERTa (Liu et al. 2019).

Axes: ids [batch, position]; activations [batch, position, feature]; attention [batch, head, query,
key]; targets [batch, asked].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from graphgrad.data.python_text import python_prose
from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph, Node, input, normal, parameter, scope
from graphgrad.layers import (
    ACTIVATIONS,
    Randomness,
    dense,
    dropout,
    feed_forward,
    layer_norm,
    learned_positions,
    multi_head_attention,
    padding_mask,
    picked,
    sublayer,
)
from graphgrad.ops import add, argmax, cross_entropy, gather, matmul, mean_over_targets, softmax
from graphgrad.training.language import PAD, load_text
from graphgrad.training.language_settings import LanguageSettings
from graphgrad.training.masking import masking_task
from graphgrad.training.optimisers import randomness_of_run
from graphgrad.training.reversing import reversing_task
from graphgrad.training.setting_values import at_least, below, one_of
from graphgrad.training.task import Task

DEVIATION = 0.02
"""Of every matrix at the start, as in BERT."""
SEGMENTS = 2
EPSILON = 1e-12


@dataclass(frozen=True)
class Settings(LanguageSettings):
    """The keys of `--set`; the defaults are a small BERT for the prose that Python ships."""

    batch_size: int = 32
    warmup: int = 200
    weight_decay: float = 0.01
    layers: int = 2
    inner: int = 512
    """Units between the two products of the position-wise network."""
    context: int = 64
    """The most tokens of an example, <bos> and <eos> counted."""
    activation: str = "gelu"
    """Of the position-wise network and the output layer: gelu, gelu_tanh, relu, tanh, …"""
    data: str = "text"
    """text; or reverse: digits, of which each place is asked for the one in reverse order."""
    text: str = ""
    """A file of text, or a folder of files; empty: docstrings and language reference of Python."""
    tokens: str = "word"
    maximum_vocabulary: int = 5000

    def __post_init__(self) -> None:
        LanguageSettings.__post_init__(self)
        one_of("activation", self.activation, tuple(ACTIVATIONS))
        one_of("data", self.data, ("text", "reverse"))
        at_least("inner", self.inner, 1)
        below("inner", self.inner, 10**6)
        at_least("context", self.context, 8)
        below("context", self.context, 10**6)
        if self.width % self.heads:
            raise ConfigurationError(
                f"width {self.width} does not split into {self.heads} heads",
                fix="choose a width such as heads × 16",
            )


CHECK: Mapping[str, object] = {
    "data": "reverse",
    "layers": 1,
    "width": 8,
    "heads": 2,
    "inner": 8,
    "context": 16,
    "batch_size": 2,
    "dropout": 0.1,
    "attention_dropout": 0.1,
}
"""Small enough for finite differences at every node."""


# ---------------------------------------------------------------- layers


def encoder_layer(x: Node, mask: Node, settings: Settings, randomness: Randomness | None) -> Node:
    """Self-attention, then the position-wise network; normalised after each residual sum."""
    initial = normal(DEVIATION)
    part = partial(
        sublayer,
        norm=_norm,
        placement="post",
        rate=settings.dropout,
        randomness=randomness,
    )
    x = part(
        x,
        "attention",
        lambda h: multi_head_attention(
            h,
            h,
            mask,
            settings.heads,
            initial=initial,
            output_initial=initial,
            rate=settings.attention_dropout,
            randomness=randomness,
        ),
    )
    return part(
        x,
        "feed_forward",
        lambda h: feed_forward(
            h, settings.inner, settings.activation, initial=initial, outer_initial=initial
        ),
    )


def _norm(x: Node, name: str) -> Node:
    return layer_norm(x, name, EPSILON)


def encoder(
    ids: Node,
    segments: Node,
    vocabulary: int,
    settings: Settings,
    randomness: Randomness | None = None,
) -> tuple[Node, Node]:
    """Ids and segments [batch, position] to activations [batch, position, feature], and the table
    of token embeddings."""
    initial, width, dtype = normal(DEVIATION), settings.width, settings.dtype
    mask = padding_mask(ids, PAD)
    table = parameter("embedding", (vocabulary, width), initial, dtype)
    kinds = gather(parameter("segments", (SEGMENTS, width), initial, dtype), segments)
    places = learned_positions(ids.shape[1], settings.context, width, initial, dtype)
    words = add(gather(table, ids, name="words"), kinds, name="with_segments")
    x = dropout(
        _norm(add(words, places, name="with_positions"), "norm"), settings.dropout, randomness
    )
    for number in range(settings.layers):
        with scope(str(number)):
            x = encoder_layer(x, mask, settings, randomness)
    return x, table


def output_layer(x: Node, table: Node, settings: Settings) -> Node:
    """A transformation, then a linear map to one logit a token; its matrix is the embedding."""
    with scope("output"):
        hidden = ACTIVATIONS[settings.activation](
            dense(x, settings.width, "dense", initial=normal(DEVIATION)), name="z"
        )
        hidden = _norm(hidden, "norm")
        offset = parameter("b", (table.shape[0],), dtype=settings.dtype)
        return add(matmul(hidden, table, transpose_b=True, name="product"), offset, name="logits")


# ---------------------------------------------------------------- the two ways it runs


def logits_of(settings: Settings, vocabulary: int, randomness: Randomness | None = None) -> Node:
    """The logits [batch, asked, vocabulary] of the tokens at the `places` that are asked for."""
    ids = input("ids", ("batch", "position"), "int32")
    segments = input("segments", ("batch", "position"), "int32")
    places = input("places", ("batch", "asked"), "int32")
    with scope("encoder"):
        x, table = encoder(ids, segments, vocabulary, settings, randomness)
    return output_layer(picked(x, places), table, settings)


def training_graph(settings: Settings, vocabulary: int, training: bool = True) -> Graph:
    """The loss of every token that is asked for; a target that is <pad> is none.

    `training=False` leaves out dropout.
    """
    randomness = randomness_of_run() if training and settings.drops else None
    logits = logits_of(settings, vocabulary, randomness)
    targets = input("targets", ("batch", "asked"), "int32")
    losses = cross_entropy(logits, targets, ignored=PAD, name="losses")
    loss = mean_over_targets(losses, targets, PAD, name="loss")
    return Graph({"loss": loss, "predicted": argmax(logits, name="predicted")})


def filling_graph(settings: Settings, vocabulary: int) -> Graph:
    """In use: the probability of every token at each place that is asked for."""
    logits = logits_of(settings, vocabulary)
    return Graph({"probabilities": softmax(logits, name="probabilities")})


def task(settings: Settings, files: Mapping[str, str]) -> Task:
    """BERT with its data: text, or digits to reverse."""
    if settings.data == "reverse":
        return reversing_task(settings, partial(training_graph, settings))
    data = load_text(settings, files, python_prose)
    size = len(data.tokens) + 1  # the mask is one more
    return masking_task(
        settings,
        data,
        training_graph(settings, size),
        training_graph(settings, size, training=False),
        filling_graph(settings, size),
    )
