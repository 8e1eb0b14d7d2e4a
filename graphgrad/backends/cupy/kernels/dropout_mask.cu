// A dropout mask, four elements a thread.
extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long count,
    const long long stream,
    const $seed* seed,
    const $step* step,
    $element* to)
{
    const long long element = (blockIdx.x * 256LL + threadIdx.x) * 4;
    if (element >= count) return;
    const Pack<$element, 4> mask =
        dropout_mask<4>(element, seed[0], step[0], stream, $threshold, $scale);
    for (int k = 0; k < 4; ++k)
        if (element + k < count) to[element + k] = mask.at[k];
}
