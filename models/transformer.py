"""The Transformer of "Attention Is All You Need" (Vaswani et al. 2017): encoder and decoder.

Read top to bottom: settings, encoder, decoder, output layer, then the two ways it runs. In training
the decoder is given the true target shifted by one (teacher forcing), so all positions are computed
at once. In use it is given what it has produced so far (autoregressive), one token at a time.

Axes: ids [batch, source] and [batch, target]; activations [batch, position, feature]; attention
[batch, head, query, key].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from graphgrad.decoding import Decodable
from graphgrad.errors import ConfigurationError
from graphgrad.graph import (
    Graph,
    Initial,
    Node,
    alias,
    input,
    iota,
    normal,
    parameter,
    scope,
    uniform,
)
from graphgrad.layers import (
    ACTIVATIONS,
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
    sublayer,
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
from graphgrad.training.setting_values import at_least, below, below_one, one_of
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
    """The share of embeddings, and of the results of attention and network, that training sets to
    0."""
    attention_dropout: float = 0.0
    """The share of attention weights that training sets to 0."""
    activation_dropout: float = 0.0
    """The share of hidden units of the position-wise network that training sets to 0."""
    label_smoothing: float = 0.0
    """The share of the truth that is spread over all tokens."""
    norm: str = "post"
    """post: normalise after the residual sum, as the paper; pre: before each sublayer."""
    positions: str = "sinusoidal"
    """sinusoidal: fixed sines and cosines; learned: a vector for each of `maximum_length`."""
    share_embeddings: bool = False
    """Use one table of embeddings for source and target, which needs `joint`."""
    tie: bool = False
    """Use the target embedding as the matrix of the output layer too."""
    activation: str = "relu"
    """Of the position-wise network: relu, gelu, gelu_tanh, silu, tanh, sigmoid or linear."""
    bias: bool = True
    """Whether the products and layer normalisations of the layers add a bias."""
    output_bias: bool = True
    """Whether the output layer adds a bias to the logits."""
    initial: str = "scaled"
    """Of matrices at the start. scaled: N(0, 1/inputs); xavier: uniform of variance 2 / (inputs +
    outputs), half of it for queries, keys and values, as in fairseq."""

    def __post_init__(self) -> None:
        TextSettings.__post_init__(self)
        one_of("norm", self.norm, ("post", "pre"))
        one_of("positions", self.positions, ("sinusoidal", "learned"))
        one_of("activation", self.activation, tuple(ACTIVATIONS))
        one_of("initial", self.initial, ("scaled", "xavier"))
        for name in ("layers", "width", "heads", "inner"):
            at_least(name, getattr(self, name), 1)
            below(name, getattr(self, name), 1000 if name == "layers" else 10**6)
        for name in ("dropout", "attention_dropout", "activation_dropout", "label_smoothing"):
            below_one(name, getattr(self, name))
        if self.width % self.heads or self.width % 2:
            raise ConfigurationError(
                f"width {self.width} must be even and divisible by heads {self.heads}",
                fix="choose a width such as heads × 16",
            )
        if self.share_embeddings and not (self.joint or self.tokenizer):
            raise ConfigurationError(
                "share_embeddings needs one vocabulary for source and target",
                fix="--set joint=true",
            )

    @property
    def drops(self) -> bool:
        """Whether training drops anything."""
        return bool(self.dropout or self.attention_dropout or self.activation_dropout)


CHECK: Mapping[str, object] = {
    "layers": 1,
    "width": 8,
    "heads": 2,
    "inner": 8,
    "batch_size": 2,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "activation_dropout": 0.1,
    "label_smoothing": 0.1,
}
"""Small enough for finite differences at every node."""


# ---------------------------------------------------------------- layers


@dataclass(frozen=True)
class Parts:
    """The parts of every layer under the settings; without `randomness` nothing is dropped."""

    settings: Settings
    randomness: Randomness | None = None

    def sublayer(self, x: Node, name: str, function: Callable[[Node], Node]) -> Node:
        """A residual connection around `function`: post-norm is LayerNorm(x + F(x)), as in the
        paper, pre-norm is x + F(LayerNorm(x))."""
        settings = self.settings
        return sublayer(
            x, name, function, self.norm, settings.norm, settings.dropout, self.randomness
        )

    def norm(self, x: Node, name: str) -> Node:
        """Layer normalisation."""
        return layer_norm(x, name, bias=self.settings.bias)

    def attention(
        self, x: Node, memory: Node | Memory, mask: Node, name: str = "attention"
    ) -> Node:
        """Attention of the positions of x to those of the memory."""
        settings, width = self.settings, self.settings.width
        return multi_head_attention(
            x,
            memory,
            mask,
            settings.heads,
            name,
            bias=settings.bias,
            initial=self.initial(width, width, 0.5),
            output_initial=self.initial(width, width),
            rate=settings.attention_dropout,
            randomness=self.randomness,
        )

    def network(self, x: Node) -> Node:
        """The position-wise network."""
        settings = self.settings
        return feed_forward(
            x,
            settings.inner,
            settings.activation,
            bias=settings.bias,
            initial=self.initial(settings.width, settings.inner),
            outer_initial=self.initial(settings.inner, settings.width),
            rate=settings.activation_dropout,
            randomness=self.randomness,
        )

    def initial(self, inputs: int, outputs: int, share: float = 1.0) -> Initial:
        """The distribution of a matrix at the start; xavier: with this share of the variance."""
        if self.settings.initial == "scaled":
            return normal(inputs**-0.5)
        return uniform((6.0 * share / (inputs + outputs)) ** 0.5)


def encoder_layer(x: Node, mask: Node, parts: Parts) -> Node:
    """Self-attention, then the position-wise network."""
    x = parts.sublayer(x, "attention", lambda h: parts.attention(h, h, mask))
    return parts.sublayer(x, "feed_forward", parts.network)


def decoder_layer(
    x: Node,
    memory: Node | Memory,
    target_mask: Node,
    source_mask: Node,
    parts: Parts,
    step: Step | None = None,
) -> Node:
    """Masked self-attention, attention to the encoder's last output, the position-wise network."""

    def itself(h: Node) -> Node:
        return parts.attention(h, step.past(h) if step else h, target_mask)

    def source(h: Node) -> Node:
        return parts.attention(h, memory, source_mask, "cross_attention")

    x = parts.sublayer(x, "attention", itself)
    x = parts.sublayer(x, "cross_attention", source)
    return parts.sublayer(x, "feed_forward", parts.network)


def table_of(vocabulary: int, settings: Settings) -> Node:
    """A table of embeddings, in the current scope."""
    # scaled: the row of the padding is drawn, too, as it was before it could be 0
    padding = PADDING if settings.initial == "xavier" else None
    return embedding_table(vocabulary, settings.width, settings.dtype, padding=padding)


def shared_table(vocabulary: int, settings: Settings) -> Node | None:
    """The table of source and target, if they share it; it belongs to no half."""
    return table_of(vocabulary, settings) if settings.share_embeddings else None


def embedded(ids: Node, table: Node, parts: Parts, step: Step | None = None) -> Node:
    """Token embeddings × √width plus positions, with dropout."""
    settings = parts.settings
    width, most, dtype = settings.width, settings.maximum_length, table.dtype
    if settings.positions == "learned":
        place = step.position if step else iota(ids.shape[1])
        learned = parameter("positions", (most, width), normal(width**-0.5), dtype)
        positions = gather(learned, place)
    elif step is None:
        positions = sinusoidal_positions(ids.shape[1], width, dtype)
    else:
        all_positions = sinusoidal_positions(step.sizes.slots, width, dtype)
        positions = gather(all_positions, step.position)
    x = add(embed(ids, table), positions, name="with_positions")
    return dropout(x, settings.dropout, parts.randomness)


def encoder(source: Node, vocabulary: int, parts: Parts, shared: Node | None = None) -> Node:
    """Source ids [batch, source] to memory [batch, source, feature].

    Its table of embeddings is `shared`, or its own.
    """
    settings = parts.settings
    with scope("encoder"):
        mask = padding_mask(source, PADDING)
        table = table_of(vocabulary, settings) if shared is None else shared
        x = embedded(source, table, parts)
        for number in range(settings.layers):
            with scope(str(number)):
                x = encoder_layer(x, mask, parts)
        return parts.norm(x, "final_norm") if settings.norm == "pre" else x


def decoder(
    target: Node,
    memory: Node | Memory,
    source: Node,
    vocabulary: int,
    parts: Parts,
    shared: Node | None = None,
    step: Step | None = None,
) -> Node:
    """Target ids [batch, target] and memory to logits [batch, target, vocabulary].

    In a `step` of decoding, `target` holds new tokens only; those before them are remembered.
    """
    settings = parts.settings
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
        table = table_of(vocabulary, settings) if shared is None else shared
        x = embedded(target, table, parts, step)
        for number in range(settings.layers):
            with scope(str(number)):
                x = decoder_layer(x, memory, target_mask, source_mask, parts, step)
        if settings.norm == "pre":
            x = parts.norm(x, "final_norm")
        with scope("output"):
            return output_layer(x, table, parts)


def output_layer(x: Node, table: Node, parts: Parts) -> Node:
    """A linear map to one logit a token of the vocabulary; tied, its matrix is the embedding."""
    settings, vocabulary = parts.settings, table.type.sizes[0]
    if not settings.tie:
        initial = parts.initial(settings.width, vocabulary)
        return alias(dense(x, vocabulary, "dense", settings.output_bias, initial), "logits")
    if not settings.output_bias:
        return matmul(x, table, transpose_b=True, name="logits")
    offset = parameter("b", (vocabulary,), dtype=settings.dtype)
    return add(matmul(x, table, transpose_b=True, name="product"), offset, name="logits")


# ---------------------------------------------------------------- the two ways it runs


def training_graph(
    settings: Settings, source_vocabulary: int, target_vocabulary: int, training: bool = True
) -> Graph:
    """Teacher forcing: the loss of every next token given the true ones before it.

    `training=False` leaves out dropout and label smoothing, for evaluation.
    """
    parts = Parts(settings, randomness_of_run() if training and settings.drops else None)
    source = input("source", ("batch", "source"), "int32")
    target_input = input("target_input", ("batch", "target"), "int32")
    target_output = input("target_output", ("batch", "target"), "int32")
    shared = shared_table(source_vocabulary, settings)
    memory = encoder(source, source_vocabulary, parts, shared)
    logits = decoder(target_input, memory, source, target_vocabulary, parts, shared)
    smoothing = settings.label_smoothing if training else 0.0
    losses = cross_entropy(logits, target_output, smoothing, PADDING, name="losses")
    loss = mean_over_targets(losses, target_output, PADDING, name="loss")
    return Graph({"loss": loss, "predicted": argmax(logits, name="predicted")})


def encoding_graph(settings: Settings, source_vocabulary: int, target_vocabulary: int) -> Graph:
    """In use, first half: the source is encoded once, and so are its keys and values in every layer
    of the decoder. Of the decoder, which is declared to that end, nothing else is computed."""
    source = input("source", ("batch", "source"), "int32")
    parts, shared = Parts(settings), shared_table(source_vocabulary, settings)
    kept = Recorder(encoder(source, source_vocabulary, parts, shared))
    unused = input("unused", ("batch", 1), "int32")
    decoder(unused, kept, source, target_vocabulary, parts, shared)
    return Graph(kept.found)


def decoding_step(step: Step, settings: Settings, target_vocabulary: int) -> Node:
    """In use, second half, once a token: the logits [batch, row, vocabulary] of the next one."""
    source = input("source", (step.sizes.batch, "source"), "int32")
    parts, shared = Parts(settings), shared_table(target_vocabulary, settings)
    return decoder(step.token, step.kept(), source, target_vocabulary, parts, shared, step)


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
            source_positions=settings.maximum_length,
        ),
    )
