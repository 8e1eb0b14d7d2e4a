// 64 rows of 128 columns
// v0 is read, full : float32    # x
// for each row
//     for each column
//         load v0
//         v1 = exp(v0) : float32    # exp
//         buffer v1
//     sum for each column
//         v2 += back v1, in all : float32    # sum

extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long count,
    const long long chunk,
    const float* m0,
    float* q2)
{
    __shared__ long long shared[8];
    const int lane = threadIdx.x;
    const long long group = blockIdx.x;
    const long long last = minimum((group + 1) * chunk, count);
    const long long first = group * chunk + lane * 4;
    float total2 = 0.0f, lost2 = 0.0f;
    for (long long element = first; element < last; element += 1024) {
        float v2 = 0.0f;
        const Pack<float, 4> x0 = load<4>(m0 + element);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const float v1 = expf(x0.at[k]);
            v2 = added(v2, v1);
        }
        add_exactly(total2, lost2, v2);
    }
    total2 = over_group<256>(settled(total2, lost2), Plus(), shared);
    if (lane == 0) q2[group] = total2;
}
