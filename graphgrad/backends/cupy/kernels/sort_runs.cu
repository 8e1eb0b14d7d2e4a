// The positions of indices, sorted in runs of 1024 by index and, where these are equal, by
// position: each finds its place by counting what comes before it.
extern "C" __global__ void __launch_bounds__(1024) kernel(
    const long long count,
    const $index* indices,
    int* order)
{
    __shared__ $index of_run[1024];
    const long long start = blockIdx.x * 1024LL, position = start + threadIdx.x;
    if (position < count) of_run[threadIdx.x] = indices[position];
    __syncthreads();
    if (position >= count) return;
    const $index mine = of_run[threadIdx.x];
    const int length = int(minimum(count - start, 1024LL)), own = threadIdx.x;
    int before = 0;
    for (int other = 0; other < length; ++other)
        before += of_run[other] < mine || (of_run[other] == mine && other < own);
    order[start + before] = int(position);
}
