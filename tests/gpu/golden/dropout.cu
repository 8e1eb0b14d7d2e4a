// 64 rows of 128 columns
// v0 is read, full : float32    # x
// v2 is made, a mask of rate 0.1 by seed and step : float32    # dropout_mask
// for each row
//     for each column
//         load v0
//         load v2
//         v1 = max(v0, 0) : float32    # relu
//         v3 = v1 * v2 : float32    # multiply
//         keep v3

extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long rows,
    const float* m0,
    const long long* seed2,
    const long long* step2,
    const long long stream2,
    float* r3)
{
    const long long element = (blockIdx.x * 256LL + threadIdx.x) * 4;
    if (element >= rows * 128) return;
    const long long row = element / 128;
    const int column = int(element - row * 128);
    const Pack<float, 4> x0 = load<4>(m0 + element);
    const Pack<float, 4> x2 = dropout_mask<4>(row * 128LL + column, seed2[0], step2[0], stream2, 429496729u, 1.1111112f);
    Pack<float, 4> y3;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        const float v1 = maximum(x0.at[k], 0.0f);
        const float v3 = v1 * x2.at[k];
        y3.at[k] = v3;
    }
    store<4>(r3 + element, y3);
}
