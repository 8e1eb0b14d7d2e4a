// Sets `stopped` where a number is not finite, or an index was refused.
extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long refusals,
    const int* refused,
    const $element* number,
    int* stopped)
{
    for (long long each = threadIdx.x; each < refusals; each += 256)
        if (refused[each]) stopped[0] = 1;
    if (threadIdx.x == 0 && !(*number - *number == 0)) stopped[0] = 1;
}
