// Pairs of sorted runs become one each. A position's new place is its own in its run, and as many
// further as there are in the other run before it; of equal indices, the first run's come first.
extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long count,
    const long long run,
    const $index* indices,
    const int* order,
    int* merged)
{
    const long long number = blockIdx.x * 256LL + threadIdx.x;
    if (number >= count) return;
    const long long start = number / (2 * run) * (2 * run), middle = start + run;
    const bool first = number < middle;
    const $index mine = indices[order[number]];
    const long long begin = first ? minimum(middle, count) : start;
    const long long end = first ? minimum(middle + run, count) : middle;
    long long low = begin, high = end;
    while (low < high) {
        const long long half = (low + high) / 2;
        const $index other = indices[order[half]];
        if (other < mine || (!first && other == mine)) low = half + 1;
        else high = half;
    }
    merged[number + (low - begin) - (first ? 0 : run)] = order[number];
}
