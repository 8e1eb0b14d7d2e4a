// Zeros.
extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long count,
    $element* to)
{
    const long long element = blockIdx.x * 256LL + threadIdx.x;
    if (element < count) to[element] = {};
}
