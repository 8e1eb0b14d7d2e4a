// What the kernels of attention share: products of tiles, by 256 threads.
//
// A tile has 16 R rows, and 16 threads, the half of a warp, have R of them together. Matrices are
// staged in shared memory piece by piece, so that a tile needs as much of it for any number of
// features. Sums are kept in registers, added up in one order, by fused multiply-adds: nothing else
// is shared between blocks, and two runs give the same bits.

__device__ inline float fused(float a, float b, float c) { return fmaf(a, b, c); }
__device__ inline double fused(double a, double b, double c) { return fma(a, b, c); }
__device__ inline float exponential(float x) { return expf(x); }
__device__ inline double exponential(double x) { return exp(x); }
__device__ inline float logarithm(float x) { return logf(x); }
__device__ inline double logarithm(double x) { return log(x); }
__device__ inline float lowest(float) { return -3.402823466e38f; }
__device__ inline double lowest(double) { return -1.7976931348623157e308; }
__device__ inline float smallest(float) { return 1.175494351e-38f; }
__device__ inline double smallest(double) { return 2.2250738585072014e-308; }

// numbers of 16 bits are computed in float32
template <class A, class T>
__device__ inline A widened(T x) { return A(x); }
template <>
__device__ inline float widened<float>(bfloat16 x) { return as_float(x); }
template <>
__device__ inline float widened<float>(float16 x) { return as_float(x); }
__device__ inline void put(float* to, float x) { *to = x; }
__device__ inline void put(double* to, double x) { *to = x; }
__device__ inline void put(bfloat16* to, float x) { *to = bfloat16_of(x); }
__device__ inline void put(float16* to, float x) { *to = float16_of(x); }

// a matrix of one head: where it begins, the numbers from row to row, and its rows and columns
template <class T>
struct Matrix {
    const T* from;
    long long stride;
    long long rows;
    int columns;
    __device__ Matrix below(long long row) const {
        return {from + row * stride, stride, rows - row, columns};
    }
};

// the tile of a block: its head, and its first row
struct Tile {
    int head, outer, inner, first;

    // a matrix of that head
    template <class T>
    __device__ Matrix<T> matrix(
        const T* from, long long outer_stride, long long inner_stride, long long row_stride,
        long long rows, int columns) const {
        return {from + outer * outer_stride + inner * inner_stride, row_stride, rows, columns};
    }

    // where a row of it begins, counted from the first one of the tile
    template <class T>
    __device__ T* row(
        T* from, long long outer_stride, long long inner_stride, long long row_stride,
        int number) const {
        return from + outer * outer_stride + inner * inner_stride + (first + number) * row_stride;
    }
};

// The tiles of a head follow each other; those of a head that is begun with the last one have the
// most to do.
__device__ inline Tile tile_of(long long tiles, long long inner, int rows, bool last_first) {
    const unsigned each = unsigned(tiles), head = blockIdx.x / each, tile = blockIdx.x % each;
    const unsigned across = unsigned(inner), outer = head / across;
    const unsigned first = (last_first ? each - 1 - tile : tile) * rows;
    return {int(head), int(outer), int(head - outer * across), int(first)};
}

// A piece of a matrix, from a column on, in shared memory: 4 numbers more a row, so that 8 threads
// that read 4 numbers each from rows below each other meet different banks. Zeros beyond
// the matrix.
template <int ROWS, int COLUMNS, class A, class T>
__device__ inline void stage(A* to, const Matrix<T>& from, int column) {
    for (int place = threadIdx.x; place < ROWS * COLUMNS; place += 256) {
        const int row = place / COLUMNS, at = place % COLUMNS;
        A number = A(0);
        if (row < from.rows && column + at < from.columns)
            number = widened<A>(from.from[row * from.stride + column + at]);
        to[row * (COLUMNS + 4) + at] = number;
    }
}

// sums[r][c] += the product of row 16-thread-line R + r of the left matrix and row lane + 16 c of
// the right one
template <int R, int C, class A, class T>
__device__ inline void add_dots(
    A (&sums)[R][C], A* staged, const Matrix<T>& left, const Matrix<T>& right) {
    constexpr int PIECE = 32, STRIDE = PIECE + 4;
    A* lefts = staged;
    A* rights = staged + 16 * R * STRIDE;
    const int lane = threadIdx.x % 16, line = threadIdx.x / 16;
    for (int column = 0; column < left.columns; column += PIECE) {
        __syncthreads();  // what was staged before has been read
        stage<16 * R, PIECE>(lefts, left, column);
        stage<16 * C, PIECE>(rights, right, column);
        __syncthreads();
#pragma unroll 2
        for (int at = 0; at < PIECE; at += 4) {
            Pack<A, 4> ours[R], theirs[C];
#pragma unroll
            for (int r = 0; r < R; ++r) ours[r] = load<4>(lefts + (line * R + r) * STRIDE + at);
#pragma unroll
            for (int c = 0; c < C; ++c) theirs[c] = load<4>(rights + (lane + 16 * c) * STRIDE + at);
#pragma unroll
            for (int k = 0; k < 4; ++k)
#pragma unroll
                for (int r = 0; r < R; ++r)
#pragma unroll
                    for (int c = 0; c < C; ++c)
                        sums[r][c] = fused(ours[r].at[k], theirs[c].at[k], sums[r][c]);
        }
    }
}

// sums[r][V chunk + i] += the product of row line R + r of the weights, COLUMNS of them in shared
// memory, and column 16 V chunk + V lane + i of the matrix
template <int COLUMNS, int V, int R, int SUMS, class A, class T>
__device__ inline void add_weighted(
    A (&sums)[R][SUMS], const A* weights, A* staged, const Matrix<T>& matrix) {
    constexpr int STRIDE = 16 * V + 4;
    const int lane = threadIdx.x % 16, line = threadIdx.x / 16;
#pragma unroll
    for (int chunk = 0; chunk < SUMS / V; ++chunk) {
        __syncthreads();  // the weights are there; what was staged before has been read
        stage<COLUMNS, 16 * V>(staged, matrix, chunk * 16 * V);
        __syncthreads();
#pragma unroll 2
        for (int at = 0; at < COLUMNS; at += 4) {
            Pack<A, 4> ours[R];
#pragma unroll
            for (int r = 0; r < R; ++r)
                ours[r] = load<4>(weights + (line * R + r) * (COLUMNS + 4) + at);
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const Pack<A, V> theirs = load<V>(staged + (at + k) * STRIDE + lane * V);
#pragma unroll
                for (int r = 0; r < R; ++r)
#pragma unroll
                    for (int i = 0; i < V; ++i)
                        sums[r][chunk * V + i] =
                            fused(ours[r].at[k], theirs.at[i], sums[r][chunk * V + i]);
            }
        }
    }
}

// The dropout mask of a tile, where its weights will be: each thread makes those of its own. The
// loop is not unrolled, so that its many steps are there once.
template <int R, int C, class A>
__device__ inline void stage_dropout(
    A* weights, long long element, long long row_step, long long column_step, long long seed,
    long long step, long long stream, unsigned threshold, A kept) {
    const int lane = threadIdx.x % 16, line = threadIdx.x / 16;
#pragma unroll 1
    for (int n = 0; n < R * C; ++n) {
        const int row = line * R + n / C, column = lane + 16 * (n % C);
        weights[row * (16 * C + 4) + column] =
            dropout_mask<1>(
                element + row * row_step + column * column_step, seed, step, stream, threshold,
                kept).at[0];
    }
}

// the rows of a tile to memory, as far as the matrix has them, each times its factor
template <int V, int R, int SUMS, class A, class T>
__device__ inline void write_rows(
    const A (&sums)[R][SUMS], const A (&factors)[R], T* to, long long stride, long long rows,
    int columns) {
    const int lane = threadIdx.x % 16, line = threadIdx.x / 16;
#pragma unroll
    for (int r = 0; r < R; ++r)
#pragma unroll
        for (int n = 0; n < SUMS; ++n) {
            const int row = line * R + r, column = n / V * 16 * V + lane * V + n % V;
            if (row < rows && column < columns)
                put(to + row * stride + column, sums[r][n] * factors[r]);
        }
}
