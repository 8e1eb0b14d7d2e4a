"""Layers: functions that declare the usual parts of a model."""

from graphgrad.layers.attention import (
    attention,
    causal_mask,
    join_heads,
    multi_head_attention,
    padding_mask,
    repeat_heads,
    split_heads,
)
from graphgrad.layers.basic import (
    ACTIVATIONS,
    Randomness,
    dense,
    dropout,
    feed_forward,
    layer_norm,
)
from graphgrad.layers.cache import KeptMemory, Memory, Recorder, Step, StepMemory, StepSizes
from graphgrad.layers.embedding import embed, embedding_table, sinusoidal_positions
from graphgrad.layers.gated import gated_feed_forward
from graphgrad.layers.norms import rms_norm
from graphgrad.layers.positions import learned_positions, picked, rotate
from graphgrad.layers.shared import shared
from graphgrad.layers.sublayer import sublayer

__all__ = [
    "ACTIVATIONS",
    "KeptMemory",
    "Memory",
    "Randomness",
    "Recorder",
    "Step",
    "StepMemory",
    "StepSizes",
    "attention",
    "causal_mask",
    "dense",
    "dropout",
    "embed",
    "embedding_table",
    "feed_forward",
    "gated_feed_forward",
    "join_heads",
    "layer_norm",
    "learned_positions",
    "multi_head_attention",
    "padding_mask",
    "picked",
    "repeat_heads",
    "rms_norm",
    "rotate",
    "shared",
    "sinusoidal_positions",
    "split_heads",
    "sublayer",
]
