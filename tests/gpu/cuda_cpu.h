// Runs CUDA C on a processor, its text unchanged: for tests.
//
// Blocks run one after another. The threads of a block are fibers: each runs until it waits at a
// barrier or a shuffle, and then the next one does, in an order that is drawn anew from the seed of
// the launch each time; some warps are left behind until no other can go on. Shared memory is
// filled with 0xff (NaN, -1) before each block.
//
// A launch ends with a message instead of a result where, on a device, nothing would be certain:
// - threads of a block wait at different barriers, or for one that others never reach;
// - a shuffle's mask does not name the thread itself or the lane it reads, names a lane that has
//   left, or lanes of one mask do not meet in one shuffle.
//
// What it cannot show: a race that no order of fibers brings out, memory that others see late, the
// rounding of a device's own expf and its like, registers and occupancy.
//
// Include it before the kernels; `LAUNCHABLE(name)` makes one callable by `cuda_cpu_launch`.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>

#include <sys/mman.h>

#if !defined(__x86_64__) && !defined(CUDA_CPU_PORTABLE)
#define CUDA_CPU_PORTABLE
#endif
#ifdef CUDA_CPU_PORTABLE
#include <ucontext.h>
#endif

#define __global__
#define __device__
#define __launch_bounds__(...)
#define __forceinline__ inline
#define __restrict__
#define __shared__ static __attribute__((section("cuda_shared")))

// so that there is such a section; the linker says where it begins and ends
static __attribute__((section("cuda_shared"), used)) long long cuda_cpu_first_shared = 0;
extern "C" unsigned char __start_cuda_shared[], __stop_cuda_shared[];

struct cuda_cpu_dim3 {
    unsigned x = 1, y = 1, z = 1;
};
static cuda_cpu_dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_cpu {

enum State { RUNS, AT_BARRIER, AT_SHUFFLE, LEFT };
constexpr std::size_t STACK = 1 << 17;
constexpr int MOST = 1024;

struct Fiber {
    State state;
    int line;              // where it waits
    unsigned mask;         // of the shuffle that it waits at
    unsigned long long value;
#ifdef CUDA_CPU_PORTABLE
    ucontext_t context;
#else
    void* top;             // of its stack, while it waits
#endif
    unsigned char* stack;
};

using Kernel = void (*)(const long long*);

static Fiber fibers[MOST];
static int current, count;
static Kernel kernel;
static const long long* words;
static char message[256];
static unsigned long long dice;

#ifdef CUDA_CPU_PORTABLE
static ucontext_t scheduler;
static void to_scheduler() { swapcontext(&fibers[current].context, &scheduler); }
static void to_fiber() { swapcontext(&scheduler, &fibers[current].context); }
#else
static void* scheduler;
extern "C" void cuda_cpu_switch(void** from, void* to);
// keeps what a function has to keep: rbx, rbp, r12 to r15 and the modes of arithmetic
asm(R"(
.text
.type cuda_cpu_switch,@function
cuda_cpu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    subq $8, %rsp
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    ldmxcsr (%rsp)
    fldcw 4(%rsp)
    addq $8, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size cuda_cpu_switch,.-cuda_cpu_switch
)");
static void to_scheduler() { cuda_cpu_switch(&fibers[current].top, scheduler); }
static void to_fiber() { cuda_cpu_switch(&scheduler, fibers[current].top); }
#endif

static void forget_copies();

// what runs between the threads of a kernel, however these are compiled
#define QUICKLY __attribute__((optimize("O2")))

static void entered() {
    forget_copies();
    kernel(words);
    fibers[current].state = LEFT;
    to_scheduler();
    std::abort();  // nobody wakes a fiber that has left
}

static void prepare(Fiber& fiber) {
    if (!fiber.stack) {
        void* memory = mmap(nullptr, STACK, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) std::abort();
        fiber.stack = static_cast<unsigned char*>(memory);
    }
    fiber.state = RUNS;
#ifdef CUDA_CPU_PORTABLE
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, entered, 0);
#else
    // as cuda_cpu_switch leaves it: modes, six registers, where to go on, and 16 bytes aligned
    // (stacks that begin at equal offsets of their pages would all want the same lines of a cache)
    const std::size_t offset = std::size_t(&fiber - fibers) % 64 * 320;
    auto* place = reinterpret_cast<unsigned long long*>(fiber.stack + STACK - offset) - 9;
    std::memset(place, 0, 9 * 8);
    unsigned modes[2] = {0x1f80, 0x037f};
    std::memcpy(place, modes, 8);
    place[7] = reinterpret_cast<unsigned long long>(&entered);
    fiber.top = place;
#endif
}

static unsigned drawn() {
    dice ^= dice << 13, dice ^= dice >> 7, dice ^= dice << 17;
    return unsigned(dice >> 32);
}

static bool failed(const char* what, int thread, int line) {
    std::snprintf(message, sizeof message, "block %u, thread %d, line %d: %s", blockIdx.x, thread,
                  line, what);
    return false;
}

// a fiber that finds an error never goes on
[[noreturn]] static void stop(const char* what, int line) {
    failed(what, current, line);
    for (;;) to_scheduler();
}

static void barrier(int line) {
    fibers[current].state = AT_BARRIER;
    fibers[current].line = line;
    to_scheduler();
}

static void meet(unsigned mask, unsigned long long value, int line) {
    Fiber& mine = fibers[current];
    mine.mask = mask, mine.value = value, mine.line = line;
    if (!(mask >> (current % 32) & 1))
        stop("the mask of a shuffle does not name its own lane", line);
    mine.state = AT_SHUFFLE;
    to_scheduler();
}

template <class T>
static T shuffled(unsigned mask, T value, int lane, int line) {
    static_assert(sizeof(T) <= 8, "a shuffle moves 4 or 8 bytes");
    unsigned long long bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    meet(mask, bits, line);
    // the values stay until every lane has read: none of them comes back here before
    if (lane < 0 || lane > 31 || !(mask >> lane & 1))
        stop("a shuffle reads a lane that its mask does not name", line);
    T found;
    std::memcpy(&found, &fibers[current / 32 * 32 + lane].value, sizeof(T));
    meet(mask, bits, -line);
    return found;
}

// whether the lanes that a waiting fiber names have all come; false with a message: they never will
QUICKLY static bool together(int thread, bool& ready) {
    const Fiber& mine = fibers[thread];
    ready = true;
    for (int lane = 0; lane < 32; ++lane) {
        if (!(mine.mask >> lane & 1)) continue;
        const int other = thread / 32 * 32 + lane;
        if (other >= count || fibers[other].state == LEFT)
            return failed("a shuffle names a lane that has left", thread, std::abs(mine.line));
        const Fiber& its = fibers[other];
        if (its.state != AT_SHUFFLE || its.mask != mine.mask || its.line != mine.line)
            ready = false;
    }
    return true;
}

QUICKLY static bool release_shuffles(bool& moved) {
    int asked = -1;  // the thread last asked for: who waits in its warp with its mask waits, too
    for (int thread = 0; thread < count; ++thread) {
        if (fibers[thread].state != AT_SHUFFLE) continue;
        if (asked >= 0 && asked / 32 == thread / 32 && fibers[asked].mask == fibers[thread].mask &&
            fibers[asked].line == fibers[thread].line)
            continue;
        bool ready;
        if (!together(thread, ready)) return false;
        asked = ready ? -1 : thread;
        if (!ready) continue;
        moved = true;
        for (int lane = 0; lane < 32; ++lane)
            if (fibers[thread].mask >> lane & 1) fibers[thread / 32 * 32 + lane].state = RUNS;
    }
    return true;
}

static bool release_barrier(bool& moved) {
    int first = -1;
    for (int thread = 0; thread < count; ++thread) {
        if (fibers[thread].state == LEFT) continue;
        if (fibers[thread].state != AT_BARRIER) return true;
        if (first < 0) first = thread;
        if (fibers[thread].line != fibers[first].line)
            return failed("threads of a block wait at different barriers", thread,
                          fibers[thread].line);
    }
    for (int thread = 0; thread < count; ++thread) {
        if (fibers[thread].state != AT_BARRIER) continue;
        fibers[thread].state = RUNS, moved = true;
    }
    return true;
}

// lets the fibers that can run do so once, in a random order; those of `awake` warps
QUICKLY static bool run_once(unsigned awake) {
    bool ran = false;
    const int start = drawn() % count;
    int stride = drawn() % count | 1;
    for (int a = stride, b = count; b; ) {  // all threads are met if the two have no divisor
        const int rest = a % b;
        a = b, b = rest;
        if (!b && a != 1) stride = 1;
    }
    for (int turn = 0, next = start; turn < count; ++turn) {
        const int thread = next;
        next += stride % count;
        if (next >= count) next -= count;
        if (fibers[thread].state != RUNS || !(awake >> thread / 32 & 1)) continue;
        current = thread;
        threadIdx.x = current % blockDim.x;
        threadIdx.y = current / blockDim.x;
        to_fiber();
        if (message[0]) return false;
        ran = true;
    }
    return ran;
}

__attribute__((no_sanitize("address"))) static void poison() {
    volatile unsigned char* place = __start_cuda_shared;
    for (; place + 8 <= __stop_cuda_shared; place += 8)
        *reinterpret_cast<volatile unsigned long long*>(place) = ~0ull;
    while (place != __stop_cuda_shared) *place++ = 0xff;
}

static bool run_block() {
    poison();
    for (int thread = 0; thread < count; ++thread) prepare(fibers[thread]);
    unsigned awake = drawn();
    for (;;) {
        if (drawn() % 8 == 0) awake = drawn();
        bool moved = run_once(awake);
        if (message[0] || !release_shuffles(moved)) return false;
        if (moved) continue;
        moved = run_once(~0u);
        if (message[0] || (!moved && !release_barrier(moved))) return false;
        if (moved) continue;
        for (int thread = 0; thread < count; ++thread)
            if (fibers[thread].state != LEFT)
                return failed("it waits for others, which never come", thread,
                              std::abs(fibers[thread].line));
        return true;
    }
}

struct Known {
    const char* name;
    Kernel kernel;
    const Known* next;
};
static const Known* known;

// the words of a launch as the parameters of a kernel
template <class T>
static T parameter(long long word) {
    if constexpr (std::is_pointer_v<T>)
        return reinterpret_cast<T>(word);
    else
        return static_cast<T>(word);
}
template <class... A, std::size_t... I>
static void call(void (*function)(A...), const long long* given, std::index_sequence<I...>) {
    function(parameter<std::remove_const_t<A>>(given[I])...);
}
template <class... A>
static void call(void (*function)(A...), const long long* given) {
    call(function, given, std::index_sequence_for<A...>());
}

}  // namespace cuda_cpu

#define LAUNCHABLE(name)                                                              \
    static const cuda_cpu::Known cuda_cpu_##name = {                                  \
        #name, [](const long long* given) { cuda_cpu::call(name, given); },           \
        cuda_cpu::known};                                                             \
    static const bool cuda_cpu_has_##name = (cuda_cpu::known = &cuda_cpu_##name, true);

// Runs a kernel; what went wrong, or an empty text.
extern "C" const char* cuda_cpu_launch(const char* name, unsigned grid, unsigned block,
                                       const long long* given, unsigned long long seed) {
    using namespace cuda_cpu;
    message[0] = 0;
    const Known* found = known;
    while (found && std::strcmp(found->name, name)) found = found->next;
    if (!found || block == 0 || block > MOST) {
        std::snprintf(message, sizeof message, "no kernel %s of %u threads", name, block);
        return message;
    }
    kernel = found->kernel, words = given, count = int(block);
    dice = seed * 0x9E3779B97F4A7C15ull + 0x1234567;
    gridDim.x = grid, blockDim.x = block;
    for (unsigned number = 0; number < grid; ++number) {
        blockIdx.x = number;
        if (!run_block()) break;
    }
    return message;
}

// ---------------------------------------------------------------- CUDA's own functions

#define __syncthreads() cuda_cpu::barrier(__LINE__)
#define __syncwarp(...) ((void)cuda_cpu::shuffled(cuda_cpu::mask_of(__VA_ARGS__), 0, \
                                                  threadIdx.x % 32, __LINE__))
#define __shfl_sync(mask, value, lane) cuda_cpu::shuffled(mask, value, lane, __LINE__)
#define __shfl_xor_sync(mask, value, offset) \
    cuda_cpu::shuffled(mask, value, int(threadIdx.x % 32) ^ (offset), __LINE__)
#define __shfl_down_sync(mask, value, offset) \
    cuda_cpu::shuffled(mask, value, int(threadIdx.x % 32) + (offset), __LINE__)

namespace cuda_cpu {
static inline unsigned mask_of(unsigned mask = 0xffffffffu) { return mask; }
template <class To, class From>
static inline To bits(From from) {
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
}  // namespace cuda_cpu

static inline unsigned __float_as_uint(float x) { return cuda_cpu::bits<unsigned>(x); }
static inline float __int_as_float(int x) { return cuda_cpu::bits<float>(x); }
static inline int __float_as_int(float x) { return cuda_cpu::bits<int>(x); }
static inline double __longlong_as_double(long long x) { return cuda_cpu::bits<double>(x); }
static inline long long __double_as_longlong(double x) { return cuda_cpu::bits<long long>(x); }
static inline unsigned __umulhi(unsigned a, unsigned b) {
    return unsigned((unsigned long long)a * b >> 32);
}

#define CUDA_CPU
#include "cuda_cpu_tensor.h"
