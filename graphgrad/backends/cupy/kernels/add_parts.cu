// Adds up the parts of a collected sum: 32 runs of parts, each in order, then the 32 sums.
extern "C" __global__ void __launch_bounds__(1024) kernel(
    const long long parts,
    const long long columns,
    const $element* of_parts,
    $element* sums)
{
    __shared__ $element of_runs[32][32];
    const int lane = threadIdx.x % 32, run = threadIdx.x / 32;
    const long long column = blockIdx.x * 32LL + lane, length = (parts + 31) / 32;
    const long long last = minimum((run + 1) * length, parts);
    $element total = 0, lost = 0;
    long long part = run * length;
    if (column < columns) {
        for (; part + 8 <= last; part += 8) {  // 8 on their way at once
            $element next[8];
#pragma unroll
            for (int each = 0; each < 8; ++each)
                next[each] = of_parts[(part + each) * columns + column];
#pragma unroll
            for (int each = 0; each < 8; ++each) add_exactly(total, lost, next[each]);
        }
        for (; part < last; ++part) add_exactly(total, lost, of_parts[part * columns + column]);
    }
    of_runs[run][lane] = settled(total, lost);
    __syncthreads();
    if (run != 0 || column >= columns) return;
    total = 0, lost = 0;
    for (int each = 0; each < 32; ++each) add_exactly(total, lost, of_runs[each][lane]);
    sums[column] = settled(total, lost);
}
