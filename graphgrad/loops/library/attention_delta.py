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
from graphgrad.loops.library.products import multiply_columns, multiply_tile
from graphgrad.loops.library.single_precision import exp_float32
from graphgrad.loops.library.turned import LANES, turn_rows

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
def pack_queries(given, head: int64, start: int64, form, rooms):
    """Turns queries and deltas of a block around, and finds L and Σ δ · o of its queries."""
    packed, packed_delta, saved, sums = rooms[0], rooms[1], rooms[5], rooms[6]
    width, value_width = form[0], form[1]
    count = min(LANES, given[QUERIES] - start)
    q_stride, o_stride, d_stride = given[QUERY + 3], given[OUT + 3], given[DELTA + 3]
    query = head_address(given, QUERY, head) + 4 * start * q_stride
    values = head_address(given, OUT, head) + 4 * start * o_stride
    delta = head_address(given, DELTA, head) + 4 * start * d_stride
    turn_rows(count, width, query, q_stride, address(packed))
    turn_rows(count, value_width, delta, d_stride, address(packed_delta))
    statistics = given[STATISTICS] + 4 * (head * given[QUERIES] + start)
    for lane in range(lanes_of(count)):
        row = min(lane, count - 1)
        saved[lane] = array(statistics, float32, count)[row]
        sums[lane] = row_product(
            array(values + 4 * o_stride * row, float32, value_width),
            array(delta + 4 * d_stride * row, float32, value_width),
        )


@loop_function()
def deltas_of_block(given, block, form, drawn, wanted, rooms):
    """What the queries of a block and so many keys send to each other, and to values."""
    head, start, count, begin, size = block
    width, value_width, scale, causal, kind = form
    packed, packed_delta, weights, sent, kept, saved, sums = rooms
    k_stride, v_stride, k_sent = given[KEY + 3], given[VALUE + 3], given[TO_KEY + 3]
    q_stride, d_stride, v_sent = given[QUERY + 3], given[DELTA + 3], given[TO_VALUE + 3]
    some, w, s, p = (
        causal or kind != NO_MASK,
        address(weights),
        address(sent),
        address(packed_delta),
    )
    lanes = lanes_of(count)
    value = head_address(given, VALUE, head) + 4 * begin * v_stride
    fill_scores(weights, packed, given, block, form)
    multiply_tile(size, lanes, value_width, value, v_stride, 1, p, LANES, s, LANES, 0)
    if drawn[0]:
        fill_kept(kept, given, block, drawn)
    for half in range(0, lanes, HALF):
        send_back(weights, sent, kept, block, half, saved, sums, scale, drawn[0], some)
    if wanted[0]:
        key = head_address(given, KEY, head) + 4 * begin * k_stride
        q_sent = given[TO_QUERY + 3]
        out = head_address(given, TO_QUERY, head) + 4 * start * q_sent
        multiply_columns(count, width, size, s, LANES, key, k_stride, out, q_sent, begin)
    if wanted[1]:
        query = head_address(given, QUERY, head) + 4 * start * q_stride
        to_key = head_address(given, TO_KEY, head) + 4 * begin * k_sent
        multiply_tile(size, width, count, s, LANES, 1, query, q_stride, to_key, k_sent, 1)
    if wanted[2]:
        delta = head_address(given, DELTA, head) + 4 * start * d_stride
        to_value = head_address(given, TO_VALUE, head) + 4 * begin * v_sent
        multiply_tile(size, value_width, count, w, LANES, 1, delta, d_stride, to_value, v_sent, 1)


@loop_function()
def attention_deltas(first: int64, last: int64, given, form, drawn, wanted):
    """What the heads from number `first` to before `last` send to queries, keys and values, as far
    as each is `wanted`; `form` and `drawn` are those of `attention_values`."""
    queries, keys = given[QUERIES], given[KEYS]
    packed, packed_delta = empty(form[0] * LANES, float32), empty(form[1] * LANES, float32)
    room, sent_room = empty(KEYS_AT_ONCE * LANES, float32), empty(KEYS_AT_ONCE * LANES, float32)
    kept_room = empty(KEYS_AT_ONCE * LANES if drawn[0] else LANES, float32)
    saved, sums = empty(LANES, float32), empty(LANES, float32)
    weights = array(address(room), float32, KEYS_AT_ONCE, LANES)
    sent = array(address(sent_room), float32, KEYS_AT_ONCE, LANES)
    kept = array(address(kept_room), float32, KEYS_AT_ONCE, LANES)
    rooms = (packed, packed_delta, weights, sent, kept, saved, sums)
    for head in range(first, last):
        if wanted[1]:
            fill_zeros(head_address(given, TO_KEY, head), given[TO_KEY + 3], keys, form[0])
        if wanted[2]:
            fill_zeros(head_address(given, TO_VALUE, head), given[TO_VALUE + 3], keys, form[1])
        for start in range(0, queries, LANES):
            count = min(LANES, queries - start)
            end = min(keys, start + count) if form[3] else keys
            pack_queries(given, head, start, form, rooms)
            for begin in range(0, end, KEYS_AT_ONCE):
                block = (head, start, count, begin, min(KEYS_AT_ONCE, end - begin))
                deltas_of_block(given, block, form, drawn, wanted, rooms)
