"""Parallel text: vocabularies, corpora, and the batches that training and evaluation see.

The package imports nothing of graphgrad but its errors and files, so that it can be used, and
replaced, without the compiler. (The examples of dates are in `graphgrad.data.dates`, which needs
Babel.)
"""

from graphgrad.data.batches import Batches, evaluation_batches
from graphgrad.data.corpus import Corpus, permutation
from graphgrad.data.encoded import Batch
from graphgrad.data.lines import read_lines
from graphgrad.data.parallel import read_pairs
from graphgrad.data.text import read_corpus, read_parallel
from graphgrad.data.vocabulary import Vocabulary

__all__ = [
    "Batch",
    "Batches",
    "Corpus",
    "Vocabulary",
    "evaluation_batches",
    "permutation",
    "read_corpus",
    "read_lines",
    "read_pairs",
    "read_parallel",
]
