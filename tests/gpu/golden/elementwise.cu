// 64 rows of 128 columns
// v0 is read, full : float32    # x
// v2 is read, vector : float32    # row
// for each row
//     for each column
//         load v0
//         load v2
//         v1 = v0 * 2.0 : float32    # multiply
//         v3 = v1 + v2 : float32    # add
//         v4 = tanh(v3) : float32    # tanh
//         keep v4

extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long rows,
    const float* m0,
    const float* m2,
    float* r4)
{
    const long long element = (blockIdx.x * 256LL + threadIdx.x) * 4;
    if (element >= rows * 128) return;
    const long long row = element / 128;
    const int column = int(element - row * 128);
    const float* a2 = m2;
    const Pack<float, 4> x0 = load<4>(m0 + element);
    const Pack<float, 4> x2 = load<4>(a2 + column);
    Pack<float, 4> y4;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        const float v1 = x0.at[k] * 2.0f;
        const float v3 = v1 + x2.at[k];
        const float v4 = tanhf(v3);
        y4.at[k] = v4;
    }
    store<4>(r4 + element, y4);
}
