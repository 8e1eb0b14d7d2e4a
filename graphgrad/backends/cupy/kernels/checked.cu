// Indices as they are; `refused` is set where one, other than `ignored`, is none below `size`.
extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long count,
    const long long size,
    const long long ignores,
    const long long ignored,
    const $index* indices,
    $index* to,
    int* refused)
{
    const long long element = blockIdx.x * 256LL + threadIdx.x;
    if (element >= count) return;
    const long long place = indices[element];
    if ((place < 0 || place >= size) && !(ignores && place == ignored)) refused[0] = 1;
    to[element] = indices[element];
}
