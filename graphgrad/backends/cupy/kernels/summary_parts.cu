// The figures of a part of a value: finite elements, their mean, the sum of the squares of their
// distances from it, minimum and maximum, zeros, and elements that are not finite.
extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long count,
    const long long length,
    const $element* value,
    double* parts)
{
    __shared__ Figures of_thread[256];
    Figures mine = no_figures();
    const long long begin = blockIdx.x * length, end = minimum(begin + length, count);
    for (long long place = begin + threadIdx.x; place < end; place += 256)
        add_number(mine, double($convert(value[place])));
    of_thread[threadIdx.x] = mine;
    for (int half = 128; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            of_thread[threadIdx.x] = both(of_thread[threadIdx.x], of_thread[threadIdx.x + half]);
    }
    if (threadIdx.x == 0) store_figures(parts + 8 * (long long)blockIdx.x, of_thread[0]);
}
