// The elements of a dropout mask from an example on, one element a thread.
extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long count,
    const long long stream,
    const long long each,
    const $seed* seed,
    const $step* step,
    const $first* first,
    $element* to)
{
    const long long place = blockIdx.x * 256LL + threadIdx.x;
    if (place >= count) return;
    const long long element = first[0] * each + place;
    const Pack<$element, 4> mask =
        dropout_mask<4>(element / 4 * 4, seed[0], step[0], stream, $threshold, $scale);
    to[place] = mask.at[element % 4];
}
