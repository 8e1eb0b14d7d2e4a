"""The kernels of attention, compiled and as Python; tests/backends compares them with formulas.

What they are made of, each called by one of the cases: attention_values, values_of_block,
head_address, lanes_of, fill_scores, hide_later, hide_masked, fill_kept,
fill_turned_mask, weigh, scale_rows,
save_statistics; attention_deltas, deltas_of_block, pack_queries, fill_zeros, row_product and
send_back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="it is compiled by LLVM")

from loop_texts import functions_of, run_both

from graphgrad.backends.numpy import attention_text
from graphgrad.loops.library import attention, attention_delta

GENERATOR = np.random.default_rng(2)
HEADS, QUERIES = 2, 3
CALL = """def kernel(first: int64, last: int64, arguments: int64):
    given = array(arguments, int64, {words})
    form = (2, 3, float32(0.7), {causal}, {kind})
    drawn = (True, int64(5), int64(2), 1500000000, float32(1.25))
    {function}(first, last, given, form, drawn, ({wanted}))
"""


def heads_of(rows: int, width: int) -> list[Any]:
    """An array of all heads, with room beside each row, and its strides."""
    array = GENERATOR.normal(size=(HEADS, rows, width + 1)).astype("f4")
    return [array, 0, rows * (width + 1), width + 1]


def mask_of(keys: int, kind: int) -> list[Any]:
    seen = GENERATOR.random((HEADS, QUERIES if kind == 2 else 1, keys)) < 0.6
    seen[..., 0] = True
    return [seen, 0, seen[0].nbytes, keys if kind == 2 else 0, 1]


@pytest.mark.parametrize(("keys", "kind", "causal"), [(5, 2, False), (4, 1, True)])
def test_they_compute_compiled_what_they_say_as_python(keys, kind, causal):
    query, key, value = heads_of(QUERIES, 2), heads_of(keys, 2), heads_of(keys, 3)
    out, delta = heads_of(QUERIES, 3), heads_of(QUERIES, 3)
    sent = [heads_of(QUERIES, 2), heads_of(keys, 2), heads_of(keys, 3)]
    sizes = [1, QUERIES, keys, HEADS, 9, 0, 0]
    words = [*sizes, *mask_of(keys, kind), np.zeros(6, "f4"), *query, *key, *value, *out]
    options = {"causal": causal, "kind": kind}
    text = CALL.format(
        words=len(words), function="attention_values", wanted="True, True", **options
    )
    found, wanted = run_both(text, *words, library=functions_of(attention), last=HEADS)
    for place in (12, 25):  # statistics and values, beside which nothing is written
        np.testing.assert_allclose(found[place], wanted[place], 1e-5, 1e-6)
    assert not np.array_equal(found[25], words[25])
    words = [*found[:29], *delta, *[word for each in sent for word in each]]
    text = CALL.format(
        words=len(words), function="attention_deltas", wanted="True, True, True", **options
    )
    library = functions_of(attention_delta)
    found, wanted = run_both(text, *words, library=library, last=HEADS)
    for place in (33, 37, 41):
        np.testing.assert_allclose(found[place], wanted[place], 1e-5, 1e-6)
        assert not np.array_equal(found[place], words[place])


def test_the_text_knows_the_words_and_masks_of_the_kernels():
    kinds = ("NO_MASK", "MASK_OF_KEYS", "MASK_OF_PAIRS")
    assert all(getattr(attention_text, each) == getattr(attention, each) for each in kinds)
    assert attention_text.LANES == attention.LANES == 2 * attention.HALF
    assert attention.KEYS_AT_ONCE % 4 == 0, "a block of keys begins a group of random numbers"
