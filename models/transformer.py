"""The Transformer of "Attention Is All You Need" (Vaswani et al. 2017): encoder and decoder.

Read top to bottom: settings, encoder, decoder, output layer, then the two ways it runs. In training
the decoder is given the true target shifted by one (teacher forcing), so all positions are computed
at once. In use it is given what it has produced so far (autoregressive), one token at a time.

Axes: ids [batch, source] and [batch, target]; activations [batch, position, feature]; attention
[batch, head, query, key].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from graphgrad.decoding import Decodable
from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph, Node, alias, input, normal, parameter, scope
from graphgrad.layers import (
    Memory,
    Randomness,
    Recorder,
    Step,
    causal_mask,
    dense,
    dropout,
    embed,
    embedding_table,
    feed_forward,
    layer_norm,
    multi_head_attention,
    padding_mask,
    sinusoidal_positions,
)
from graphgrad.ops import (
    add,
    argmax,
    cross_entropy,
    gather,
    logical_and,
    matmul,
    mean_over_targets,
)
from graphgrad.training.optimisers import randomness_of_run
from graphgrad.training.settings import at_least, below, below_one, one_of
from graphgrad.training.task import Task
from graphgrad.training.text_settings import TextSettings
from graphgrad.training.translation import BEGIN, END, PADDING, translation_task
from graphgrad.training.translation_data import load_data


@dataclass(frozen=True)
class Settings(TextSettings):
    """The keys of `--set`; the defaults are the recipe for `dates`."""

    steps: int = 2400
    batch_size: int = 32
    learning_rate: float = 2e-3
    warmup: int = 200
    layers: int = 2
    """Layers of the encoder, and as many of the decoder."""
    width: int = 96
    """The length of the vector at each position."""
    heads: int = 4
    """Attentions side by side; they share the width."""
    inner: int = 384
    """Units between the two products of the position-wise network."""
    dropout: float = 0.0
    """The share of values that training sets to 0."""
    label_smoothing: float = 0.0
    """The share of the truth that is spread over all tokens."""
    norm: str = "post"
    """post: normalise after the residual sum, as the paper; pre: before each sublayer."""
    tie: bool = False
    """Use the target embedding as the matrix of the output layer too."""
    activation: str = "relu"
    """Of the position-wise network: relu, gelu, tanh, sigmoid or linear."""

    def __post_init__(self) -> None:
        TextSettings.__post_init__(self)
        one_of("norm", self.norm, ("post", "pre"))
        one_of("activation", self.activation, ("relu", "gelu", "tanh", "sigmoid", "linear"))
        for name in ("layers", "width", "heads", "inner"):
            at_least(name, getattr(self, name), 1)
            below(name, getattr(self, name), 1000 if name == "layers" else 10**6)
        for name in ("dropout", "label_smoothing"):
            below_one(name, getattr(self, name))
        if self.width % self.heads or self.width % 2:
            raise ConfigurationError(
                f"width {self.width} must be even and divisible by heads {self.heads}",
                fix="choose a width such as heads × 16",
            )


CHECK: Mapping[str, object] = {
    "layers": 1,
    "width": 8,
    "heads": 2,
    "inner": 8,
    "batch_size": 2,
    "dropout": 0.1,
    "label_smoothing": 0.1,
}
"""Small enough for finite differences at every node."""


# ---------------------------------------------------------------- layers


def sublayer(
    x: Node, settings: Settings, randomness: Randomness | None, name: str, function: object
) -> Node:
    """A residual connection around `function`: post-norm is LayerNorm(x + F(x)), as in the paper,
    pre-norm is x + F(LayerNorm(x))."""
    assert callable(function)
    if settings.norm == "pre":
        y = function(layer_norm(x, f"{name}_norm"))
        return add(
            x, dropout(y, settings.dropout, randomness, f"{name}_dropout"), name=f"{name}_residual"
        )
    y = dropout(function(x), settings.dropout, randomness, f"{name}_dropout")
    return layer_norm(add(x, y, name=f"{name}_residual"), f"{name}_norm")


def encoder_layer(x: Node, mask: Node, settings: Settings, randomness: Randomness | None) -> Node:
    """Self-attention, then the position-wise network."""
    x = sublayer(
        x,
        settings,
        randomness,
        "attention",
        lambda h: multi_head_attention(h, h, mask, settings.heads),
    )
    return sublayer(
        x,
        settings,
        randomness,
        "feed_forward",
        lambda h: feed_forward(h, settings.inner, settings.activation),
    )


def decoder_layer(
    x: Node,
    memory: Node | Memory,
    target_mask: Node,
    source_mask: Node,
    settings: Settings,
    randomness: Randomness | None,
    step: Step | None = None,
) -> Node:
    """Masked self-attention, attention to the encoder's last output, the position-wise network."""
    x = sublayer(
        x,
        settings,
        randomness,
        "attention",
        lambda h: multi_head_attention(h, step.past(h) if step else h, target_mask, settings.heads),
    )
    x = sublayer(
        x,
        settings,
        randomness,
        "cross_attention",
        lambda h: multi_head_attention(h, memory, source_mask, settings.heads, "cross_attention"),
    )
    return sublayer(
        x,
        settings,
        randomness,
        "feed_forward",
        lambda h: feed_forward(h, settings.inner, settings.activation),
    )


def embedded(
    ids: Node,
    table: Node,
    settings: Settings,
    randomness: Randomness | None,
    step: Step | None = None,
) -> Node:
    """Token embeddings × √width plus positions, with dropout."""
    if step is None:
        positions = sinusoidal_positions(ids.shape[1], settings.width, table.dtype)
    else:
        all_positions = sinusoidal_positions(step.sizes.slots, settings.width, table.dtype)
        positions = gather(all_positions, step.position)
    x = add(embed(ids, table), positions, name="with_positions")
    return dropout(x, settings.dropout, randomness)


def encoder(
    source: Node, vocabulary: int, settings: Settings, randomness: Randomness | None = None
) -> Node:
    """Source ids [batch, source] to memory [batch, source, feature]."""
    with scope("encoder"):
        mask = padding_mask(source, PADDING)
        table = embedding_table(vocabulary, settings.width, settings.dtype)
        x = embedded(source, table, settings, randomness)
        for number in range(settings.layers):
            with scope(str(number)):
                x = encoder_layer(x, mask, settings, randomness)
        return layer_norm(x, "final_norm") if settings.norm == "pre" else x


def decoder(
    target: Node,
    memory: Node | Memory,
    source: Node,
    vocabulary: int,
    settings: Settings,
    randomness: Randomness | None = None,
    step: Step | None = None,
) -> Node:
    """Target ids [batch, target] and memory to logits [batch, target, vocabulary].

    In a `step` of decoding, `target` holds new tokens only; those before them are remembered.
    """
    with scope("decoder"):
        source_mask = padding_mask(source, PADDING, "source_mask")
        if step is None:
            target_mask = logical_and(
                padding_mask(target, PADDING, "target_padding"),
                causal_mask(target.shape[1]),
                name="target_mask",
            )
        else:
            target_mask = step.mask("target_mask")
        table = embedding_table(vocabulary, settings.width, settings.dtype)
        x = embedded(target, table, settings, randomness, step)
        for number in range(settings.layers):
            with scope(str(number)):
                x = decoder_layer(x, memory, target_mask, source_mask, settings, randomness, step)
        if settings.norm == "pre":
            x = layer_norm(x, "final_norm")
        if step is not None:
            x = step.wanted(x)
        with scope("output"):
            return output_layer(x, table, vocabulary, settings)


def output_layer(x: Node, table: Node, vocabulary: int, settings: Settings) -> Node:
    """A linear map to one logit a token of the vocabulary; tied, its matrix is the embedding."""
    if settings.tie:
        offset = parameter("b", (vocabulary,), dtype=settings.dtype)
        return add(matmul(x, table, transpose_b=True, name="product"), offset, name="logits")
    initial = normal(settings.width**-0.5)
    return alias(dense(x, vocabulary, "dense", initial=initial), "logits")


# ---------------------------------------------------------------- the two ways it runs


def training_graph(
    settings: Settings, source_vocabulary: int, target_vocabulary: int, training: bool = True
) -> Graph:
    """Teacher forcing: the loss of every next token given the true ones before it.

    `training=False` leaves out dropout and label smoothing, for evaluation.
    """
    randomness = randomness_of_run() if training and settings.dropout else None
    source = input("source", ("batch", "source"), "int32")
    target_input = input("target_input", ("batch", "target"), "int32")
    target_output = input("target_output", ("batch", "target"), "int32")
    memory = encoder(source, source_vocabulary, settings, randomness)
    logits = decoder(target_input, memory, source, target_vocabulary, settings, randomness)
    smoothing = settings.label_smoothing if training else 0.0
    losses = cross_entropy(logits, target_output, smoothing, PADDING, name="losses")
    loss = mean_over_targets(losses, target_output, PADDING, name="loss")
    return Graph({"loss": loss, "predicted": argmax(logits, name="predicted")})


def encoding_graph(settings: Settings, source_vocabulary: int, target_vocabulary: int) -> Graph:
    """In use, first half: the source is encoded once, and so are its keys and values in every layer
    of the decoder. Of the decoder, which is declared to that end, nothing else is computed."""
    source = input("source", ("batch", "source"), "int32")
    kept = Recorder(encoder(source, source_vocabulary, settings))
    decoder(input("unused", ("batch", 1), "int32"), kept, source, target_vocabulary, settings)
    return Graph(kept.found)


def decoding_step(step: Step, settings: Settings, target_vocabulary: int) -> Node:
    """In use, second half, once a token: the logits [batch, row, vocabulary] of the next one."""
    source = input("source", (step.sizes.batch, "source"), "int32")
    return decoder(step.token, step.kept(), source, target_vocabulary, settings, step=step)


def task(settings: Settings, files: Mapping[str, str]) -> Task:
    """The Transformer with its data: `dates`, or the files of the settings."""
    data = load_data(settings, files)
    source_size, target_size = len(data.source_vocabulary), len(data.target_vocabulary)
    return translation_task(
        settings,
        data,
        training_graph(settings, source_size, target_size),
        training_graph(settings, source_size, target_size, training=False),
        Decodable(
            partial(decoding_step, settings=settings, target_vocabulary=target_size),
            encoding_graph(settings, source_size, target_size),
            forbidden=(PADDING, BEGIN),
            end=END,
            positions=settings.maximum_length,
        ),
    )
