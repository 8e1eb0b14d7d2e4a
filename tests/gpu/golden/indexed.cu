// 512 rows of 300 columns
// v0 is read, indexed : bool    # mask
// v1 is read, full : float32    # scores
// for each row
//     for each column
//         load v0
//         load v1
//         v2 = where(v0, v1, -inf) : float32    # where
//         buffer v2
//         v3 = max(v3, v2), along the row : float32    # softmax.max
//     v4 = max(v3, -3.4028234663852886e+38) : float32    # softmax.maximum
//     for each column
//         v5 = back v2 - v4 : float32    # softmax.subtract
//         v6 = exp(v5) : float32    # softmax.exp
//         buffer v6
//     sum for each column
//         v7 += back v6, along the row : float32    # softmax.sum
//     v8 = max(v7, 1.1754943508222875e-38) : float32    # softmax.maximum_1
//     v9 = 1 / v8 : float32    # softmax.reciprocal
//     for each column
//         v10 = back v6 * v9 : float32    # softmax
//         keep v10

extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long rows,
    const long long height,
    const bool* m0,
    const int* i0,
    const float* m1,
    float* r10)
{
    const int lane = threadIdx.x % 32;
    const long long group = blockIdx.x * 8LL + threadIdx.x / 32;
    const long long first = group * height;
    const long long last = minimum(first + height, rows);
    if (first >= rows) return;
    for (long long row = first; row < last; ++row) {
        const bool* a0 = m0 + i0[row] * 300LL;
        const float* a1 = m1 + row * 300LL;
        float* o10 = r10 + row * 300LL;
        float t2[12];
        float v3 = -infinity(0.0f);
#pragma unroll
        for (int item = 0; item < 3; ++item) {
            const int column = (item * 32 + lane) * 4;
            if (column < 300) {
                const Pack<bool, 4> x0 = load<4>(a0 + column);
                const Pack<float, 4> x1 = load<4>(a1 + column);
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    const float v2 = x0.at[k] ? x1.at[k] : -infinity(0.0f);
                    t2[item * 4 + k] = v2;
                    v3 = maximum(v3, v2);
                }
            }
        }
        v3 = over_group<32>(v3, Larger(), nullptr);
        const float v4 = maximum(v3, -3.4028235e+38f);
        float t6[12];
        float v7 = 0.0f;
#pragma unroll
        for (int item = 0; item < 3; ++item) {
            const int column = (item * 32 + lane) * 4;
            if (column < 300) {
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    const float v5 = t2[item * 4 + k] - v4;
                    const float v6 = expf(v5);
                    t6[item * 4 + k] = v6;
                    v7 = added(v7, v6);
                }
            }
        }
        v7 = over_group<32>(v7, Plus(), nullptr);
        const float v8 = maximum(v7, 1.1754944e-38f);
        const float v9 = 1.0f / v8;
#pragma unroll
        for (int item = 0; item < 3; ++item) {
            const int column = (item * 32 + lane) * 4;
            if (column < 300) {
                Pack<float, 4> y10;
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    const float v10 = t6[item * 4 + k] * v9;
                    y10.at[k] = v10;
                }
                store<4>(o10 + column, y10);
            }
        }
    }
}
