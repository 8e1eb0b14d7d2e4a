// What the delta of attention sends to the keys of a tile of one head and to their values, on
// tensor cores: what attention_delta_keys.cu does. Rows are keys here and columns queries, so that
// weights are the left matrix of both products without being turned.
extern "C" __global__ void __launch_bounds__($threads, $blocks) kernel(
$strides
    const long long stream,
    const $element* query,
    const $element* key,
    const $element* value,
    const $element* delta,
    const float* statistics,
    const float* rows,
    const bool* mask,
    const $seed* seed,
    const $step* step,
    $element* to_key,
    $element* to_value)
{
    constexpr int ROWS = $rows, COLUMNS = $columns, PART = $part, STRIDE = $stride;
    constexpr int BUFFERS = $buffers, THREADS = $threads, VECTOR = $vector;
    constexpr int WIDTH = $padded, VALUES = $value_padded;
    constexpr int MARKED = $marked ? ($by_key ? 1 : COLUMNS) : 0, LINE = ROWS + 8;
    __shared__ Pack<$element, 8> key_memory[ROWS * STRIDE / 8];
    __shared__ Pack<$element, 8> value_memory[ROWS * STRIDE / 8];
    __shared__ Pack<$element, 8> query_memory[BUFFERS][COLUMNS * STRIDE / 8];
    __shared__ Pack<$element, 8> delta_memory[BUFFERS][COLUMNS * STRIDE / 8];
    __shared__ Pack<unsigned char, 8> marks_memory[BUFFERS][MARKED * LINE / 8 + 1];
    __shared__ Pack<float, 2> figures_memory[BUFFERS][COLUMNS];
    const int query_count = int(queries), key_count = int(keys);
    const int lane = lane_of(), warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    const Tile its = tile_of(tiles, inner, ROWS, false);
    const Matrix<$element> q = its.matrix(
        query, query_outer, query_inner, query_row, query_count, $width);
    const Matrix<$element> d = its.matrix(
        delta, delta_outer, delta_inner, delta_row, query_count, $value_width);
    const Matrix<$element> k = its.matrix(
        key, key_outer, key_inner, key_row, key_count, $width).below(its.first);
    const Matrix<$element> v = its.matrix(
        value, value_outer, value_inner, value_row, key_count, $value_width).below(its.first);
    mask += its.outer * mask_outer + its.inner * mask_inner + its.first * mask_key;
    $element* own_key = key_memory[0].at + warp * 16 * STRIDE;
    $element* own_value = value_memory[0].at + warp * 16 * STRIDE;
    Left<$element, WIDTH, STRIDE, false> left;
    Left<$element, VALUES, STRIDE, false> sending;
    left.rows = own_key;
    sending.rows = own_value;
    const int at = its.first + warp * 16 + g;  // and 8 rows further
    float key_sums[WIDTH / 8][4], value_sums[VALUES / 8][4];
#pragma unroll
    for (int n = 0; n < WIDTH / 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) key_sums[n][i] = 0.0f;
#pragma unroll
    for (int n = 0; n < VALUES / 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) value_sums[n][i] = 0.0f;
    const int begin = $causal ? its.first / COLUMNS * COLUMNS : 0;
    if (begin < query_count) {
        fetch<ROWS, WIDTH, STRIDE, VECTOR, THREADS>(key_memory[0].at, k);
        if ($key) fetch<ROWS, VALUES, STRIDE, VECTOR, THREADS>(value_memory[0].at, v);
        fetch<COLUMNS, WIDTH, STRIDE, VECTOR, THREADS>(query_memory[0][0].at, q.below(begin));
        fetch<COLUMNS, VALUES, STRIDE, VECTOR, THREADS>(delta_memory[0][0].at, d.below(begin));
    }
    int buffer = 0;
    for (int start = begin; start < query_count; start += COLUMNS) {
        unsigned char* marks = marks_memory[buffer][0].at;
        if ($marked)
            mark<MARKED, ROWS, THREADS, $masked, $dropped>(
                marks, mask + start * mask_row, mask_row, mask_key, query_count - start,
                key_count - its.first, (its.head * queries + start) * keys + its.first, keys,
                Random{$dropped ? *seed : 0, $dropped ? *step : 0, stream, $threshold});
        for (int n = threadIdx.x; n < COLUMNS; n += THREADS) {
            const bool there = start + n < query_count;
            const long long number = its.head * queries + start + n;
            figures_memory[buffer][n].at[0] =
                there ? statistics[number] * INVERSE_LOG_OF_TWO : infinity(0.0f);
            figures_memory[buffer][n].at[1] = there && $key ? rows[number] : 0.0f;
        }
        wait_for_copies();
        __syncthreads();  // all is there; what is fetched next is read by nobody any more
        const int next = start + COLUMNS;
        if (BUFFERS == 2 && next < query_count) {
            fetch<COLUMNS, WIDTH, STRIDE, VECTOR, THREADS>(
                query_memory[buffer ^ 1][0].at, q.below(next));
            fetch<COLUMNS, VALUES, STRIDE, VECTOR, THREADS>(
                delta_memory[buffer ^ 1][0].at, d.below(next));
        }
        // of the columns of this tile, so many are queries, and those before `at` are too early
        const int there = minimum(query_count - start, COLUMNS);
        const int earlier = $causal ? maximum(at - start, -16) : -16;
        const bool edge = there < COLUMNS || ($causal && start < its.first + warp * 16 + 15);
        const int skipped = $causal ? maximum(its.first + warp * 16 - start, 0) : 0;
#pragma unroll 1
        for (int part = skipped / PART * PART; part < COLUMNS; part += PART) {
            const $element* queries_here = query_memory[buffer][0].at + part * STRIDE;
            const $element* deltas_here = delta_memory[buffer][0].at + part * STRIDE;
            float weights[PART / 8][4], sent[PART / 8][4];
            multiply_rows<PART>(weights, left, queries_here);
            if ($key) multiply_rows<PART>(sent, sending, deltas_here);
            const unsigned char* mine = marks + warp * 16 + g;
#pragma unroll
            for (int n = 0; n < PART / 8; ++n)
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    const int column = part + 8 * n + 2 * t + i;
                    const Pack<float, 2> figures = figures_memory[buffer][column];
#pragma unroll
                    for (int r = 0; r < 2; ++r) {
                        unsigned marked = SEEN | KEPT;
                        if ($marked) marked = mine[($by_key ? 0 : column * LINE) + 8 * r];
                        const bool hidden = !(marked & SEEN)
                            || (edge && (column >= there || ($causal && earlier + 8 * r > column)));
                        float& weight = weights[n][2 * r + i];
                        float& its_sent = sent[n][2 * r + i];
                        weight = power_of_two(
                            (hidden ? -infinity(0.0f) : weight * $binary_scale) - figures.at[0]);
                        if ($key) {
                            const float kept = marked & KEPT ? its_sent * $kept : 0.0f;
                            its_sent = hidden ? 0.0f : weight * (kept - figures.at[1]);
                        }
                        if (!(marked & KEPT)) weight = 0.0f;
                    }
                }
            if ($value) add_rows<PART, VALUES, STRIDE>(value_sums, weights, deltas_here);
            if ($key) add_rows<PART, WIDTH, STRIDE>(key_sums, sent, queries_here);
        }
        if (BUFFERS == 1 && next < query_count) {
            __syncthreads();
            fetch<COLUMNS, WIDTH, STRIDE, VECTOR, THREADS>(
                query_memory[0][0].at, q.below(next));
            fetch<COLUMNS, VALUES, STRIDE, VECTOR, THREADS>(
                delta_memory[0][0].at, d.below(next));
        }
        buffer ^= BUFFERS - 1;
    }
    const int left_over = key_count - its.first - warp * 16;
    if ($value)
        write_tile<VALUES, STRIDE, VECTOR>(
            own_value, value_sums, $kept, $kept,
            its.row(to_value, to_value_outer, to_value_inner, to_value_row, warp * 16),
            to_value_row, left_over, $value_width);
    if ($key)
        write_tile<WIDTH, STRIDE, VECTOR>(
            own_key, key_sums, $scale, $scale,
            its.row(to_key, to_key_outer, to_key_inner, to_key_row, warp * 16),
            to_key_row, left_over, $width);
}
