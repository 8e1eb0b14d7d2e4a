"""The settings that GPT and BERT share: the sizes of the model, and where its text comes from."""

from __future__ import annotations

from dataclasses import dataclass

from graphgrad.data.text_tokens import KINDS
from graphgrad.training.setting_values import at_least, below, below_one, one_of
from graphgrad.training.settings import TrainingSettings


@dataclass(frozen=True)
class LanguageSettings(TrainingSettings):
    """What a model of one text adds to the settings of every run."""

    steps: int = 2000
    optimiser: str = "adamw"
    learning_rate: float = 1e-3
    beta2: float = 0.99
    no_decay: str = ""
    """adamw: parameters without it, by names or patterns; empty: all that are no matrices."""
    layers: int = 4
    """Layers of the model."""
    width: int = 128
    """The length of the vector at each position."""
    heads: int = 4
    """Attentions side by side; they share the width."""
    dropout: float = 0.0
    """The share of embeddings, and of the results of attention and network, that training sets to
    0."""
    attention_dropout: float = 0.0
    """The share of attention weights that training sets to 0."""
    separator: str = "<|endoftext|>"
    """The line that parts two documents of a file."""
    tokens: str = "byte"
    """What a token is: byte, character or word."""
    maximum_vocabulary: int = 10000
    """How many words or characters are known, the most frequent ones; others are unknown."""
    held_out: float = 0.05
    """The share of the text that is held out, in whole documents; of one document, its end."""

    def __post_init__(self) -> None:
        TrainingSettings.__post_init__(self)
        one_of("tokens", self.tokens, KINDS)
        for name in ("layers", "width", "heads"):
            at_least(name, getattr(self, name), 1)
            below(name, getattr(self, name), 1000 if name == "layers" else 10**6)
        for name in ("dropout", "attention_dropout", "held_out"):
            below_one(name, getattr(self, name))

    @property
    def drops(self) -> bool:
        """Whether training drops anything."""
        return bool(self.dropout or self.attention_dropout)
