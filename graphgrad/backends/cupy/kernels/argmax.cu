// Where the largest element along the middle one of three axes is: the first of equal ones, and the
// first NaN where there is one. 32 threads look through a line.
extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long count,
    const long long size,
    const long long inner,
    const $element* from,
    $index* to)
{
    const int lane = threadIdx.x % 32;
    const long long line = blockIdx.x * 8LL + threadIdx.x / 32;
    if (line >= count) return;
    const $element* its = from + line / inner * size * inner + line % inner;
    long long at = minimum((long long)lane, size - 1);
    $element best = its[at * inner];
    for (long long place = at + 32; place < size; place += 32)
        if (comes_first(its[place * inner], place, best, at))
            best = its[place * inner], at = place;
    for (int offset = 16; offset > 0; offset /= 2) {
        const $element other = of_lane(0xffffffffu, best, offset);
        const long long place = of_lane(0xffffffffu, at, offset);
        if (comes_first(other, place, best, at)) best = other, at = place;
    }
    if (lane == 0) to[line] = ($index)at;
}
