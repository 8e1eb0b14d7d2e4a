// The positions of indices, sorted in runs of 1024 by index and, where these are equal, by
// position: each finds its place by counting what comes before it. Four blocks share a run, and
// four threads a position, so that few indices do not wait for one multiprocessor.
extern "C" __global__ void __launch_bounds__(1024) kernel(
    const long long count,
    const $index* indices,
    int* order)
{
    __shared__ $index of_run[1024];
    const long long start = blockIdx.x / 4 * 1024LL;
    const int length = int(minimum(count - start, 1024LL));
    if (threadIdx.x < length) of_run[threadIdx.x] = indices[start + threadIdx.x];
    __syncthreads();
    const int own = blockIdx.x % 4 * 256 + threadIdx.x / 4;
    const bool there = own < length;
    const $index mine = of_run[there ? own : 0];
    int before = 0;
    for (int other = threadIdx.x % 4; other < length; other += 4)
        before += of_run[other] < mine || (of_run[other] == mine && other < own);
    before += __shfl_xor_sync(0xffffffff, before, 1);
    before += __shfl_xor_sync(0xffffffff, before, 2);
    if (there && threadIdx.x % 4 == 0) order[start + before] = int(start + own);
}
