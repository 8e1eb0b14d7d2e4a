"""What a run that learns from text says of its data and batches before it begins."""

from __future__ import annotations

import numpy as np

from graphgrad.data.documents import Documents
from graphgrad.data.text_tokens import TextTokens
from graphgrad.data.vocabulary import UNK


def about_text(
    documents: Documents,
    tokens: TextTokens,
    train: np.ndarray,
    held_out: np.ndarray,
    batch_size: int,
    length: int,
) -> list[str]:
    """A line for each thing.

    `train` and `held_out` are the ids of the two parts, and `length` the tokens of an example.
    """
    kind = "documents" if documents.whole else "parts"
    unknown = float(np.mean(held_out == UNK)) if len(held_out) else 0.0
    epoch = -(-len(train) // (batch_size * length))
    return [
        f"data: {len(train):,} tokens in {len(documents.train):,} {kind} to train on",
        f"held out: {len(held_out):,} tokens in {len(documents.held_out):,} {kind}",
        f"vocabulary: {len(tokens.vocabulary):,} tokens ({tokens.kind}); "
        f"unknown in what is held out: {unknown:.2%}",
        f"batches: {batch_size} examples of {length} tokens, none of them padding; "
        f"{epoch:,} batches have as many tokens as the text",
        "programs: 1 for training steps",
    ]
