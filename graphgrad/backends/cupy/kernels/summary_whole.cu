// Mean, deviation, norm, minimum, maximum, share of zeros and elements that are not finite, of at
// most $parts parts. What does not exist without a finite element is NaN.
extern "C" __global__ void __launch_bounds__(256) kernel(
    const long long count,
    const long long parts,
    const double* of_parts,
    double* figures)
{
    __shared__ Figures of_thread[$parts];
    of_thread[threadIdx.x] = no_figures();
    if (threadIdx.x < parts) of_thread[threadIdx.x] = load_figures(of_parts + 8 * threadIdx.x);
    for (int half = $parts / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            of_thread[threadIdx.x] = both(of_thread[threadIdx.x], of_thread[threadIdx.x + half]);
    }
    if (threadIdx.x != 0) return;
    const Figures its = of_thread[0];
    const double none = infinity(0.0) - infinity(0.0);
    figures[0] = its.finite ? its.mean / its.inverse : none;
    figures[1] = its.finite ? sqrt(its.squares / its.finite) / its.inverse : none;
    figures[2] = sqrt(its.squares + its.mean * its.mean * its.finite) / its.inverse;
    figures[3] = its.finite ? its.least : none;
    figures[4] = its.finite ? its.most : none;
    figures[5] = count ? its.zeros / double(count) : 0.0;
    figures[6] = its.other;
}
