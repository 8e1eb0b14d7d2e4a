// Rows of a table, chosen by indices; `refused` is set where one is no row of it.
extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long count,
    const long long width,
    const long long size,
    const $element* table,
    const $index* indices,
    $element* to,
    int* refused)
{
    const long long element = blockIdx.x * 256LL + threadIdx.x;
    if (element >= count * width) return;
    const long long number = element / width, place = indices[number];
    if (place < 0 || place >= size) {
        refused[0] = 1;
        return;
    }
    to[element] = table[place * width + (element - number * width)];
}
