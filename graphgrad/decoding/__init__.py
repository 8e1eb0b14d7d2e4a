"""Decoding: a model's own words, one token after another, as compiled programs.

    Decodable      what a model file gives: one step, and what is encoded before the first
    Options        beam, sampling, limits
    Decoder        sentences to hypotheses, in batches of alike lengths

A step computes the new tokens only: keys and values of those before are states of its program, and
the output layer meets the last position alone. Nothing here knows text; see training/translation.py
for that.
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
