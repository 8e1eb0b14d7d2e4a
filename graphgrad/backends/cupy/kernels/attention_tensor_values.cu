// Attention for the queries of a tile of one head, on tensor cores: what attention_values.cu does,
// with weights that are rounded before they are multiplied with the values (Dao 2023, algorithm 1).
extern "C" __global__ void __launch_bounds__($threads, $blocks) kernel(
$strides
    const long long stream,
    const $element* query,
    const $element* key,
    const $element* value,
    const bool* mask,
    const $seed* seed,
    const $step* step,
    $element* out,
    float* statistics)
{
    constexpr int ROWS = $rows, COLUMNS = $columns, STRIDE = $stride, BUFFERS = $buffers;
    constexpr int WIDTH = $padded, VALUES = $value_padded, VECTOR = $vector, THREADS = $threads;
    constexpr int MARKED = $marked ? ($by_key ? 1 : ROWS) : 0, LINE = COLUMNS + 8;
    __shared__ Pack<$element, 8> query_memory[ROWS * STRIDE / 8];
    __shared__ Pack<$element, 8> key_memory[BUFFERS][COLUMNS * STRIDE / 8];
    __shared__ Pack<$element, 8> value_memory[BUFFERS][COLUMNS * STRIDE / 8];
    __shared__ Pack<unsigned char, 8> marks_memory[BUFFERS][MARKED * LINE / 8 + 1];
    const int query_count = int(queries), key_count = int(keys);
    const int lane = lane_of(), warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    // the last queries have the most keys where later ones are hidden, so they are begun first
    const Tile its = tile_of(tiles, inner, ROWS, $causal);
    const Matrix<$element> q = its.matrix(
        query, query_outer, query_inner, query_row, query_count, $width).below(its.first);
    const Matrix<$element> k = its.matrix(key, key_outer, key_inner, key_row, key_count, $width);
    const Matrix<$element> v = its.matrix(
        value, value_outer, value_inner, value_row, key_count, $value_width);
    mask += its.outer * mask_outer + its.inner * mask_inner + its.first * mask_row;
    const int end = $causal ? minimum(key_count, its.first + ROWS) : key_count;
    $element* own = query_memory[0].at + warp * 16 * STRIDE;
    Left<$element, WIDTH, STRIDE, true> left;
    left.rows = own;
    const int at = its.first + warp * 16 + g;  // and 8 rows further
    float sums[VALUES / 8][4], largest[2], total[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) largest[r] = lowest(0.0f), total[r] = 0.0f;
#pragma unroll
    for (int n = 0; n < VALUES / 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[n][i] = 0.0f;
    if (end > 0) {
        fetch<ROWS, WIDTH, STRIDE, VECTOR, THREADS>(query_memory[0].at, q);
        fetch<COLUMNS, WIDTH, STRIDE, VECTOR, THREADS>(key_memory[0][0].at, k);
        if ($values) fetch<COLUMNS, VALUES, STRIDE, VECTOR, THREADS>(value_memory[0][0].at, v);
    }
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
            if ($values)
                fetch<COLUMNS, VALUES, STRIDE, VECTOR, THREADS>(
                    value_memory[buffer ^ 1][0].at, v.below(next));
        }
        if (start == 0) left.hold();
        if (!$causal || start < its.first + warp * 16 + 16) {
            float scores[COLUMNS / 8][4], most[2], factor[2];
            multiply_rows<COLUMNS>(scores, left, key_memory[buffer][0].at);
            const unsigned char* mine = marks + ($by_key ? 0 : (warp * 16 + g) * LINE) + 2 * t;
            // of the columns of this tile, so many are keys and belong to no later query than `at`
            const int there = minimum(key_count - start, COLUMNS);
            const int earlier = $causal ? minimum(at - start, COLUMNS) : COLUMNS;
            const bool edge = there < COLUMNS || ($causal && next > its.first + warp * 16 + 1);
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                most[r] = largest[r];
#pragma unroll
                for (int n = 0; n < COLUMNS / 8; ++n) {
                    Pack<unsigned char, 2> seen;
                    if ($masked) seen = load<2>(mine + ($by_key ? 0 : 8 * r * LINE) + 8 * n);
#pragma unroll
                    for (int i = 0; i < 2; ++i) {
                        float& score = scores[n][2 * r + i];
                        const int column = 8 * n + 2 * t + i;
                        score *= $binary_scale;
                        if ($masked && !(seen.at[i] & SEEN)) score = -infinity(0.0f);
                        if (edge && (column >= there || ($causal && column > earlier + 8 * r)))
                            score = -infinity(0.0f);
                        most[r] = fmaxf(most[r], score);
                    }
                }
                most[r] = fmaxf(most[r], __shfl_xor_sync(0xffffffffu, most[r], 1));
                most[r] = fmaxf(most[r], __shfl_xor_sync(0xffffffffu, most[r], 2));
                factor[r] = power_of_two(largest[r] - most[r]);
                largest[r] = most[r];
                total[r] *= factor[r];
#pragma unroll
                for (int n = 0; n < COLUMNS / 8; ++n) {
                    Pack<unsigned char, 2> kept;
                    if ($dropped) kept = load<2>(mine + 8 * r * LINE + 8 * n);
#pragma unroll
                    for (int i = 0; i < 2; ++i) {
                        float& weight = scores[n][2 * r + i];
                        weight = power_of_two(weight - most[r]);
                        total[r] += weight;
                        if ($dropped && !(kept.at[i] & KEPT)) weight = 0.0f;
                    }
                }
            }
            if ($values) {
#pragma unroll
                for (int n = 0; n < VALUES / 8; ++n)
#pragma unroll
                    for (int i = 0; i < 4; ++i) sums[n][i] *= factor[i / 2];
                add_rows<COLUMNS, VALUES, STRIDE>(sums, scores, value_memory[buffer][0].at);
            }
        }
        if (BUFFERS == 1 && next < end) {
            __syncthreads();
            fetch<COLUMNS, WIDTH, STRIDE, VECTOR, THREADS>(key_memory[0][0].at, k.below(next));
            if ($values)
                fetch<COLUMNS, VALUES, STRIDE, VECTOR, THREADS>(
                    value_memory[0][0].at, v.below(next));
        }
        buffer ^= BUFFERS - 1;
    }
    float factors[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        total[r] += __shfl_xor_sync(0xffffffffu, total[r], 1);
        total[r] += __shfl_xor_sync(0xffffffffu, total[r], 2);
        factors[r] = $kept / maximum(total[r], smallest(0.0f));
        if (t == 0 && at + 8 * r < query_count)
            statistics[its.head * queries + at + 8 * r] = total[r] == 0.0f
                ? infinity(0.0f) : LOG_OF_TWO * largest[r] + logarithm(total[r]);
    }
    if ($values)
        write_tile<VALUES, STRIDE, VECTOR>(
            own, sums, factors[0], factors[1],
            its.row(out, out_outer, out_inner, out_row, warp * 16),
            out_row, query_count - its.first - warp * 16, $value_width);
}
