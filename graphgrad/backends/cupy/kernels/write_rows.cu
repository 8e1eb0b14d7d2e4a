// Rows of a value replaced where it lies; a row is `width` elements, and `places` has `rows` for
// each of the examples, which have `size` rows each. `refused` is set to 1 where a place is none of
// them, and to 2 where an example names one twice: such a row is not written.
extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long count,
    const long long width,
    const long long rows,
    const long long size,
    const $element* from,
    const $index* places,
    $element* to,
    int* refused)
{
    const long long element = blockIdx.x * 256LL + threadIdx.x;
    if (element >= count * width) return;
    const long long row = element / width, column = element - row * width;
    const long long example = row / rows, place = places[row];
    if (place < 0 || place >= size) {
        refused[0] = 1;
        return;
    }
    for (long long other = example * rows; other < row; ++other)
        if (places[other] == place) {
            refused[0] = 2;
            return;
        }
    to[(example * size + place) * width + column] = from[element];
}
