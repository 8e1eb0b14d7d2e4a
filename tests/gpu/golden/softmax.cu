// 64 rows of 128 columns
// v1 is read, full : float32    # x
// for each row
//     for each column
//         load v1
//         v0 = max(v0, v1), along the row : float32    # softmax.max
//     v2 = max(v0, -3.4028234663852886e+38) : float32    # softmax.maximum
//     for each column
//         load v1
//         v3 = v1 - v2 : float32    # softmax.subtract
//         v4 = exp(v3) : float32    # softmax.exp
//         buffer v4
//     sum for each column
//         v5 += back v4, along the row : float32    # softmax.sum
//     v6 = max(v5, 1.1754943508222875e-38) : float32    # softmax.maximum_1
//     v7 = 1 / v6 : float32    # softmax.reciprocal
//     for each column
//         v8 = back v4 * v7 : float32    # softmax
//         keep v8

extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long rows,
    const long long height,
    const float* m1,
    float* r8)
{
    const int lane = threadIdx.x % 32;
    const long long group = blockIdx.x * 8LL + threadIdx.x / 32;
    const long long first = group * height;
    const long long last = minimum(first + height, rows);
    if (first >= rows) return;
    for (long long row = first; row < last; ++row) {
        const float* a1 = m1 + row * 128LL;
        float* o8 = r8 + row * 128LL;
        Pack<float, 4> x1[1];
        float v0 = -infinity(0.0f);
#pragma unroll
        for (int item = 0; item < 1; ++item) {
            const int column = (item * 32 + lane) * 4;
            x1[item] = load<4>(a1 + column);
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                v0 = maximum(v0, x1[item].at[k]);
            }
        }
        v0 = over_group<32>(v0, Larger(), nullptr);
        const float v2 = maximum(v0, -3.4028235e+38f);
        float t4[4];
        float v5 = 0.0f;
#pragma unroll
        for (int item = 0; item < 1; ++item) {
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const float v3 = x1[item].at[k] - v2;
                const float v4 = expf(v3);
                t4[item * 4 + k] = v4;
                v5 = added(v5, v4);
            }
        }
        v5 = over_group<32>(v5, Plus(), nullptr);
        const float v6 = maximum(v5, 1.1754944e-38f);
        const float v7 = 1.0f / v6;
#pragma unroll
        for (int item = 0; item < 1; ++item) {
            const int column = (item * 32 + lane) * 4;
            Pack<float, 4> y8;
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const float v8 = t4[item * 4 + k] * v7;
                y8.at[k] = v8;
            }
            store<4>(o8 + column, y8);
        }
    }
}
