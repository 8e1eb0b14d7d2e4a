"""Parallel text: vocabularies, corpora, and the batches that training and evaluation see.

The package imports nothing of graphgrad but its errors, so that it can be used, and replaced,
without the engine. (The examples of dates are in `graphgrad.data.dates`, which needs Babel.)
"""

from graphgrad.data.batches import Batch, Batches, evaluation_batches
from graphgrad.data.corpus import Corpus, permutation
from graphgrad.data.lines import read_lines
from graphgrad.data.text import read_pairs, read_parallel
from graphgrad.data.vocabulary import Vocabulary

__all__ = [
    "Batch",
    "Batches",
    "Corpus",
    "Vocabulary",
    "evaluation_batches",
    "permutation",
    "read_lines",
    "read_pairs",
    "read_parallel",
]
