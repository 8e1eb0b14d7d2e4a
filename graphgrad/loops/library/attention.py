"""Attention in the loop language, one block of queries after the other; attention_delta.py has its
deltas.

A block has up to `LANES` queries of one head, and its loops run over `KEYS_AT_ONCE` keys at a time.
What belongs to a pair of query and key is stored turned around, [key, lane], so that a row has a
number for each query of the block: scores, maxima, exponentials and sums are vectors of queries,
and the products read keys and values where they are. No more scores than those of a block exist at
any time, and these stay in the cache.

The largest score so far of each query is subtracted before the exponential (Milakov and Gimelshein
2018); where later keys have a larger one, what was added up before is scaled.

`given` are the words of a kernel: sizes, then addresses and strides. Strides of floats count
elements, those of a mask bytes. A block with half as many queries or fewer uses half of the lanes;
lanes without a query repeat the last one, and nothing of them is stored.
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
    uint64,
)
from graphgrad.loops.library.philox import LOW, fill_elements, group_words
from graphgrad.loops.library.products import multiply_columns, multiply_tile
from graphgrad.loops.library.single_precision import exp_float32, log_float32
from graphgrad.loops.library.turned import LANES, turn_rows

HALF = 16
"""Half of the lanes: an inner loop over so many becomes vectors on every processor."""
KEYS_AT_ONCE = 256
LOWEST, SMALLEST = -3.4028234663852886e38, 1.1754943508222875e-38
"""The most negative and the smallest positive number of float32, as in the plain softmax."""

BLOCKS, QUERIES, KEYS, INNER, STREAM = 0, 1, 2, 3, 4
"""Words of a kernel: blocks of queries in a head, sizes, heads of the inner axis, and the stream of
random numbers of dropout. The addresses of seed and step follow."""
MASK, STATISTICS, QUERY, KEY, VALUE, OUT = 7, 12, 13, 17, 21, 25
"""The first words of arrays: their address, and the strides of the two axes of heads and of the
rows; of a mask, that of the keys as well; of statistics, the address alone."""
NO_MASK, MASK_OF_KEYS, MASK_OF_PAIRS = 0, 1, 2


@loop_function()
def head_address(given, which: int64, head: int64):
    """Where the rows of a head begin in one of the arrays of floats."""
    outer = head // given[INNER]
    within = head - outer * given[INNER]
    return given[which] + 4 * (outer * given[which + 1] + within * given[which + 2])


@loop_function()
def lanes_of(count: int64):
    """How many lanes a block of so many queries uses."""
    return HALF if count <= HALF else LANES


@loop_function()
def hide_later(scores, block, half: int64):
    """Sets the scores of keys later than the query to -∞."""
    start, begin, size = block[1], block[3], block[4]
    for row in range(max(start + 1 - begin, 0), size):
        for lane in independent(HALF):
            later = begin + row > start + half + lane
            scores[row, half + lane] = -INFINITY if later else scores[row, half + lane]


@loop_function()
def hide_masked(scores, given, block, kind: int64):
    """Sets the scores of masked keys to -∞. A mask of keys is one for all queries of a head."""
    head, start, count, begin, size = block
    outer = head // given[INNER]
    within = head - outer * given[INNER]
    by_row, by_key = given[MASK + 3], given[MASK + 4]
    mask = given[MASK] + outer * given[MASK + 1] + within * given[MASK + 2] + begin * by_key
    if kind == MASK_OF_KEYS:
        for row in range(size):
            if not array(mask + row * by_key, bool_, 1)[0]:
                for lane in independent(LANES):
                    scores[row, lane] = -INFINITY
    if kind == MASK_OF_PAIRS:
        for lane in range(count):
            for row in range(size):
                allowed = array(mask + (start + lane) * by_row + row * by_key, bool_, 1)[0]
                scores[row, lane] = scores[row, lane] if allowed else -INFINITY


@loop_function()
def fill_scores(scores, packed, given, block, form):
    """The scores of a block, scale · K Qᵀ, and -∞ where a key is hidden."""
    width, scale, causal, kind = form[0], form[2], form[3], form[4]
    begin, size = block[3], block[4]
    stride, lanes = given[KEY + 3], lanes_of(block[2])
    keys = head_address(given, KEY, block[0]) + 4 * begin * stride
    multiply_tile(
        size, lanes, width, keys, stride, 1, address(packed), LANES, address(scores), LANES, 0
    )
    for half in range(0, lanes, HALF):
        for row in range(size):
            for lane in independent(HALF):
                scores[row, half + lane] = scores[row, half + lane] * scale
        if causal:
            hide_later(scores, block, half)
    hide_masked(scores, given, block, kind)


@loop_function(separate=True)
def fill_turned_mask(
    kept: int64,
    first: int64,
    keys: int64,
    count: int64,
    size: int64,
    seed: int64,
    step: int64,
    stream: int64,
    limit: int64,
    scale: float32,
):
    """A dropout mask turned around, [size and up to 3, LANES]: that of the first query begins with
    number `first` of the stream, those of the others `keys` further each.

    A group of four numbers gives four rows of its lane, where the numbers of each query begin one.
    """
    mask, zero = array(kept, float32, size + 3, LANES), float32(0)
    one_row = empty(size, float32)
    if keys % 4 == 0:
        step_low, step_high = uint64(step) & LOW, uint64(step) >> 32
        key_low, key_high = uint64(seed) & LOW, uint64(seed) >> 32
        which, least = uint64(stream), uint64(limit)
        for half in range(0, lanes_of(count), HALF):
            group = uint64((first + half * keys) // 4)
            for row in range(0, size, 4):
                for lane in independent(HALF):
                    its = group + uint64(row // 4) + uint64(lane) * uint64(keys // 4)
                    a, b, c, d = group_words(its, which, step_low, step_high, key_low, key_high)
                    mask[row, half + lane] = scale if a >= least else zero
                    mask[row + 1, half + lane] = scale if b >= least else zero
                    mask[row + 2, half + lane] = scale if c >= least else zero
                    mask[row + 3, half + lane] = scale if d >= least else zero
    else:
        for lane in range(count):
            fill_elements(one_row, first + lane * keys, seed, step, stream, limit, scale)
            for row in range(size):
                mask[row, lane] = one_row[row]


@loop_function()
def fill_kept(kept, given, block, drawn):
    """The dropout mask of a block."""
    head, start, count, begin, size = block
    seed, step, limit, scale = drawn[1], drawn[2], drawn[3], drawn[4]
    keys, stream = given[KEYS], given[STREAM]
    first = (head * given[QUERIES] + start) * keys + begin
    fill_turned_mask(address(kept), first, keys, count, size, seed, step, stream, limit, scale)


@loop_function("contract")
def weigh(scores, kept, block, half: int64, largest, totals, factors, dropped: bool_):
    """Scores become exponentials, which are added to `totals` before dropout. `factors` scale what
    was added up with the largest scores of before."""
    size = block[4]
    for lane in independent(HALF):
        factors[half + lane] = largest[half + lane]
    for row in range(size):
        for lane in independent(HALF):
            largest[half + lane] = max(largest[half + lane], scores[row, half + lane])
    for lane in independent(HALF):
        factors[half + lane] = exp_float32(factors[half + lane] - largest[half + lane])
        totals[half + lane] = totals[half + lane] * factors[half + lane]
    for row in range(size):
        for lane in independent(HALF):
            weight = exp_float32(scores[row, half + lane] - largest[half + lane])
            totals[half + lane] = totals[half + lane] + weight
            scores[row, half + lane] = weight * kept[row, half + lane] if dropped else weight


@loop_function()
def scale_rows(rows: int64, stride: int64, count: int64, width: int64, factors):
    """Multiplies each row by its factor."""
    for row in range(count):
        numbers = array(rows + 4 * stride * row, float32, width)
        for column in independent(width):
            numbers[column] = numbers[column] * factors[row]


@loop_function()
def save_statistics(found, largest, totals):
    """L = log Σ eˢ of each query of a block; ∞ for a query without keys."""
    for lane in range(len(found)):
        logarithm = log_float32(max(totals[lane], float32(SMALLEST))) + largest[lane]
        found[lane] = float32(INFINITY) if totals[lane] == 0 else logarithm


@loop_function()
def values_of_block(given, head: int64, start: int64, form, drawn, wanted, rooms):
    """Values and statistics of the queries of one block."""
    width, value_width, causal = form[0], form[1], form[3]
    packed, scores, kept, largest, totals, factors = rooms
    count = min(LANES, given[QUERIES] - start)
    end = min(given[KEYS], start + count) if causal else given[KEYS]
    q_stride, v_stride, o_stride = given[QUERY + 3], given[VALUE + 3], given[OUT + 3]
    query = head_address(given, QUERY, head) + 4 * start * q_stride
    out = head_address(given, OUT, head) + 4 * start * o_stride
    turn_rows(count, width, query, q_stride, address(packed))
    for lane in independent(LANES):
        largest[lane], totals[lane] = float32(LOWEST), float32(0)
    for begin in range(0, end, KEYS_AT_ONCE):
        size = min(KEYS_AT_ONCE, end - begin)
        block = (head, start, count, begin, size)
        fill_scores(scores, packed, given, block, form)
        if drawn[0]:
            fill_kept(kept, given, block, drawn)
        for half in range(0, lanes_of(count), HALF):
            weigh(scores, kept, block, half, largest, totals, factors, drawn[0])
        if wanted[0]:
            if begin > 0:
                scale_rows(out, o_stride, count, value_width, factors)
            values = head_address(given, VALUE, head) + 4 * begin * v_stride
            weights = address(scores)
            multiply_columns(
                count, value_width, size, weights, LANES, values, v_stride, out, o_stride, begin
            )
    if wanted[0]:
        for lane in independent(LANES):
            factors[lane] = float32(1) / max(totals[lane], float32(SMALLEST))
        scale_rows(out, o_stride, count, value_width, factors)
    if wanted[1]:
        saved = given[STATISTICS] + 4 * (head * given[QUERIES] + start)
        save_statistics(array(saved, float32, count), largest, totals)


@loop_function()
def attention_values(first: int64, last: int64, given, form, drawn, wanted):
    """Computes the blocks of queries from number `first` to before `last`.

    `form` is (features of a query, features of a value, scale, whether later keys are hidden, kind
    of mask), `drawn` (whether there is dropout, seed, step, threshold, scale of what is kept), and
    `wanted` says whether values and statistics are.
    """
    packed, room = empty(form[0] * LANES, float32), empty(KEYS_AT_ONCE * LANES, float32)
    kept_room = empty(KEYS_AT_ONCE * LANES if drawn[0] else LANES, float32)
    largest, totals, factors = empty(LANES, float32), empty(LANES, float32), empty(LANES, float32)
    scores = array(address(room), float32, KEYS_AT_ONCE, LANES)
    kept = array(address(kept_room), float32, KEYS_AT_ONCE, LANES)
    rooms = (packed, scores, kept, largest, totals, factors)
    for item in range(first, last):
        head = item // given[BLOCKS]
        start = (item - head * given[BLOCKS]) * LANES
        values_of_block(given, head, start, form, drawn, wanted, rooms)
