// 128 rows of 127 columns
// v0 is read, full : float32    # moment
// v2 is read, full : float32    # slope
// v6 is read, full : float32    # weight
// for each row
//     for each column
//         load v0
//         load v2
//         load v6
//         v1 = 0.8999999761581421 * v0 : float32    # multiply
//         v3 = 0.10000000149011612 * v2 : float32    # multiply_1
//         v4 = v1 + v3 : float32    # mean
//         keep v4
//         v5 = 0.009999999776482582 * v4 : float32    # multiply_2
//         v7 = v6 - v5 : float32    # subtract
//         keep v7

extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long count,
    float* m0,
    const float* m2,
    float* m6)
{
    const long long element = (blockIdx.x * 256LL + threadIdx.x) * 4;
    if (element >= count) return;
    const Pack<float, 4> x0 = load<4>(m0 + element);
    const Pack<float, 4> x2 = load<4>(m2 + element);
    const Pack<float, 4> x6 = load<4>(m6 + element);
    Pack<float, 4> y4;
    Pack<float, 4> y7;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        const float v1 = 0.9f * x0.at[k];
        const float v3 = 0.1f * x2.at[k];
        const float v4 = v1 + v3;
        y4.at[k] = v4;
        const float v5 = 0.01f * v4;
        const float v7 = x6.at[k] - v5;
        y7.at[k] = v7;
    }
    store<4>(m0 + element, y4);
    store<4>(m6 + element, y7);
}
