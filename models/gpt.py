"""GPT: the decoder of the Transformer alone, which learns to continue a text.

Read top to bottom: settings, a layer, the decoder, then the two ways it runs. In training the next
token is predicted at every position of a text at once, and the mask hides the later positions
(teacher forcing). In generation the next token is drawn from the logits of the last position and
appended to the text (autoregressive).

By default it is GPT-2 (Radford et al. 2019): normalisation before each part, learned positions,
GELU, the output layer tied to the embedding. `norm=rms`, `positions=rotary`, `activation=swiglu`
and fewer `key_heads` make it a GPT of today; each is a layer of graphgrad.layers.

Axes: ids [batch, position]; activations [batch, position, feature]; attention [batch, head, query,
key].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from graphgrad.data.python_text import python_documentation_and_source
from graphgrad.data.vocabulary import EOS
from graphgrad.decoding import Decodable
from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph, Node, input, normal, parameter, scope
from graphgrad.layers import (
    Randomness,
    Step,
    causal_mask,
    dropout,
    feed_forward,
    gated_feed_forward,
    layer_norm,
    learned_positions,
    multi_head_attention,
    rms_norm,
    sublayer,
)
from graphgrad.ops import (
    add,
    argmax,
    cross_entropy,
    gather,
    matmul,
    mean_over_targets,
)
from graphgrad.training.language import PAD, language_task, load_text
from graphgrad.training.language_settings import LanguageSettings
from graphgrad.training.optimisers import randomness_of_run
from graphgrad.training.setting_values import at_least, below, one_of
from graphgrad.training.sorting import sorting_task
from graphgrad.training.task import Task
from graphgrad.training.writer import SILENT

DEVIATION = 0.02
"""Of every matrix at the start, as in GPT-2."""


@dataclass(frozen=True)
class Settings(LanguageSettings):
    """The keys of `--set`; the defaults are a small GPT for the text that Python ships."""

    batch_size: int = 16
    schedule: str = "cosine"
    final_share: float = 0.1
    weight_decay: float = 0.1
    key_heads: int = 0
    """Heads of keys and values, which groups of the heads share; 0: as many as heads."""
    inner: int = 0
    """Units between the products of the position-wise network; 0: 4 × width, of swiglu ⅔ of it."""
    context: int = 128
    """The most tokens that are looked at together."""
    norm: str = "layer"
    """layer: layer normalisation; rms: by the root of the mean square."""
    positions: str = "learned"
    """learned: a vector for each place is added; rotary: queries and keys are turned."""
    activation: str = "gelu_tanh"
    """Of the position-wise network: gelu_tanh (GPT-2's), gelu, relu, silu, or swiglu (gated)."""
    bias: bool = True
    """Whether products and layer normalisations add a bias."""
    tie: bool = True
    """Use the embedding as the matrix of the output layer too."""
    data: str = "text"
    """text; or sort: digits, to be followed by the same in order."""
    text: str = ""
    """A file of text, or a folder of files; empty: the documentation and source in Python."""

    def __post_init__(self) -> None:
        LanguageSettings.__post_init__(self)
        one_of("norm", self.norm, ("layer", "rms"))
        one_of("positions", self.positions, ("learned", "rotary"))
        one_of("activation", self.activation, ("gelu_tanh", "gelu", "relu", "silu", "swiglu"))
        one_of("data", self.data, ("text", "sort"))
        at_least("context", self.context, 1)
        below("context", self.context, 10**6)
        for name in ("key_heads", "inner"):
            at_least(name, getattr(self, name), 0)
            below(name, getattr(self, name), 10**6)
        _check_heads(self)

    @property
    def groups(self) -> int:
        """How many heads of keys and values there are."""
        return self.key_heads or self.heads

    @property
    def units(self) -> int:
        """How many units the position-wise network has."""
        return self.inner or (
            4 * self.width if self.activation != "swiglu" else 8 * self.width // 3
        )


def _check_heads(settings: Settings) -> None:
    pairs = settings.positions == "rotary" and (settings.width // settings.heads) % 2
    if settings.width % settings.heads or settings.heads % settings.groups or pairs:
        raise ConfigurationError(
            f"width {settings.width} does not split into {settings.heads} heads"
            + (f" in {settings.groups} groups" if settings.key_heads else "")
            + (" of an even width, which rotary positions need" if pairs else ""),
            fix="choose a width such as heads × 16, and heads a multiple of key_heads",
        )


CHECK: Mapping[str, object] = {
    "data": "sort",
    "layers": 1,
    "width": 8,
    "heads": 2,
    "inner": 8,
    "context": 11,
    "batch_size": 2,
    "dropout": 0.1,
    "attention_dropout": 0.1,
}
"""Small enough for finite differences at every node."""


# ---------------------------------------------------------------- layers


def decoder_layer(
    x: Node,
    mask: Node,
    settings: Settings,
    randomness: Randomness | None,
    step: Step | None = None,
) -> Node:
    """Masked self-attention, then the position-wise network, each on a normalised copy of x.

    The matrices before each residual sum start smaller the more layers there are, as in GPT-2.
    """
    initial = normal(DEVIATION)
    into_sum = normal(DEVIATION * (2 * settings.layers) ** -0.5)
    part = partial(sublayer, norm=_norm_of(settings), rate=settings.dropout, randomness=randomness)

    def attention(h: Node) -> Node:
        return multi_head_attention(
            h,
            step.past(h) if step else h,
            mask,
            settings.heads,
            key_heads=settings.groups,
            rotary=settings.positions == "rotary",
            positions=step.position if step else None,
            bias=settings.bias,
            initial=initial,
            output_initial=into_sum,
            rate=settings.attention_dropout,
            randomness=randomness,
        )

    def network(h: Node) -> Node:
        options = {"bias": settings.bias, "initial": initial, "outer_initial": into_sum}
        if settings.activation == "swiglu":
            return gated_feed_forward(h, settings.units, **options)
        return feed_forward(h, settings.units, settings.activation, **options)

    return part(part(x, "attention", attention), "feed_forward", network)


def _norm_of(settings: Settings) -> Callable[[Node, str], Node]:
    if settings.norm == "rms":
        return rms_norm
    return partial(layer_norm, bias=settings.bias)


def decoder(
    ids: Node,
    vocabulary: int,
    settings: Settings,
    randomness: Randomness | None = None,
    step: Step | None = None,
) -> tuple[Node, Node]:
    """Ids [batch, position] to activations [batch, position, feature], and the embedding.

    In a `step` of decoding, `ids` are the new tokens only; those before them are remembered.
    """
    initial, width, dtype = normal(DEVIATION), settings.width, settings.dtype
    table = parameter("embedding", (vocabulary, width), initial, dtype)
    x = gather(table, ids, name="words")
    if settings.positions == "learned":
        places = learned_positions(
            step.position if step else ids.shape[1], settings.context, width, initial, dtype
        )
        x = add(x, places, name="with_positions")
    x = dropout(x, settings.dropout, randomness)
    mask = step.mask() if step else causal_mask(ids.shape[1])
    for number in range(settings.layers):
        with scope(str(number)):
            x = decoder_layer(x, mask, settings, randomness, step)
    return _norm_of(settings)(x, "final_norm"), table


def output_layer(x: Node, table: Node, settings: Settings) -> Node:
    """A linear map to one logit a token of the vocabulary; tied, its matrix is the embedding."""
    if not settings.tie:
        with scope("output"):
            table = parameter("w", table.shape, normal(DEVIATION), settings.dtype)
    return matmul(x, table, transpose_b=True, name="logits")


# ---------------------------------------------------------------- the two ways it runs


def training_graph(settings: Settings, vocabulary: int, training: bool = True) -> Graph:
    """Teacher forcing: the loss of every next token given the ones before it.

    Positions where `following` is <pad> do not count. `training=False` leaves out dropout.
    """
    randomness = randomness_of_run() if training and settings.drops else None
    ids = input("ids", ("batch", "position"), "int32")
    following = input("following", ("batch", "position"), "int32")
    with scope("decoder"):
        x, table = decoder(ids, vocabulary, settings, randomness)
        logits = output_layer(x, table, settings)
    losses = cross_entropy(logits, following, ignored=PAD, name="losses")
    loss = mean_over_targets(losses, following, PAD, name="loss")
    return Graph({"loss": loss, "predicted": argmax(logits, name="predicted")})


def decoding_step(step: Step, settings: Settings, vocabulary: int) -> Node:
    """Generation, once a token: the logits [batch, row, vocabulary] of the next one."""
    with scope("decoder"):
        x, table = decoder(step.token, vocabulary, settings, step=step)
        return output_layer(x, table, settings)


def decodable(
    settings: Settings, vocabulary: int, forbidden: tuple[int, ...], end: int | None = None
) -> Decodable:
    """The model as it is decoded. A text that is longer than the context is cropped, as nanoGPT
    does: for every token the last `context` ones are read, as if the text began there."""
    step = partial(decoding_step, settings=settings, vocabulary=vocabulary)
    return Decodable(step, None, end, forbidden, PAD, settings.context, crops=True)


def task(settings: Settings, files: Mapping[str, str]) -> Task:
    """GPT with its data: text, or digits to sort."""
    if settings.data == "sort":
        return sorting_task(
            settings,
            partial(training_graph, settings),
            partial(decodable, settings),
        )
    data = load_text(settings, files, python_documentation_and_source)
    size = len(data.tokens)
    return language_task(
        settings,
        data,
        training_graph(settings, size),
        training_graph(settings, size, training=False),
        decodable(settings, size, SILENT, EOS),
    )
