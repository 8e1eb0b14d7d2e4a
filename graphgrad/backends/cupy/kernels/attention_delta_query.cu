// What the delta of attention sends to 16 R queries of one head: weights are computed again from
// the statistics, 16 C keys at a time (Dao 2023, algorithm 2).
extern "C" __global__ void __launch_bounds__(256) kernel(
$strides
    const long long stream,
    const $element* query,
    const $element* key,
    const $element* value,
    const $element* delta,
    const $number* statistics,
    const $number* rows,
    const bool* mask,
    const $seed* seed,
    const $step* step,
    $element* out)
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
    const Matrix<$element> d = Matrix<$element>{
        delta + outer * delta_outer + in * delta_inner, delta_row, queries,
        $value_width}.below(first);
    const Matrix<$element> k = {
        key + outer * key_outer + in * key_inner, key_row, keys, $width};
    const Matrix<$element> v = {
        value + outer * value_outer + in * value_inner, value_row, keys, $value_width};
    mask += outer * mask_outer + in * mask_inner;
    $number sums[R][$sums], total[R], row[R], ones[R];
#pragma unroll
    for (int r = 0; r < R; ++r) {
        const long long at = first + line * R + r;
        total[r] = at < queries ? statistics[head * queries + at] : infinity($number(0));
        row[r] = at < queries ? rows[head * queries + at] : $number(0);
        ones[r] = $number(1);
#pragma unroll
        for (int n = 0; n < $sums; ++n) sums[r][n] = $number(0);
    }
    const long long end = $causal ? minimum(keys, first + 16 * R) : keys;
    for (long long start = 0; start < end; start += KEYS) {
        $number scores[R][C], sent[R][C];
#pragma unroll
        for (int r = 0; r < R; ++r)
#pragma unroll
            for (int c = 0; c < C; ++c) scores[r][c] = sent[r][c] = $number(0);
        add_dots(scores, staged, q, k.below(start));
        add_dots(sent, staged, d, v.below(start));
        if ($dropped)
            stage_dropout<R, C>(
                weights, (head * queries + first) * keys + start, keys, 1, *seed, *step, stream,
                $threshold, $kept);
#pragma unroll
        for (int r = 0; r < R; ++r)
#pragma unroll
            for (int c = 0; c < C; ++c) {
                const long long at = first + line * R + r, its = start + lane + 16 * c;
                const bool hidden = at >= queries || its >= keys || ($causal && its > at)
                    || ($masked && !mask[at * mask_row + its * mask_key]);
                const $number weight = exponential(scores[r][c] * $scale - total[r]);
                $number& place = weights[(line * R + r) * (KEYS + 4) + lane + 16 * c];
                if ($dropped) sent[r][c] *= place;
                place = hidden ? $number(0) : weight * (sent[r][c] - row[r]) * $scale;
            }
        add_weighted<KEYS, $vector>(sums, weights, staged, k.below(start));
    }
    write_rows<$vector>(
        sums, ones, out + outer * out_outer + in * out_inner + first * out_row, out_row,
        queries - first, $width);
}
