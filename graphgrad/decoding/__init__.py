"""Decodes: generates a model's output token by token, with compiled programs.

    Decodable      a model's declarations: one step, and the encoder that runs before the first
    Options        beam, sampling, limits
    Decoder        sentences to hypotheses, in batches of similar lengths

A step computes only the new tokens: the keys and values of earlier ones are states of its program,
and the output layer is applied only to the last position. The package works on ids;
training/translation.py turns text into ids and back.
"""

from graphgrad.decoding.decodable import Decodable, Sentence
from graphgrad.decoding.decoder import Decoder
from graphgrad.decoding.hypothesis import Hypothesis
from graphgrad.decoding.options import Options
from graphgrad.decoding.watch import Stopped, Watch, nobody

__all__ = [
    "Decodable",
    "Decoder",
    "Hypothesis",
    "Options",
    "Sentence",
    "Stopped",
    "Watch",
    "nobody",
]
