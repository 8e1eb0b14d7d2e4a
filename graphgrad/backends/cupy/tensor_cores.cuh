// What a warp can have its tensor cores do, and what feeds them: a function for each instruction,
// of devices from sm_80 on. "Parallel Thread Execution ISA" (NVIDIA) says which lane has which
// numbers; tests/gpu/cuda_cpu_tensor.h has the same functions for a processor.
//
// A fragment is a lane's share of a matrix. With g = lane / 4 and t = lane % 4, and two numbers of
// 16 bits in each word, that of the lower column (or row, of the right matrix) in the lower half:
// - left matrix [16][16]: rows g, g + 8, g, g + 8, columns 2t and 2t + 1, of the last two words
//   8 columns further;
// - right matrix [16][8]: column g, rows 2t and 2t + 1, of the second word 8 rows further;
// - sums [16][8]: row g, columns 2t and 2t + 1, then the same of row g + 8. So the sums of two
//   products beside each other, rounded, are a left matrix.

#ifndef CUDA_CPU

// sums += left right
template <class T>
__device__ inline void multiply_add(
    float (&sums)[4], const unsigned (&left)[4], unsigned right0, unsigned right1);

template <>
__device__ inline void multiply_add<bfloat16>(
    float (&sums)[4], const unsigned (&left)[4], unsigned right0, unsigned right1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right0), "r"(right1));
}

template <>
__device__ inline void multiply_add<float16>(
    float (&sums)[4], const unsigned (&left)[4], unsigned right0, unsigned right1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right0), "r"(right1));
}

// two numbers, rounded to the nearest, in one word
template <class T>
__device__ inline unsigned packed(float low, float high);

template <>
__device__ inline unsigned packed<bfloat16>(float low, float high) {
    unsigned both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

template <>
__device__ inline unsigned packed<float16>(float low, float high) {
    unsigned both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

__device__ inline unsigned shared_address(const void* place) {
    return unsigned(__cvta_generic_to_shared(place));
}

// Four matrices [8][8] of 16 bits from shared memory: lanes 0 to 7 say where the rows of the first
// one begin (at multiples of 16 bytes), lanes 8 to 15 those of the second one, and so on. A lane
// gets columns 2t and 2t + 1 of row g of each.
__device__ inline void load_matrices(unsigned (&found)[4], const void* row) {
    asm volatile(
        "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
        : "=r"(found[0]), "=r"(found[1]), "=r"(found[2]), "=r"(found[3])
        : "r"(shared_address(row))
        : "memory");
}

// The same, and a lane gets rows 2t and 2t + 1 of column g.
__device__ inline void load_turned(unsigned (&found)[4], const void* row) {
    asm volatile(
        "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
        : "=r"(found[0]), "=r"(found[1]), "=r"(found[2]), "=r"(found[3])
        : "r"(shared_address(row))
        : "memory");
}

// Begins to copy 4, 8 or 16 bytes to shared memory, or zeros where there is nothing to copy.
template <int BYTES>
__device__ inline void begin_copy(void* to, const void* from, bool there) {
    const unsigned size = there ? BYTES : 0;
    if (BYTES == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                     "l"(from), "r"(size)
                     : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(to)),
                     "l"(from), "n"(BYTES), "r"(size)
                     : "memory");
}

// Waits until all copies that this thread began are done.
__device__ inline void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// 2 to the power of x; what is too small is 0
__device__ inline float power_of_two(float x) {
    float found;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(found) : "f"(x));
    return found;
}

#endif
