// The sum of delta times value over the features of each query, which the deltas of its scores are
// measured from: 32 threads a query.
extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long count,
    const long long queries,
    const long long inner,
    const long long values_outer,
    const long long values_inner,
    const long long values_row,
    const long long delta_outer,
    const long long delta_inner,
    const long long delta_row,
    const $element* values,
    const $element* delta,
    $number* to)
{
    const int lane = threadIdx.x % 32;
    const long long number = blockIdx.x * 8LL + threadIdx.x / 32;
    if (number >= count) return;
    const long long head = number / queries, at = number % queries;
    const long long outer = head / inner, in = head % inner;
    values += outer * values_outer + in * values_inner + at * values_row;
    delta += outer * delta_outer + in * delta_inner + at * delta_row;
    $number sum = $number(0);
    for (int column = lane; column < $value_width; column += 32)
        sum = fused(
            widened<$number>(values[column]), widened<$number>(delta[column]), sum);
    sum = over_group<32>(sum, Plus(), nullptr);
    if (lane == 0) to[number] = sum;
}
