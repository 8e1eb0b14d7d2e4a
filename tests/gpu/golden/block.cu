// 8 rows of 5000 columns
// v1 is read, full : float64    # wide
// for each row
//     for each column
//         load v1
//         v0 = max(v0, v1), along the row : float64    # max
//     keep v0

extern "C" __global__ void __launch_bounds__(128) kernel(
    const long long rows,
    const long long height,
    const double* m1,
    double* r0)
{
    const int lane = threadIdx.x % 128;
    __shared__ long long shared[4];
    const long long group = blockIdx.x;
    const long long first = group * height;
    const long long last = minimum(first + height, rows);
    if (first >= rows) return;
    for (long long row = first; row < last; ++row) {
        const double* a1 = m1 + row * 5000LL;
        double v0 = -infinity(0.0);
#pragma unroll
        for (int item = 0; item < 10; ++item) {
            const int column = (item * 128 + lane) * 4;
            if (column < 5000) {
                const Pack<double, 4> x1 = load<4>(a1 + column);
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    v0 = maximum(v0, x1.at[k]);
                }
            }
        }
        v0 = over_group<128>(v0, Larger(), shared);
        if (lane == 0) r0[row] = v0;
    }
}
