"""The topics of the lecture, in its order, each with a summary, its options and its lesson."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from graphgrad.errors import UnknownNameError
from graphgrad.lecture import (
    architecture,
    attention,
    decoding,
    descent,
    encoder,
    heads,
    lookup,
    network,
    neuron,
)
from graphgrad.lecture import positions as positions_
from graphgrad.lecture.blocks import Lesson
from graphgrad.lecture.request import Request
from graphgrad.text import suggestion


@dataclass(frozen=True)
class Topic:
    """One row of the lecture: its name on the command line, a summary, and what it can be asked."""

    name: str
    summary: str
    lesson: Callable[[Request], Lesson]
    options: Mapping[str, str] = field(default_factory=dict)
    """The options of `--set`, with their values by default."""
    text: str = ""
    """The text by default; empty where a run has to be given one."""
    run: bool = False
    """Whether a run may be given."""
    needs_run: bool = False

    @property
    def takes_text(self) -> bool:
        """Whether a text is looked at."""
        return bool(self.text) or self.needs_run


TOPICS: tuple[Topic, ...] = (
    Topic("neuron", "y = φ(Σ w x), with numbers", neuron.neuron_lesson, neuron.NEURON),
    Topic(
        "activations",
        "linear, tanh, sigmoid, ReLU: φ and φ′",
        neuron.activations_lesson,
        neuron.ACTIVATION,
    ),
    Topic(
        "network",
        "3-3-3: heads, tails, a, z, w, δ",
        network.network_lesson,
        network.NETWORK,
        run=True,
    ),
    Topic(
        "update",
        "½ Σ (z − ŷ)², w ← w − η δ_t z_h, the descent",
        descent.update_lesson,
        descent.UPDATE,
        run=True,
    ),
    Topic(
        "lookup",
        "112, 96 → 14, 12 → 0.88, 0.12",
        lookup.lookup_lesson,
        lookup.LOOKUP,
        lookup.WORDS,
    ),
    Topic(
        "attention",
        "Q, K, V, scores, weights, values as matrices",
        attention.attention_lesson,
        attention.ATTENTION,
        attention.SENTENCE,
    ),
    Topic(
        "heads",
        "8 heads, concat, W_O; lines from word to word",
        heads.heads_lesson,
        heads.HEADS,
        heads.SENTENCE,
        run=True,
    ),
    Topic(
        "positions",
        "the positional encoding, inner products by distance",
        positions_.positions_lesson,
        positions_.POSITIONS,
    ),
    Topic(
        "encoder",
        "a layer of the encoder; LayerNorm with its 1/n",
        encoder.encoder_lesson,
        encoder.ENCODER,
    ),
    Topic(
        "mask",
        "mask, scores, masked scores, weights; masked δ is 0",
        attention.mask_lesson,
        attention.MASK,
        "I am a student",
    ),
    Topic(
        "output",
        "logits, log-probabilities, argmax (RUN, TEXT)",
        decoding.output_lesson,
        decoding.OUTPUT,
        run=True,
        needs_run=True,
    ),
    Topic(
        "decoding",
        "teacher forcing beside autoregressive (RUN, TEXT)",
        decoding.decoding_lesson,
        decoding.DECODING,
        run=True,
        needs_run=True,
    ),
    Topic("transformer", "Figure 1 of the paper", architecture.figure_lesson, architecture.FIGURE),
    Topic(
        "layers",
        "2 layers of the encoder, 2 of the decoder, whole",
        architecture.layers_lesson,
        architecture.LAYERS,
    ),
    Topic("bert", "the encoder alone", architecture.bert_lesson, architecture.BERT),
    Topic("gpt", "the decoder alone", architecture.gpt_lesson, architecture.GPT),
)
"""All topics, in the order of the lecture."""

ALSO = {"loss": "update", "descent": "update", "figure1": "transformer", "relu": "activations"}
"""Further names of topics."""


def topic_called(name: str) -> Topic:
    """The topic of a name. Raises UnknownNameError with the nearest one for any other."""
    wanted = ALSO.get(name.lower(), name.lower())
    for topic in TOPICS:
        if topic.name == wanted:
            return topic
    known = [*(topic.name for topic in TOPICS), *ALSO]
    raise UnknownNameError(
        f"the lecture has no topic {name!r:.60}", fix=suggestion(name, known, "topics")
    )
