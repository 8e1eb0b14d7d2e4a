// What the delta of attention sends to the queries of a tile of one head, on tensor cores: what
// attention_delta_query.cu does, and the sum of delta times value of each query (`rows`), which the
// deltas of its scores are measured from.
extern "C" __global__ void __launch_bounds__($threads) kernel(
$strides
    const long long stream,
    const $element* query,
    const $element* key,
    const $element* value,
    const $element* delta,
    const $element* values,
    const float* statistics,
    float* rows,
    const bool* mask,
    const $seed* seed,
    const $step* step,
    $element* out)
{
    constexpr int ROWS = $rows, COLUMNS = $columns, PART = $part, STRIDE = $stride;
    constexpr int BUFFERS = $buffers, THREADS = $threads, VECTOR = $vector;
    constexpr int WIDTH = $padded, VALUES = $value_padded;
    constexpr int MARKED = $marked ? ($by_key ? 1 : ROWS) : 0, LINE = COLUMNS + 8;
    __shared__ Pack<$element, 8> query_memory[ROWS * STRIDE / 8];
    __shared__ Pack<$element, 8> delta_memory[ROWS * STRIDE / 8];
    __shared__ Pack<$element, 8> key_memory[BUFFERS][COLUMNS * STRIDE / 8];
    __shared__ Pack<$element, 8> value_memory[BUFFERS][COLUMNS * STRIDE / 8];
    __shared__ Pack<unsigned char, 8> marks_memory[BUFFERS][MARKED * LINE / 8 + 1];
    const int query_count = int(queries), key_count = int(keys);
    const int lane = lane_of(), warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    // the last queries have the most keys where later ones are hidden, so they are begun first
    const Tile its = tile_of(tiles, inner, ROWS, $causal);
    const Matrix<$element> q = its.matrix(
        query, query_outer, query_inner, query_row, query_count, $width).below(its.first);
    const Matrix<$element> d = its.matrix(
        delta, delta_outer, delta_inner, delta_row, query_count, $value_width).below(its.first);
    const Matrix<$element> o = its.matrix(
        values, values_outer, values_inner, values_row, query_count, $value_width).below(its.first);
    const Matrix<$element> k = its.matrix(key, key_outer, key_inner, key_row, key_count, $width);
    const Matrix<$element> v = its.matrix(
        value, value_outer, value_inner, value_row, key_count, $value_width);
    mask += its.outer * mask_outer + its.inner * mask_inner + its.first * mask_row;
    const int end = $causal ? minimum(key_count, its.first + ROWS) : key_count;
    $element* own = query_memory[0].at + warp * 16 * STRIDE;
    Left<$element, WIDTH, STRIDE, false> left;
    Left<$element, VALUES, STRIDE, false> sending;
    left.rows = own;
    sending.rows = delta_memory[0].at + warp * 16 * STRIDE;
    const int at = its.first + warp * 16 + g;  // and 8 rows further
    if (end > 0) {
        fetch<ROWS, WIDTH, STRIDE, VECTOR, THREADS>(query_memory[0].at, q);
        fetch<ROWS, VALUES, STRIDE, VECTOR, THREADS>(delta_memory[0].at, d);
        fetch<COLUMNS, WIDTH, STRIDE, VECTOR, THREADS>(key_memory[0][0].at, k);
        fetch<COLUMNS, VALUES, STRIDE, VECTOR, THREADS>(value_memory[0][0].at, v);
    }
    // two lanes add up a row
    const int added_up = its.first + warp * 16 + lane / 2;
    float sum = half_of_row<VECTOR>(o, d, warp * 16 + lane / 2, lane % 2);
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    if (lane % 2 == 0 && added_up < query_count) rows[its.head * queries + added_up] = sum;
    float total[2], row[2], sums[WIDTH / 8][4];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        row[r] = __shfl_sync(0xffffffffu, sum, 2 * g + 16 * r);
        total[r] = at + 8 * r < query_count
            ? statistics[its.head * queries + at + 8 * r] * INVERSE_LOG_OF_TWO : infinity(0.0f);
    }
#pragma unroll
    for (int n = 0; n < WIDTH / 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[n][i] = 0.0f;
    int buffer = 0;
    for (int start = 0; start < end; start += COLUMNS) {
        unsigned char* marks = marks_memory[buffer][0].at;
        if ($marked)
            mark<MARKED, COLUMNS, THREADS, $masked, $dropped>(
                marks, mask + start * mask_key, mask_row, mask_key, query_count - its.first,
                key_count - start, (its.head * queries + its.first) * keys + start, keys,
                Random{$dropped ? *seed : 0, $dropped ? *step : 0, stream, $threshold});
        wait_for_copies();
        __syncthreads();  // all is there; what is fetched next is read by nobody any more
        const int next = start + COLUMNS;
        if (BUFFERS == 2 && next < end) {
            fetch<COLUMNS, WIDTH, STRIDE, VECTOR, THREADS>(
                key_memory[buffer ^ 1][0].at, k.below(next));
            fetch<COLUMNS, VALUES, STRIDE, VECTOR, THREADS>(
                value_memory[buffer ^ 1][0].at, v.below(next));
        }
        // of the columns of this tile, so many are keys and belong to no later query than `at`
        const int there = minimum(key_count - start, COLUMNS);
        const int earlier = $causal ? minimum(at - start, COLUMNS) : COLUMNS;
        const bool edge = there < COLUMNS || ($causal && next > its.first + warp * 16 + 1);
        const int last = $causal ? minimum(its.first + warp * 16 + 16 - start, COLUMNS) : COLUMNS;
#pragma unroll 1
        for (int part = 0; part < last; part += PART) {
            const $element* keys_here = key_memory[buffer][0].at + part * STRIDE;
            float scores[PART / 8][4], sent[PART / 8][4];
            multiply_rows<PART>(scores, left, keys_here);
            multiply_rows<PART>(sent, sending, value_memory[buffer][0].at + part * STRIDE);
            const unsigned char* mine =
                marks + ($by_key ? 0 : (warp * 16 + g) * LINE) + part + 2 * t;
#pragma unroll
            for (int n = 0; n < PART / 8; ++n)
#pragma unroll
                for (int r = 0; r < 2; ++r) {
                    Pack<unsigned char, 2> marked;
                    if ($marked) marked = load<2>(mine + ($by_key ? 0 : 8 * r * LINE) + 8 * n);
#pragma unroll
                    for (int i = 0; i < 2; ++i) {
                        const int column = part + 8 * n + 2 * t + i;
                        const bool hidden = ($masked && !(marked.at[i] & SEEN))
                            || (edge && (column >= there || ($causal && column > earlier + 8 * r)));
                        float its_sent = sent[n][2 * r + i];
                        if ($dropped) its_sent = marked.at[i] & KEPT ? its_sent * $kept : 0.0f;
                        float& score = scores[n][2 * r + i];
                        const float weight = power_of_two(score * $binary_scale - total[r]);
                        score = hidden ? 0.0f : weight * (its_sent - row[r]);
                    }
                }
            add_rows<PART, WIDTH, STRIDE>(sums, scores, keys_here);
        }
        if (BUFFERS == 1 && next < end) {
            __syncthreads();
            fetch<COLUMNS, WIDTH, STRIDE, VECTOR, THREADS>(key_memory[0][0].at, k.below(next));
            fetch<COLUMNS, VALUES, STRIDE, VECTOR, THREADS>(value_memory[0][0].at, v.below(next));
        }
        buffer ^= BUFFERS - 1;
    }
    write_tile<WIDTH, STRIDE, VECTOR>(
        own, sums, $scale, $scale,
        its.row(out, out_outer, out_inner, out_row, warp * 16),
        out_row, query_count - its.first - warp * 16, $width);
}
