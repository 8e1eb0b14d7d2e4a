// 64 rows of 128 columns
// v0 is read, full : float32    # x
// v1 is read, vector : float32    # row
// for each row
//     for each column
//         load v0
//         load v1
//         v2 = v0 * v1 : float32    # multiply
//         buffer v2
//     sum for each column
//         v3 += back v2, along the row : float32    # standardise.sum
//     v4 = v3 * 0.0078125 : float32    # standardise.divide
//     for each column
//         v5 = back v2 - v4 : float32    # standardise.subtract
//         buffer v5
//         v6 = v5 * v5 : float32    # standardise.multiply
//         buffer v6
//     sum for each column
//         v7 += back v5, along the row : float32    # standardise.sum_1
//         v8 += back v6, along the row : float32    # standardise.sum_2
//     v9 = v7 * 0.0078125 : float32    # standardise.divide_1
//     v10 = v8 * 0.0078125 : float32    # standardise.divide_2
//     v11 = v9 * v9 : float32    # standardise.multiply_1
//     v12 = v10 - v11 : float32    # standardise.subtract_2
//     v13 = max(v12, 0.0) : float32    # standardise.rule.variance
//     v14 = v13 + 9.999999747378752e-06 : float32    # standardise.rule.add
//     v15 = rsqrt(v14) : float32    # standardise.rule.rsqrt
//     for each column
//         v16 = back v5 - v9 : float32    # standardise.subtract_1
//         v17 = v16 * v15 : float32    # standardise
//         buffer v17
//         v18 = v17 * v17 : float32    # power.rule.power
//         v19 = 3.0 * v18 : float32    # standardise.delta
//         buffer v19
//         v20 = v19 * v17 : float32    # standardise.rule.multiply
//         buffer v20
//     sum for each column
//         v21 += back v19, along the row : float32    # standardise.rule.mean.sum
//         v22 += back v20, along the row : float32    # standardise.rule.mean_1.sum
//     v23 = v21 * 0.0078125 : float32    # standardise.rule.mean
//     v24 = v22 * 0.0078125 : float32    # standardise.rule.mean_1
//     for each column
//         load v0
//         v25 = back v19 - v23 : float32    # standardise.rule.subtract
//         v26 = back v17 * v24 : float32    # standardise.rule.multiply_1
//         v27 = v25 - v26 : float32    # standardise.rule.subtract_1
//         v28 = v27 * v15 : float32    # multiply.delta
//         v29 = v28 * v0 : float32    # multiply.rule.multiply
//         v30 += v29, over the rows : float32    # row.delta

extern "C" __global__ void __launch_bounds__(256, 2) kernel(
    const long long rows,
    const long long height,
    const float* m0,
    const float* m1,
    float* q30)
{
    const int lane = threadIdx.x % 32;
    const long long group = blockIdx.x * 8LL + threadIdx.x / 32;
    const long long first = group * height;
    const long long last = minimum(first + height, rows);
    const float* a1 = m1;
    float p30[4] = {};
    for (long long row = first; row < last; ++row) {
        const float* a0 = m0 + row * 128LL;
        Pack<float, 4> x0[1];
        float t2[4];
        float v3 = 0.0f;
#pragma unroll
        for (int item = 0; item < 1; ++item) {
            const int column = (item * 32 + lane) * 4;
            x0[item] = load<4>(a0 + column);
            const Pack<float, 4> x1 = load<4>(a1 + column);
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const float v2 = x0[item].at[k] * x1.at[k];
                t2[item * 4 + k] = v2;
                v3 = added(v3, v2);
            }
        }
        v3 = over_group<32>(v3, Plus(), nullptr);
        const float v4 = v3 * 0.0078125f;
        float t5[4];
        float v7 = 0.0f;
        float v8 = 0.0f;
#pragma unroll
        for (int item = 0; item < 1; ++item) {
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const float v5 = t2[item * 4 + k] - v4;
                t5[item * 4 + k] = v5;
                const float v6 = v5 * v5;
                v7 = added(v7, v5);
                v8 = added(v8, v6);
            }
        }
        v7 = over_group<32>(v7, Plus(), nullptr);
        v8 = over_group<32>(v8, Plus(), nullptr);
        const float v9 = v7 * 0.0078125f;
        const float v10 = v8 * 0.0078125f;
        const float v11 = v9 * v9;
        const float v12 = v10 - v11;
        const float v13 = maximum(v12, 0.0f);
        const float v14 = v13 + 1e-05f;
        const float v15 = reciprocal_root(v14);
        float t17[4];
        float t19[4];
        float v21 = 0.0f;
        float v22 = 0.0f;
#pragma unroll
        for (int item = 0; item < 1; ++item) {
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const float v16 = t5[item * 4 + k] - v9;
                const float v17 = v16 * v15;
                t17[item * 4 + k] = v17;
                const float v18 = v17 * v17;
                const float v19 = 3.0f * v18;
                t19[item * 4 + k] = v19;
                const float v20 = v19 * v17;
                v21 = added(v21, v19);
                v22 = added(v22, v20);
            }
        }
        v21 = over_group<32>(v21, Plus(), nullptr);
        v22 = over_group<32>(v22, Plus(), nullptr);
        const float v23 = v21 * 0.0078125f;
        const float v24 = v22 * 0.0078125f;
#pragma unroll
        for (int item = 0; item < 1; ++item) {
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const float v25 = t19[item * 4 + k] - v23;
                const float v26 = t17[item * 4 + k] * v24;
                const float v27 = v25 - v26;
                const float v28 = v27 * v15;
                const float v29 = v28 * x0[item].at[k];
                p30[item * 4 + k] = added(p30[item * 4 + k], v29);
            }
        }
    }
    __shared__ float those30[8][128];
#pragma unroll
    for (int item = 0; item < 1; ++item) {
#pragma unroll
        for (int k = 0; k < 4; ++k)
            those30[threadIdx.x / 32][lane * 4 + k] = p30[item * 4 + k];
        __syncthreads();
        for (int its = threadIdx.x; its < 128; its += 256) {
            float sum = those30[0][its];
            for (int each = 1; each < 8; ++each)
                sum = added(sum, those30[each][its]);
            const int column = item * 128 + its;
            if (column < 128)
                q30[blockIdx.x * 128LL + column] = sum;
        }
        __syncthreads();
    }
}
