// Where the `wanted` largest elements of each row are, the largest first; of equal ones the first
// comes first, NaN last. A block looks through a row once for each of them: what comes next is the
// first of those behind the one before.
extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long size,
    const long long wanted,
    const $element* from,
    int* to)
{
    __shared__ $element of_thread[256];
    __shared__ long long place_of_thread[256];
    const $element* its = from + blockIdx.x * size;
    $element last = 0;
    long long last_at = -1;
    for (long long number = 0; number < wanted; ++number) {
        $element best = 0;
        long long at = -1;
        for (long long place = threadIdx.x; place < size; place += 256) {
            const $element value = its[place];
            if (number > 0 && !ranks_before(last, last_at, value, place)) continue;
            if (at < 0 || ranks_before(value, place, best, at)) best = value, at = place;
        }
        of_thread[threadIdx.x] = best;
        place_of_thread[threadIdx.x] = at;
        __syncthreads();
        for (int half = 128; half > 0; half /= 2) {
            if (threadIdx.x < half) {
                const $element other = of_thread[threadIdx.x + half];
                const long long place = place_of_thread[threadIdx.x + half];
                const long long own = place_of_thread[threadIdx.x];
                if (place >= 0 &&
                    (own < 0 || ranks_before(other, place, of_thread[threadIdx.x], own))) {
                    of_thread[threadIdx.x] = other;
                    place_of_thread[threadIdx.x] = place;
                }
            }
            __syncthreads();
        }
        last = of_thread[0];
        last_at = place_of_thread[0];
        if (threadIdx.x == 0) to[blockIdx.x * wanted + number] = int(last_at);
        __syncthreads();  // the first thread's numbers have been read
    }
}
