"""The deltas of attention in the loop language. What is small was saved, weights are computed
again:

    p = exp(s - L)        r = Σ δ · o over the features of a query
    g = scale · p · (dropout · δ Vᵀ - r)
    δ_V = (p · dropout)ᵀ δ        δ_Q = g K        δ_K = gᵀ Q

One thread has a whole head: it adds up the deltas of keys and values over the blocks of queries in
their order, so results are the same for any number of threads. Blocks, lanes and words are those of
attention.py.
"""

from __future__ import annotations

from graphgrad.loops.language import (
    INFINITY,
    address,
    array,
    bool_,
    empty,
    float32,
    independent,
    int64,
    loop_function,
)
from graphgrad.loops.library.attention import (
    HALF,
    KEY,
    KEYS,
    KEYS_AT_ONCE,
    NO_MASK,
    OUT,
    QUERIES,
    QUERY,
    STATISTICS,
    VALUE,
    fill_kept,
    fill_scores,
    head_address,
    lanes_of,
)
from graphgrad.loops.library.panels import LANES, product_of_columns, product_of_rows, turn_rows
from graphgrad.loops.library.single_precision import exp_float32

DELTA, TO_QUERY, TO_KEY, TO_VALUE = 29, 33, 37, 41
"""The first words of the delta of the values, and of what is sent back."""


@loop_function()
def fill_zeros(rows: int64, stride: int64, count: int64, width: int64):
    """Sets rows to 0."""
    for row in range(count):
        numbers = array(rows + 4 * stride * row, float32, width)
        for column in independent(width):
            numbers[column] = float32(0)


@loop_function("reassoc", "contract")
def row_product(a, b):
    """Σ a · b over a row."""
    total = float32(0)
    for column in range(len(a)):
        total = total + a[column] * b[column]
    return total


@loop_function()
def send_back(
    weights,
    sent,
    kept,
    block,
    half: int64,
    saved,
    sums,
    scale: float32,
    dropped: bool_,
    some: bool_,
):
    """Scores become weights after dropout, and `sent`, δ Vᵀ, becomes the delta of Q Kᵀ: where
    `some` keys are hidden it is 0 there, whatever else reaches it."""
    for row in range(block[4]):
        for lane in independent(HALF):
            score, through = weights[row, half + lane], sent[row, half + lane]
            weight = exp_float32(score - saved[half + lane])
            through = through * kept[row, half + lane] if dropped else through
            reached = (through - sums[half + lane]) * weight * scale
            sent[row, half + lane] = float32(0) if some and score == -INFINITY else reached
            weights[row, half + lane] = weight * kept[row, half + lane] if dropped else weight


@loop_function()
def attention_deltas(
    first: int64,
    last: int64,
    given,
    seed: int64,
    step: int64,
    width: int64,
    value_width: int64,
    scale: float32,
    causal: bool_,
    kind: int64,
    dropped: bool_,
    limit: int64,
    kept_scale: float32,
    to_query: bool_,
    to_key: bool_,
    to_value: bool_,
):
    """What the heads from number `first` to before `last` send to queries, keys and values."""
    queries, keys = given[QUERIES], given[KEYS]
    packed, packed_delta = empty(width * LANES, float32), empty(value_width * LANES, float32)
    room, sent_room = empty(KEYS_AT_ONCE * LANES, float32), empty(KEYS_AT_ONCE * LANES, float32)
    kept_room = empty(KEYS_AT_ONCE * LANES if dropped else LANES, float32)
    one_row = empty(KEYS_AT_ONCE, float32)
    saved, sums = empty(LANES, float32), empty(LANES, float32)
    weights = array(address(room), float32, KEYS_AT_ONCE, LANES)
    sent = array(address(sent_room), float32, KEYS_AT_ONCE, LANES)
    kept = array(address(kept_room), float32, KEYS_AT_ONCE, LANES)
    q_stride, k_stride, v_stride = given[QUERY + 3], given[KEY + 3], given[VALUE + 3]
    o_stride, d_stride = given[OUT + 3], given[DELTA + 3]
    tq_stride, tk_stride, tv_stride = given[TO_QUERY + 3], given[TO_KEY + 3], given[TO_VALUE + 3]
    w, s, p = address(weights), address(sent), address(packed_delta)
    drawn, some = (seed, step, limit, kept_scale), causal or kind != NO_MASK
    for head in range(first, last):
        if to_key:
            fill_zeros(head_address(given, TO_KEY, head), tk_stride, keys, width)
        if to_value:
            fill_zeros(head_address(given, TO_VALUE, head), tv_stride, keys, value_width)
        for start in range(0, queries, LANES):
            count = min(LANES, queries - start)
            end = min(keys, start + count) if causal else keys
            query = head_address(given, QUERY, head) + 4 * start * q_stride
            delta = head_address(given, DELTA, head) + 4 * start * d_stride
            values = head_address(given, OUT, head) + 4 * start * o_stride
            q_sent = head_address(given, TO_QUERY, head) + 4 * start * tq_stride
            statistics = given[STATISTICS] + 4 * (head * queries + start)
            turn_rows(count, width, query, q_stride, address(packed))
            turn_rows(count, value_width, delta, d_stride, p)
            for lane in range(LANES):
                row = min(lane, count - 1)
                saved[lane] = array(statistics, float32, count)[row]
                sums[lane] = row_product(
                    array(values + 4 * o_stride * row, float32, value_width),
                    array(delta + 4 * d_stride * row, float32, value_width),
                )
            for begin in range(0, end, KEYS_AT_ONCE):
                size = min(KEYS_AT_ONCE, end - begin)
                block, lanes = (head, start, count, begin, size), lanes_of(count)
                key = head_address(given, KEY, head) + 4 * begin * k_stride
                value = head_address(given, VALUE, head) + 4 * begin * v_stride
                k_sent = head_address(given, TO_KEY, head) + 4 * begin * tk_stride
                v_sent = head_address(given, TO_VALUE, head) + 4 * begin * tv_stride
                fill_scores(weights, packed, given, block, width, scale, causal, kind)
                product_of_rows(size, value_width, lanes, value, v_stride, p, LANES, s, LANES, 0)
                if dropped:
                    fill_kept(kept, one_row, given, block, drawn)
                for half in range(0, lanes, HALF):
                    send_back(weights, sent, kept, block, half, saved, sums, scale, dropped, some)
                if to_value:
                    product_of_rows(
                        size, count, value_width, w, LANES, delta, d_stride, v_sent, tv_stride, 1
                    )
                if to_key:
                    product_of_rows(
                        size, count, width, s, LANES, query, q_stride, k_sent, tk_stride, 1
                    )
                if to_query:
                    product_of_columns(
                        count, size, width, s, LANES, key, k_stride, q_sent, tq_stride, begin
                    )
