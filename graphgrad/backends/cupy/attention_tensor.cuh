// What the kernels of attention on tensor cores share (tensor_cores.cuh), for numbers of 16 bits.
//
// Each warp has 16 rows of a tile; the columns, or what they are multiplied with, come by shared
// memory, COLUMNS rows of two matrices at a time. All tiles there have rows of STRIDE numbers, an
// odd multiple of 16 bytes, so that the rows that a warp reads at once meet different banks.
//
// A tile of marks has a byte for each query and key: whether the query may attend to the key, and
// whether dropout keeps the weight.

constexpr unsigned SEEN = 1, KEPT = 2;
constexpr float LOG_OF_TWO = 0.69314718056f, INVERSE_LOG_OF_TWO = 1.44269504089f;

__device__ inline int lane_of() { return threadIdx.x % 32; }

// The first rows of a matrix to a tile, zeros beyond the matrix. VECTOR numbers at a time, of which
// widths and strides are multiples; it has to be waited for.
template <int ROWS, int WIDTH, int STRIDE, int VECTOR, int THREADS, class T>
__device__ inline void fetch(T* tile, const Matrix<T>& from) {
    constexpr int PACKS = WIDTH / VECTOR, EVEN = THREADS % PACKS == 0 ? THREADS / PACKS : 0;
    const int first = threadIdx.x / PACKS, rows = int(minimum(from.rows, (long long)ROWS));
    const T* begin = from.from + first * from.stride;
    constexpr int ROUNDS = (ROWS * PACKS + THREADS - 1) / THREADS;
    // places that are computed one by one would all be kept in registers
#pragma unroll(EVEN ? ROUNDS : 1)
    for (int n = 0; n < ROUNDS; ++n) {
        const int place = threadIdx.x + n * THREADS;
        const int row = EVEN ? first + n * EVEN : place / PACKS;
        const int column = (EVEN ? threadIdx.x : place) % PACKS * VECTOR;
        if (ROWS * PACKS % THREADS && place >= ROWS * PACKS) break;
        const bool there = row < rows && column < from.columns;
        const T* its = begin + (row - first) * from.stride + column;
        T* to = tile + row * STRIDE + column;
        if constexpr (VECTOR > 1)
            begin_copy<int(VECTOR * sizeof(T))>(to, there ? its : from.from, there);
        else if (there)
            *to = *its;
        else
            to->bits = 0;
    }
}

// The 16 rows of a warp as left matrices, WIDTH columns of them: HELD in registers, or read from
// shared memory each time.
template <class T, int WIDTH, int STRIDE, bool HELD>
struct Left {
    const T* rows;
    unsigned held[HELD ? WIDTH / 16 : 1][4];

    __device__ void load(int part, unsigned (&found)[4]) const {
        const int lane = lane_of();
        load_matrices(found, rows + lane % 16 * STRIDE + part * 16 + lane / 16 * 8);
    }
    __device__ void hold() {
        if constexpr (HELD) {
#pragma unroll
            for (int part = 0; part < WIDTH / 16; ++part) load(part, held[part]);
        }
    }
    __device__ void get(int part, unsigned (&found)[4]) const {
        if constexpr (HELD) {
#pragma unroll
            for (int n = 0; n < 4; ++n) found[n] = held[part][n];
        } else {
            load(part, found);
        }
    }
};

// sums = the products of the rows of a warp and COLUMNS rows of a tile
template <int COLUMNS, class T, int WIDTH, int STRIDE, bool HELD>
__device__ inline void multiply_rows(
    float (&sums)[COLUMNS / 8][4], const Left<T, WIDTH, STRIDE, HELD>& left, const T* tile) {
    const int lane = lane_of();
    const T* right = tile + (lane / 16 * 8 + lane % 8) * STRIDE + lane / 8 % 2 * 8;
#pragma unroll
    for (int n = 0; n < COLUMNS / 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[n][i] = 0.0f;
#pragma unroll
    for (int part = 0; part < WIDTH / 16; ++part) {
        unsigned ours[4];
        left.get(part, ours);
#pragma unroll
        for (int n = 0; n < COLUMNS / 16; ++n) {
            unsigned theirs[4];
            load_matrices(theirs, right + n * 16 * STRIDE + part * 16);
            multiply_add<T>(sums[2 * n], ours, theirs[0], theirs[1]);
            multiply_add<T>(sums[2 * n + 1], ours, theirs[2], theirs[3]);
        }
    }
}

// sums += the weights of the rows of a warp, rounded, times COLUMNS rows of a tile
template <int COLUMNS, int WIDTH, int STRIDE, class T>
__device__ inline void add_rows(
    float (&sums)[WIDTH / 8][4], const float (&weights)[COLUMNS / 8][4], const T* tile) {
    const int lane = lane_of();
    const T* right = tile + lane % 16 * STRIDE + lane / 16 * 8;
#pragma unroll
    for (int part = 0; part < COLUMNS / 16; ++part) {
        const float(&first)[4] = weights[2 * part], (&second)[4] = weights[2 * part + 1];
        const unsigned ours[4] = {
            packed<T>(first[0], first[1]), packed<T>(first[2], first[3]),
            packed<T>(second[0], second[1]), packed<T>(second[2], second[3])};
#pragma unroll
        for (int n = 0; n < WIDTH / 16; ++n) {
            unsigned theirs[4];
            load_turned(theirs, right + part * 16 * STRIDE + n * 16);
            multiply_add<T>(sums[2 * n], ours, theirs[0], theirs[1]);
            multiply_add<T>(sums[2 * n + 1], ours, theirs[2], theirs[3]);
        }
    }
}

// Half of the products of two rows: of every second pack of VECTOR numbers, from the first or the
// second one on.
template <int VECTOR, class T>
__device__ inline float half_of_row(const Matrix<T>& a, const Matrix<T>& b, int row, int half) {
    float sum = 0.0f;
    if (row >= a.rows) return sum;
    for (int column = half * VECTOR; column < a.columns; column += 2 * VECTOR) {
        const Pack<T, VECTOR> ours = load<VECTOR>(a.from + row * a.stride + column);
        const Pack<T, VECTOR> theirs = load<VECTOR>(b.from + row * b.stride + column);
#pragma unroll
        for (int n = 0; n < VECTOR; ++n)
            sum = fused(as_float(ours.at[n]), as_float(theirs.at[n]), sum);
    }
    return sum;
}

// The rows of a warp to memory, each times its factor, as far as the matrix has them. They pass
// through shared memory, where the warp has 16 rows for itself, so that it writes many numbers that
// lie together.
template <int WIDTH, int STRIDE, int VECTOR, class T>
__device__ inline void write_tile(
    T* tile, const float (&sums)[WIDTH / 8][4], float factor0, float factor1, T* to,
    long long stride, int rows, int columns) {
    constexpr int PACKS = WIDTH / VECTOR;
    const int lane = lane_of(), g = lane / 4, t = lane % 4;
    __syncwarp();  // what was there has been read
#pragma unroll
    for (int n = 0; n < WIDTH / 8; ++n) {
        unsigned* place = reinterpret_cast<unsigned*>(tile + g * STRIDE + n * 8 + 2 * t);
        place[0] = packed<T>(sums[n][0] * factor0, sums[n][1] * factor0);
        place[8 * STRIDE / 2] = packed<T>(sums[n][2] * factor1, sums[n][3] * factor1);
    }
    __syncwarp();
#pragma unroll 4
    for (int place = lane; place < 16 * PACKS; place += 32) {
        const int row = place / PACKS, column = place % PACKS * VECTOR;
        if (row < rows && column < columns)
            store(to + row * stride + column, load<VECTOR>(tile + row * STRIDE + column));
    }
}

// where dropout's numbers come from
struct Random {
    long long seed, step, stream;
    unsigned threshold;

    // which of four elements that follow each other are kept, a bit for each
    __device__ unsigned kept(long long element) const {
        unsigned found = of_group(element / 4);
        if (element % 4) found |= of_group(element / 4 + 1) << 4;
        return found >> element % 4;
    }
    __device__ unsigned of_group(long long group) const {
        const Pack<unsigned, 4> words = philox(unsigned(group), stream, step, seed);
        unsigned found = 0;
#pragma unroll
        for (int k = 0; k < 4; ++k)
            if (words.at[k] >= threshold) found |= 1u << k;
        return found;
    }
};

// Marks for a tile of queries and keys: rows and columns of the mask, dropout's elements from that
// of the first row and column on.
template <int ROWS, int COLUMNS, int THREADS, bool MASKED, bool DROPPED>
__device__ inline void mark(
    unsigned char* marks, const bool* mask, long long mask_row, long long mask_key, int rows,
    int columns, long long element, long long keys, const Random& random) {
#pragma unroll 1
    for (int place = threadIdx.x; place < ROWS * COLUMNS / 4; place += THREADS) {
        const int row = place / (COLUMNS / 4), column = place % (COLUMNS / 4) * 4;
        unsigned kept = 15;
        if (DROPPED) kept = random.kept(element + row * keys + column);
        unsigned found = 0;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const bool seen = !MASKED
                || (row < rows && column + k < columns
                    && mask[row * mask_row + (column + k) * mask_key]);
            if (seen) found |= SEEN << 8 * k;
            if (kept >> k & 1) found |= KEPT << 8 * k;
        }
        *reinterpret_cast<unsigned*>(marks + row * (COLUMNS + 8) + column) = found;
    }
}
