// The functions of tensor_cores.cuh on a processor: each is a meeting of the lanes of a warp, in
// which every lane sees what the others gave, as the instruction of a device does. Written from the
// layouts that NVIDIA documents, not from the kernels.
//
// Copies to shared memory are made where they are waited for and no sooner, so that a kernel that
// does not wait reads what was there before.
#pragma once

#include <vector>

struct bfloat16;
struct float16;

namespace cuda_cpu {

struct Copy {
    void* to;
    const void* from;
    int bytes;
};
static std::vector<Copy> begun[MOST];

static void forget_copies() { begun[current].clear(); }

// what lane number `lane` of this warp gave to the meeting
template <class T>
static const T& given(int lane) {
    return *reinterpret_cast<const T*>(fibers[current / 32 * 32 + lane].value);
}

static inline float number_of(const bfloat16*, unsigned bits) {
    return __int_as_float(int(bits << 16));
}
static inline float number_of(const float16*, unsigned bits) {
    const int exponent = bits >> 10 & 31, digits = bits & 1023;
    const float size = exponent == 31 ? (digits ? NAN : INFINITY)
        : exponent ? std::ldexp(float(1024 + digits), exponent - 25) : std::ldexp(float(digits), -24);
    return bits >> 15 ? -size : size;
}

// a float rounded to so many digits after the first one, to the even one of two; the last of them
// is worth no less than 2 to the power of `least`
static inline float rounded(float x, int digits, int least) {
    if (x == 0 || !std::isfinite(x)) return x;
    int exponent;
    std::frexp(x, &exponent);
    const int last = std::max(exponent - 1 - digits, least);
    return std::ldexp(std::nearbyint(std::ldexp(double(x), -last)), last);
}
static inline unsigned bits_of(const bfloat16*, float x) {
    return x != x ? 0x7fff : __float_as_uint(rounded(x, 7, -133)) >> 16;
}
static inline unsigned bits_of(const float16*, float x) {
    if (x != x) return 0x7fff;
    const unsigned sign = __float_as_uint(x) >> 16 & 0x8000;
    const float size = std::fabs(rounded(x, 10, -24));
    if (size >= 65536.0f) return sign | 0x7c00;
    if (size < 0x1p-14f) return sign | unsigned(size * 0x1p24f);
    return sign | ((__float_as_uint(size) >> 13) - (112 << 10));
}

struct Operands {
    unsigned left[4], right[2];
};

static inline void matrices(unsigned (&found)[4], const void* row, bool turned, int line) {
    meet(~0u, reinterpret_cast<unsigned long long>(row), line);
    const int lane = current % 32;
    for (int matrix = 0; matrix < 4; ++matrix) {
        unsigned short two[2];
        for (int n = 0; n < 2; ++n) {
            const int pair = 2 * (lane % 4) + n, other = lane / 4;
            const int its_row = turned ? pair : other, column = turned ? other : pair;
            const auto* begin = &given<unsigned short>(8 * matrix + its_row);
            if (reinterpret_cast<unsigned long long>(begin) % 16) stop("a row of a matrix begins at no multiple of 16 bytes", line);
            two[n] = begin[column];
        }
        found[matrix] = two[0] | unsigned(two[1]) << 16;
    }
    meet(~0u, reinterpret_cast<unsigned long long>(row), -line);
}

}  // namespace cuda_cpu

template <class T>
inline void multiply_add(
    float (&sums)[4], const unsigned (&left)[4], unsigned right0, unsigned right1) {
    using namespace cuda_cpu;
    Operands mine{{left[0], left[1], left[2], left[3]}, {right0, right1}};
    const auto here = reinterpret_cast<unsigned long long>(&mine);
    meet(~0u, here, __LINE__);
    const int lane = current % 32;
    const auto half = [](unsigned word, int which) {
        return double(number_of(static_cast<const T*>(nullptr), word >> 16 * which & 0xffff));
    };
    for (int n = 0; n < 4; ++n) {
        const int row = lane / 4 + n / 2 * 8, column = lane % 4 * 2 + n % 2;
        double sum = sums[n];
        for (int k = 0; k < 16; ++k) {
            const int in_octet = k % 8 / 2;
            const Operands& a = given<Operands>(row % 8 * 4 + in_octet);
            const Operands& b = given<Operands>(column * 4 + in_octet);
            sum += half(a.left[row / 8 + k / 8 * 2], k % 2) * half(b.right[k / 8], k % 2);
        }
        sums[n] = float(sum);
    }
    meet(~0u, here, -__LINE__);
}

template <class T>
inline unsigned packed(float low, float high) {
    const T* kind = nullptr;
    return cuda_cpu::bits_of(kind, low) | cuda_cpu::bits_of(kind, high) << 16;
}

inline void load_matrices(unsigned (&found)[4], const void* row) {
    cuda_cpu::matrices(found, row, false, __LINE__);
}
inline void load_turned(unsigned (&found)[4], const void* row) {
    cuda_cpu::matrices(found, row, true, __LINE__);
}

template <int BYTES>
inline void begin_copy(void* to, const void* from, bool there) {
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "what can be copied at once");
    using namespace cuda_cpu;
    const auto places = reinterpret_cast<unsigned long long>(to)
        | (there ? reinterpret_cast<unsigned long long>(from) : 0);
    if (places % BYTES) stop("a copy begins or ends at no multiple of its bytes", __LINE__);
    begun[current].push_back({to, there ? from : nullptr, BYTES});
}

inline void wait_for_copies() {
    using namespace cuda_cpu;
    for (const Copy& each : begun[current])
        if (each.from) std::memcpy(each.to, each.from, each.bytes);
        else std::memset(each.to, 0, each.bytes);
    begun[current].clear();
}

inline float power_of_two(float x) { return std::exp2(x); }
