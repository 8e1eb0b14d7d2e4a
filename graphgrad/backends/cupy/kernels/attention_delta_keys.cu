// What the delta of attention sends to 16 R keys of one head and their values: weights are computed
// again from the statistics, 16 C queries at a time (Dao 2023, algorithm 2). A block writes the
// rows of its own keys and nothing else, so no sum has to wait for another block.
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
    $element* to_key,
    $element* to_value)
{
    constexpr int R = $rows, C = $columns, QUERIES = 16 * C;
    __shared__ Pack<$number, 4> weights_memory[16 * R * (QUERIES + 4) / 4];
    __shared__ Pack<$number, 4> staged_memory[$staged / 4];
    $number* weights = weights_memory[0].at;
    $number* staged = staged_memory[0].at;
    const int lane = threadIdx.x % 16, line = threadIdx.x / 16;
    const long long head = blockIdx.x / tiles, outer = head / inner, in = head % inner;
    const long long first = (blockIdx.x % tiles) * 16 * R;
    const Matrix<$element> q = {
        query + outer * query_outer + in * query_inner, query_row, queries, $width};
    const Matrix<$element> d = {
        delta + outer * delta_outer + in * delta_inner, delta_row, queries, $value_width};
    const Matrix<$element> k = Matrix<$element>{
        key + outer * key_outer + in * key_inner, key_row, keys, $width}.below(first);
    const Matrix<$element> v = Matrix<$element>{
        value + outer * value_outer + in * value_inner, value_row, keys, $value_width}.below(first);
    mask += outer * mask_outer + in * mask_inner;
    $number key_sums[R][$sums], value_sums[R][$value_sums], ones[R];
#pragma unroll
    for (int r = 0; r < R; ++r) {
        ones[r] = $number(1);
#pragma unroll
        for (int n = 0; n < $sums; ++n) key_sums[r][n] = $number(0);
#pragma unroll
        for (int n = 0; n < $value_sums; ++n) value_sums[r][n] = $number(0);
    }
    const long long begin = $causal ? first / QUERIES * QUERIES : 0;
    for (long long start = begin; start < queries; start += QUERIES) {
        $number scores[R][C], sent[R][C];
#pragma unroll
        for (int r = 0; r < R; ++r)
#pragma unroll
            for (int c = 0; c < C; ++c) scores[r][c] = sent[r][c] = $number(0);
        add_dots(scores, staged, k, q.below(start));
        if ($key) add_dots(sent, staged, v, d.below(start));
        if ($dropped)
            stage_dropout<R, C>(
                weights, (head * queries + start) * keys + first, 1, keys, *seed, *step, stream,
                $threshold, $kept);
#pragma unroll
        for (int c = 0; c < C; ++c) {
            const long long at = start + lane + 16 * c;
            const bool there = at < queries;
            const $number total =
                there ? statistics[head * queries + at] : infinity($number(0));
            const $number row = there && $key ? rows[head * queries + at] : $number(0);
#pragma unroll
            for (int r = 0; r < R; ++r) {
                const long long its = first + line * R + r;
                const bool hidden = !there || its >= keys || ($causal && its > at)
                    || ($masked && !mask[at * mask_row + its * mask_key]);
                const $number weight = exponential(
                    (hidden ? -infinity($number(0)) : scores[r][c] * $scale) - total);
                $number& place = weights[(line * R + r) * (QUERIES + 4) + lane + 16 * c];
                const $number kept = $dropped ? place : $number(1);
                place = weight * kept;
                scores[r][c] = hidden ? $number(0) : weight * (sent[r][c] * kept - row) * $scale;
            }
        }
        if ($value)
            add_weighted<QUERIES, $value_vector>(value_sums, weights, staged, d.below(start));
        if ($key) {
            __syncthreads();  // the weights have been read
#pragma unroll
            for (int r = 0; r < R; ++r)
#pragma unroll
                for (int c = 0; c < C; ++c)
                    weights[(line * R + r) * (QUERIES + 4) + lane + 16 * c] = scores[r][c];
            add_weighted<QUERIES, $vector>(key_sums, weights, staged, q.below(start));
        }
    }
    if ($value)
        write_rows<$value_vector>(
            value_sums, ones,
            to_value + outer * to_value_outer + in * to_value_inner + first * to_value_row,
            to_value_row, keys - first, $value_width);
    if ($key)
        write_rows<$vector>(
            key_sums, ones, to_key + outer * to_key_outer + in * to_key_inner + first * to_key_row,
            to_key_row, keys - first, $width);
}
