// Elements along the middle one of three axes, chosen by indices.
extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long count,
    const long long taken,
    const long long inner,
    const long long size,
    const $element* from,
    const $index* indices,
    $element* to,
    int* refused)
{
    const long long element = blockIdx.x * 256LL + threadIdx.x;
    if (element >= count) return;
    const long long outer = element / (taken * inner), place = indices[element];
    if (place < 0 || place >= size) {
        refused[0] = 1;
        return;
    }
    to[element] = from[(outer * size + place) * inner + element % inner];
}
