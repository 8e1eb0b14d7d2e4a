// What every kernel may call. Plain CUDA C++ that needs no other header: NVRTC compiles it as it
// is, and tests/gpu/cuda_cpu.h lets a C++ compiler make code for a processor of it.
//
// Numbers are computed as the loop language says (graphgrad/loops): floats are rounded one by one
// (compile with --fmad=false), integers wrap around, NaN comes through a maximum and a minimum.

// ---------------------------------------------------------------- several numbers at once

template <class T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
    T at[N];
};

template <int N, class T>
__device__ inline Pack<T, N> load(const T* from) {
    return *reinterpret_cast<const Pack<T, N>*>(from);
}

template <int N, class T>
__device__ inline void store(T* to, const Pack<T, N>& numbers) {
    *reinterpret_cast<Pack<T, N>*>(to) = numbers;
}

// ---------------------------------------------------------------- single numbers

// the bits of a number as another type of the same size
template <class To, class From>
__device__ inline To bits_as(From x) {
    static_assert(sizeof(To) == sizeof(From), "types of one size");
    union {
        From from;
        To to;
    } both;
    both.from = x;
    return both.to;
}

// ---------------------------------------------------------------- numbers of 16 bits

// They are loaded, cast and stored, and computed with as float. The casts round to the nearest, to
// the even one of two, as NumPy's do; graphgrad/loops/halves.py has the same for the processor.
struct bfloat16 {
    unsigned short bits;
    bfloat16() = default;
    __device__ explicit inline bfloat16(float x);
    __device__ explicit inline operator float() const;
};
struct float16 {
    unsigned short bits;
    float16() = default;
    __device__ explicit inline float16(float x);
    __device__ explicit inline operator float() const;
};

__device__ inline float as_float(bfloat16 x) { return bits_as<float>(unsigned(x.bits) << 16); }

__device__ inline bfloat16 bfloat16_of(float x) {
    const unsigned bits = bits_as<unsigned>(x), upper = bits >> 16;
    const unsigned rounded = (bits + 0x7fffu + (upper & 1u)) >> 16;
    bfloat16 found;
    found.bits = (unsigned short)(x != x ? (upper & 0x8000u) | 0x7fc0u : rounded);
    return found;
}

__device__ inline float as_float(float16 x) {
    const unsigned sign = (x.bits & 0x8000u) << 16, size = (x.bits & 0x7fffu) << 13;
    const unsigned exponent = size & 0x0f800000u, usual = size + 0x38000000u;
    if (exponent == 0x0f800000u) return bits_as<float>((usual + 0x38000000u) | sign);
    if (exponent) return bits_as<float>(usual | sign);
    // no leading 1: with one, less the weight of that one
    const float small = bits_as<float>(usual + 0x00800000u) - bits_as<float>(0x38800000u);
    return bits_as<float>(bits_as<unsigned>(small) | sign);
}

__device__ inline float16 float16_of(float x) {
    const unsigned bits = bits_as<unsigned>(x), sign = bits & 0x80000000u, size = bits ^ sign;
    unsigned found;
    if (size >= 0x47800000u)  // 65536 and more, infinity, NaN
        found = size > 0x7f800000u ? 0x7e00u : 0x7c00u;
    else if (size < 0x38800000u)  // the sum with 1/2 is rounded where the last digit lies
        found = bits_as<unsigned>(bits_as<float>(size) + 0.5f) - 0x3f000000u;
    else
        found = (size - 0x38000000u + 0x0fffu + ((size >> 13) & 1u)) >> 13;
    float16 its;
    its.bits = (unsigned short)(found | sign >> 16);
    return its;
}

__device__ inline bfloat16::bfloat16(float x) : bits(bfloat16_of(x).bits) {}
__device__ inline bfloat16::operator float() const { return as_float(*this); }
__device__ inline float16::float16(float x) : bits(float16_of(x).bits) {}
__device__ inline float16::operator float() const { return as_float(*this); }

// ---------------------------------------------------------------- arithmetic

__device__ inline float infinity(float) { return __int_as_float(0x7f800000); }
__device__ inline double infinity(double) { return __longlong_as_double(0x7ff0000000000000LL); }

__device__ inline float added(float a, float b) { return a + b; }
__device__ inline double added(double a, double b) { return a + b; }
__device__ inline int added(int a, int b) { return int(unsigned(a) + unsigned(b)); }
__device__ inline long long added(long long a, long long b) {
    return (long long)((unsigned long long)a + (unsigned long long)b);
}
__device__ inline bool added(bool a, bool b) { return a || b; }  // as NumPy adds truth values

__device__ inline int subtracted(int a, int b) { return int(unsigned(a) - unsigned(b)); }
__device__ inline long long subtracted(long long a, long long b) {
    return (long long)((unsigned long long)a - (unsigned long long)b);
}

__device__ inline int multiplied(int a, int b) { return int(unsigned(a) * unsigned(b)); }
__device__ inline long long multiplied(long long a, long long b) {
    return (long long)((unsigned long long)a * (unsigned long long)b);
}

__device__ inline int shifted_left(int a, int b) { return int(unsigned(a) << b); }
__device__ inline long long shifted_left(long long a, long long b) {
    return (long long)((unsigned long long)a << b);
}

// Python's // and %, which round down
__device__ inline long long floor_quotient(long long a, long long b) {
    const long long rest = a % b;
    return a / b - (rest != 0 && (rest ^ b) < 0);
}
__device__ inline long long floor_rest(long long a, long long b) {
    const long long rest = a % b;
    return rest != 0 && (rest ^ b) < 0 ? rest + b : rest;
}

template <class T>
__device__ inline T maximum(T a, T b) {
    return a > b || a != a ? a : b;
}
template <class T>
__device__ inline T minimum(T a, T b) {
    return a < b || a != a ? a : b;
}

__device__ inline float absolute(float x) { return fabsf(x); }
__device__ inline double absolute(double x) { return fabs(x); }
__device__ inline int absolute(int x) { return x < 0 ? subtracted(0, x) : x; }
__device__ inline long long absolute(long long x) { return x < 0 ? subtracted(0LL, x) : x; }

template <class T>
__device__ inline bool is_finite(T) {
    return true;
}
template <>
__device__ inline bool is_finite(float x) {
    return fabsf(x) < infinity(x);
}
template <>
__device__ inline bool is_finite(double x) {
    return fabs(x) < infinity(x);
}

template <class T>
__device__ inline T sign(T x) {
    return x > T(0) ? T(1) : (x < T(0) ? T(-1) : x);
}

__device__ inline float reciprocal_root(float x) { return 1.0f / sqrtf(x); }
__device__ inline double reciprocal_root(double x) { return 1.0 / sqrt(x); }

__device__ inline float softplus(float x) { return maximum(x, 0.0f) + log1pf(expf(-fabsf(x))); }
__device__ inline double softplus(double x) { return maximum(x, 0.0) + log1p(exp(-fabs(x))); }

// A float cut towards zero and held within the integer; NaN becomes 0.
template <class T>
__device__ inline int whole_int32(T x) {
    if (x != x) return 0;
    if (x >= T(2147483648.0)) return 2147483647;
    return x < T(-2147483648.0) ? -2147483647 - 1 : int(x);
}
template <class T>
__device__ inline long long whole_int64(T x) {
    if (x != x) return 0;
    if (x >= T(9223372036854775808.0)) return 9223372036854775807LL;
    return x < T(-9223372036854775808.0) ? -9223372036854775807LL - 1 : (long long)x;
}

// Whether `a`, at its place, comes before `b` as the largest: NaN is the largest, of equals the
// first.
template <class T>
__device__ inline bool comes_first(T a, long long at, T b, long long other) {
    if (a > b || (a != a && b == b)) return true;
    return (a == b || (a != a && b != b)) && at < other;
}

// Whether `a`, at its place, ranks before `b`: the larger does, of equals the first; NaN is last.
template <class T>
__device__ inline bool ranks_before(T a, long long at, T b, long long other) {
    if (a > b || (a == a && b != b)) return true;
    return (a == b || (a != a && b != b)) && at < other;
}

// ---------------------------------------------------------------- sums that keep their digits

// total + value, and in `lost` what rounding took from it (Knuth's two-sum)
template <class T>
__device__ inline void add_exactly(T& total, T& lost, T value) {
    const T sum = added(total, value);
    if (T(0.5) != T(0)) {  // integers lose nothing
        const T back = sum - total;
        lost = lost + ((total - (sum - back)) + (value - back));
    }
    total = sum;
}

// the sum; one that is not finite has lost nothing that could be put back
template <class T>
__device__ inline T settled(T total, T lost) {
    return is_finite(total) ? added(total, lost) : total;
}

// ---------------------------------------------------------------- over the threads of a row

struct Plus {
    template <class T>
    __device__ T operator()(T a, T b) const { return added(a, b); }
};
struct Larger {
    template <class T>
    __device__ T operator()(T a, T b) const { return maximum(a, b); }
};
struct Smaller {
    template <class T>
    __device__ T operator()(T a, T b) const { return minimum(a, b); }
};

template <class T>
__device__ inline T of_lane(unsigned lanes, T value, int offset) {
    return __shfl_xor_sync(lanes, value, offset);
}
template <>
__device__ inline bool of_lane(unsigned lanes, bool value, int offset) {
    return __shfl_xor_sync(lanes, int(value), offset) != 0;
}

// The lanes of this thread's group: groups of fewer than 32 threads share a warp.
template <int THREADS>
__device__ inline unsigned lanes_of_group() {
    if (THREADS >= 32) return 0xffffffffu;
    return ((1u << (THREADS % 32)) - 1u) << (threadIdx.x % 32 & ~(THREADS - 1));
}

// All values of a group combined, for every thread the same, always in the same order. A group is
// 1, 2, 4, ... threads; one of more than 32 is a block and has `shared`, 8 bytes for each warp.
template <int THREADS, class T, class Combine>
__device__ inline T over_group(T value, Combine combine, void* shared) {
    for (int offset = (THREADS < 32 ? THREADS : 32) / 2; offset > 0; offset /= 2)
        value = combine(value, of_lane(lanes_of_group<THREADS>(), value, offset));
    if (THREADS > 32) {
        T* of_warp = static_cast<T*>(shared);
        __syncthreads();  // what was combined before has been read
        if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
        __syncthreads();
        const int warps = THREADS > 32 ? THREADS / 32 : 1;
        value = of_warp[threadIdx.x % warps];
        for (int offset = warps / 2; offset > 0; offset /= 2)
            value = combine(value, of_lane(0xffffffffu, value, offset));
    }
    return value;
}

// ---------------------------------------------------------------- figures of a value

// Of some elements: how many are finite, their mean, the sum of the squares of their distances from
// it, the smallest and the largest, how many are 0, and how many are not finite. Mean and squares
// are those of the elements times `inverse`, a power of two that makes the largest one less than 2:
// so no square is too large or too small for a double, and no digit is lost.
struct Figures {
    double finite, mean, squares, least, most, zeros, other, inverse;
};

__device__ inline Figures no_figures() {
    const double most = __longlong_as_double(0x7fd0000000000000LL);  // 2 to the 1022nd
    return {0.0, 0.0, 0.0, infinity(0.0), -infinity(0.0), 0.0, 0.0, most};
}

// Has the figures in units of 1 / inverse, which is not below the units that they are in.
__device__ inline void use_units(Figures& figures, double inverse) {
    const double ratio = inverse / figures.inverse;
    figures.mean *= ratio;
    figures.squares = figures.squares * ratio * ratio;
    figures.inverse = inverse;
}

__device__ inline void add_number(Figures& figures, double x) {
    if (!is_finite(x)) {
        figures.other += 1.0;
        return;
    }
    if (fabs(x) * figures.inverse >= 2.0) {
        const long long exponent = __double_as_longlong(x) & 0x7ff0000000000000LL;
        use_units(figures, 1.0 / __longlong_as_double(exponent));
    }
    figures.finite += 1.0;
    const double scaled = x * figures.inverse, away = scaled - figures.mean;
    figures.mean += away / figures.finite;
    figures.squares += away * (scaled - figures.mean);
    figures.least = minimum(x, figures.least);
    figures.most = maximum(x, figures.most);
    if (x == 0.0) figures.zeros += 1.0;
}

// The figures of two sets of elements together (Chan, Golub and LeVeque 1979).
__device__ inline Figures both(const Figures& one, const Figures& other) {
    if (one.finite == 0.0 || other.finite == 0.0) {
        Figures found = one.finite == 0.0 ? other : one;
        found.other = one.other + other.other;
        return found;
    }
    Figures a = one, b = other;
    const double inverse = minimum(a.inverse, b.inverse);
    use_units(a, inverse);
    use_units(b, inverse);
    const double all = a.finite + b.finite, away = b.mean - a.mean;
    return {
        all,
        a.mean + away * (b.finite / all),
        a.squares + b.squares + away * away * (a.finite * (b.finite / all)),
        minimum(a.least, b.least),
        maximum(a.most, b.most),
        a.zeros + b.zeros,
        a.other + b.other,
        inverse,
    };
}

__device__ inline void store_figures(double* to, const Figures& its) {
    to[0] = its.finite, to[1] = its.mean, to[2] = its.squares, to[3] = its.least;
    to[4] = its.most, to[5] = its.zeros, to[6] = its.other, to[7] = its.inverse;
}

__device__ inline Figures load_figures(const double* from) {
    return {from[0], from[1], from[2], from[3], from[4], from[5], from[6], from[7]};
}

// ---------------------------------------------------------------- random numbers

// Philox4x32-10; graphgrad/philox.py holds the layout of counter and key.
__device__ inline Pack<unsigned, 4> philox(
    unsigned group, unsigned stream, unsigned long long step, unsigned long long seed) {
    unsigned c0 = group, c1 = stream, c2 = unsigned(step), c3 = unsigned(step >> 32);
    unsigned k0 = unsigned(seed), k1 = unsigned(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        const unsigned high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
        const unsigned high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
        c0 = high1 ^ c1 ^ k0, c1 = low1;
        c2 = high0 ^ c3 ^ k1, c3 = low0;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

// Elements `element`, `element` + 1, ... of a dropout mask; where they are four, the first is the
// first of a group.
template <int N, class T>
__device__ inline Pack<T, N> dropout_mask(
    long long element, long long seed, long long step, long long stream, unsigned threshold,
    T scale) {
    Pack<T, N> found;
    for (int first = 0; first < N; first += N % 4 ? 1 : 4) {
        const long long number = element + first;
        const Pack<unsigned, 4> words = philox(unsigned(number / 4), stream, step, seed);
        if (N % 4 == 0) {
            for (int k = 0; k < 4; ++k)
                found.at[(first + k) % N] = words.at[k] >= threshold ? scale : T(0);
        } else {
            const int which = int(number % 4);
            const unsigned low = which == 0 ? words.at[0] : words.at[1];
            const unsigned high = which == 2 ? words.at[2] : words.at[3];
            found.at[first] = (which < 2 ? low : high) >= threshold ? scale : T(0);
        }
    }
    return found;
}

// ---------------------------------------------------------------- many launches in one

// The row of a table that this block belongs to. A row is the number of its first block and the
// words of a launch, `length` together; the first block of the first row is 0.
__device__ inline const long long* words_of_block(
    const long long* table, long long launches, int length) {
    long long low = 0, high = launches;
    while (high - low > 1) {
        const long long middle = (low + high) / 2;
        if (table[middle * length] <= blockIdx.x) low = middle;
        else high = middle;
    }
    return table + low * length;
}
