// What a kernel set does; one set for each kind of CPU, chosen when the module is loaded.
//
// Dims: N inputs, V rows (words), K columns, H cells. Arrays are row-major.
#pragma once
#include <cstddef>
#include <cstdint>

namespace nbest {

// A matrix by rows, in one of five ways of storing a number.
struct Rows {
    enum Kind { FLOAT32, INT16, UINT8, BITS, SLIM };
    Kind kind;
    const void* data;      // FLOAT32: float (V, K); INT16, UINT8: (V, K); BITS: (V, ceil(K/8)), first bit highest
                           // SLIM: code (V, parts)
    int64_t rows, cols;
    int64_t stride;        // bytes from a row to the next
    const float* step;     // (V) or one for all rows: a number q (a bit b) is worth low + step q
    const float* low;      // as many
    bool one_worth;        // whether it is one for all rows
    float step_of(int64_t row) const { return step[one_worth ? 0 : row]; }
    float low_of(int64_t row) const { return low[one_worth ? 0 : row]; }
    // SLIM: a row is `parts` sub-vectors, of which vectors[p][code] is the p-th.
    const float* vectors;  // (parts, values, K / parts)
    int64_t parts, values;
    int code_bytes;        // 2 or 4
};

enum class Products {
    FLOAT,
    INT8,   // 8-bit inputs times the bytes or bits of Rows
    TWO_BYTES,  // two-byte inputs times the bytes or bits of Rows; or times 256 bytes + the bytes of `low`
};

// Products of inputs with an output matrix, summed over its rows as exp(product + bias).
struct NormalizerJob {
    const Rows* rows;
    const float* bias;     // (V) or null
    const float* x;        // (N, K)
    int64_t count;         // N
    Products products;
    float again;           // share of the sum from which a row of integer products is computed again, in floats
    const Rows* low;       // low bytes of two-byte rows, or null; its steps are not used
    float coarse;          // share of the sum below which rows do without their low bytes
    // What is computed again is computed with these; exact_x = x and exact_bias = bias unless the
    // rows are a sketch with columns of its own.
    const Rows* exact;     // (V, K') or null for `rows`
    const float* exact_x;  // (N, K')
    const float* exact_bias;
    const float* slopes;   // (N, K + 1) by how much the logarithm changes with x, which makes up for the rounding of 8-bit
                           // inputs, and last what is added to it; or null
    double* out;           // (N) natural logarithm of the sum
};

// One step of an LSTM layer: gates = scale * (sum of matrices times inputs) + table row.
struct CellsJob {
    static constexpr int MOST = 2;
    int sources;                       // matrices, each (4H, K_i), gate rows in the order input forget cell output
    const Rows* rows[MOST];
    const float* inputs[MOST];         // (any, K_i)
    const int64_t* index[MOST];        // (N) row of inputs[i] for each of the N
    const float* scale;                // (4H) or null
    const float* table;                // (T, 4H) what is added
    const int64_t* table_index;        // (N) row of the table
    const float* cell_before;          // (any, H)
    const int64_t* cell_index;         // (N)
    int64_t count, cells;              // N, H
    int16_t most;                      // whole numbers of that size at most for the inputs; 0: floats
    float* hidden;                     // (N, H)
    const int64_t* kept;               // (N) row of kept_hidden and cell that is set too, or -1
    float* kept_hidden;                // (any, H), or null
    float* cell;                       // (any, H), not a row that this step reads
    const void* panels;                // what prepare_cells made, or null
};

// Logits of a slim matrix, from partial products as its normaliser has them.
struct LogitsJob {
    const Rows* rows;
    const float* bias;     // (V) or null
    const float* x;        // (N, K)
    int64_t count;         // N
    float* out;            // (V, N)
};

// scale * (products of inputs with all rows) + bias.
struct LinearJob {
    const Rows* rows;
    const float* scale;    // (V) or null
    const float* bias;     // (V) or null
    const float* x;        // (N, K)
    int64_t count;         // N
    float* out;            // (N, V)
    int16_t most;          // whole numbers of that size at most for the inputs; 0: floats
    const void* panels;    // what prepare_linear made; null for floats
};

struct Kernels {
    const char* name;
    bool integers;                                                 // has products of integers
    void (*normalize)(const NormalizerJob&, int threads);
    void (*logits)(const LogitsJob&, int threads);
    void (*step)(const CellsJob&, int threads);
    size_t (*panel_bytes)(const CellsJob&);                        // room for all panels of a layer
    void (*prepare_cells)(const CellsJob&, void* panels);          // lay the matrices out for step
    void (*pairs)(const Rows&, const float* bias, const float* x, const int64_t* positions, const int64_t* ids,
                  int64_t count, float* out);                      // out[p] = x[positions[p]] . row ids[p] + bias
    size_t (*linear_bytes)(const LinearJob&);                      // room for all panels, for whole numbers
    void (*prepare_linear)(const LinearJob&, void* panels);
    void (*linear)(const LinearJob&, int threads);
    void (*rows)(const Rows&, const int64_t* ids, int64_t count, float* out);  // out[n] = row ids[n]
};

const Kernels& portable_kernels();
#ifdef NBEST_X86
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
const Kernels& avx512vnni_kernels();
#endif
const Kernels* kernels_by_name(const char* name);  // null where the CPU or the build has none such
const Kernels& best_kernels();

}  // namespace nbest
