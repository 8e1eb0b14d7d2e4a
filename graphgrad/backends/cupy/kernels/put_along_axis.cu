// Values added up along the middle one of three axes of zeros: a line along it is one thread's,
// which adds them in their order.
extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long count,
    const long long taken,
    const long long inner,
    const long long size,
    const $index* indices,
    const $element* values,
    $element* to,
    int* refused)
{
    const long long line = blockIdx.x * 256LL + threadIdx.x;
    if (line >= count) return;
    const long long outer = line / inner, column = line % inner;
    for (long long number = 0; number < taken; ++number) {
        const long long from = (outer * taken + number) * inner + column, place = indices[from];
        if (place < 0 || place >= size) {
            refused[0] = 1;
            return;
        }
        $element* sum = to + (outer * size + place) * inner + column;
        *sum = added(*sum, values[from]);
    }
}
