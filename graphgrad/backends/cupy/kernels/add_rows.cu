// Rows added up at the places of a table of zeros. The positions come sorted by index, so the rows
// of a place lie together and are added in the order of their positions, by one thread a column.
extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long count,
    const long long width,
    const long long size,
    const $index* indices,
    const int* order,
    const $element* rows,
    $element* table,
    int* refused)
{
    const long long element = blockIdx.x * 256LL + threadIdx.x;
    if (element >= count * width) return;
    const long long first = element / width, column = element - first * width;
    const long long place = indices[order[first]];
    if (place < 0 || place >= size) {
        refused[0] = 1;
        return;
    }
    if (first > 0 && indices[order[first - 1]] == place) return;
    $element sum = 0;
    for (long long number = first; number < count && indices[order[number]] == place; ++number)
        sum = added(sum, rows[order[number] * width + column]);
    table[place * width + column] = sum;
}
