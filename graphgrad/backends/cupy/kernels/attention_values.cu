// Attention for 16 R queries of one head: scores, softmax and values, 16 C keys at a time, so that
// no score is ever written to memory (Dao et al. 2022; the online softmax of Milakov and Gimelshein
// 2018). `statistics` gets the logarithm of the sum of exp of each query's scores, infinity where
// it may attend to no key.
extern "C" __global__ void __launch_bounds__(256) kernel(
$strides
    const long long stream,
    const $element* query,
    const $element* key,
    const $element* value,
    const bool* mask,
    const $seed* seed,
    const $step* step,
    $element* out,
    $number* statistics)
{
    constexpr int R = $rows, C = $columns, KEYS = 16 * C;
    __shared__ Pack<$number, 4> weights_memory[16 * R * (KEYS + 4) / 4];
    __shared__ Pack<$number, 4> staged_memory[$staged / 4];
    $number* weights = weights_memory[0].at;
    $number* staged = staged_memory[0].at;
    const int lane = threadIdx.x % 16, line = threadIdx.x / 16;
    const long long head = blockIdx.x / tiles, outer = head / inner, in = head % inner;
    // the last queries have the most keys where later ones are hidden, so they are begun first
    const long long tile = blockIdx.x % tiles;
    const long long first = ($causal ? tiles - 1 - tile : tile) * 16 * R;
    const Matrix<$element> q = Matrix<$element>{
        query + outer * query_outer + in * query_inner, query_row, queries, $width}.below(first);
    const Matrix<$element> k = {
        key + outer * key_outer + in * key_inner, key_row, keys, $width};
    const Matrix<$element> v = {
        value + outer * value_outer + in * value_inner, value_row, keys, $value_width};
    mask += outer * mask_outer + in * mask_inner;
    $number sums[R][$value_sums], largest[R], total[R];
#pragma unroll
    for (int r = 0; r < R; ++r) {
        largest[r] = lowest($number(0)), total[r] = $number(0);
#pragma unroll
        for (int n = 0; n < $value_sums; ++n) sums[r][n] = $number(0);
    }
    const long long end = $causal ? minimum(keys, first + 16 * R) : keys;
    for (long long start = 0; start < end; start += KEYS) {
        $number scores[R][C];
#pragma unroll
        for (int r = 0; r < R; ++r)
#pragma unroll
            for (int c = 0; c < C; ++c) scores[r][c] = $number(0);
        add_dots(scores, staged, q, k.below(start));
        if ($dropped)
            stage_dropout<R, C>(
                weights, (head * queries + first) * keys + start, keys, 1, *seed, *step, stream,
                $threshold, $kept);
#pragma unroll
        for (int r = 0; r < R; ++r) {
            const long long at = first + line * R + r;
            $number most = largest[r];
#pragma unroll
            for (int c = 0; c < C; ++c) {
                const long long its = start + lane + 16 * c;
                const bool hidden = at >= queries || its >= keys || ($causal && its > at)
                    || ($masked && !mask[at * mask_row + its * mask_key]);
                scores[r][c] = hidden ? -infinity($number(0)) : scores[r][c] * $scale;
                most = maximum(most, scores[r][c]);
            }
            most = over_group<16>(most, Larger(), nullptr);
            const $number factor = exponential(largest[r] - most);
            $number more = $number(0);
#pragma unroll
            for (int c = 0; c < C; ++c) {
                $number& place = weights[(line * R + r) * (KEYS + 4) + lane + 16 * c];
                const $number weight = exponential(scores[r][c] - most);
                more += weight;
                place = $dropped ? place * weight : weight;
            }
            total[r] = total[r] * factor + over_group<16>(more, Plus(), nullptr);
            largest[r] = most;
#pragma unroll
            for (int n = 0; n < $value_sums; ++n) sums[r][n] *= factor;
        }
        if ($values) add_weighted<KEYS, $value_vector>(sums, weights, staged, v.below(start));
    }
    $number factors[R];
#pragma unroll
    for (int r = 0; r < R; ++r) {
        factors[r] = $number(1) / maximum(total[r], smallest(total[r]));
        const long long at = first + line * R + r;
        if (lane == 0 && at < queries)
            statistics[head * queries + at] = total[r] == $number(0)
                ? infinity(total[r]) : largest[r] + logarithm(total[r]);
    }
    if ($values)
        write_rows<$value_vector>(
            sums, factors, out + outer * out_outer + in * out_inner + first * out_row, out_row,
            queries - first, $value_width);
}
