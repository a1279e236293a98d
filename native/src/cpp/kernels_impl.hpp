// The kernels, written once and compiled for each kind of CPU. A tile of products stays in registers, and what
// follows a product (exp and sum; gates and cell) is done there: no logit is ever written to memory.
//
// Included after kernels_headers.hpp by one file for each kind of CPU.
// Weights come as panels: the rows of a tile laid side by side, made from the stored rows when they are needed.
namespace nbest {
namespace NBEST_ISA {

constexpr int W = NBEST_W;
typedef float vf __attribute__((vector_size(W * 4), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(W * 4), aligned(4), may_alias));
#define NBEST_INLINE inline __attribute__((always_inline))
constexpr int64_t PACKED_BYTES = 1 << 20;  // of inputs at a time: half of a 2 MiB L2
constexpr int FLUSH_PANELS = 64;     // 32-bit sums go to 64-bit ones after so many panels

NBEST_INLINE vf load(const float* p) { return *reinterpret_cast<const vf*>(p); }
NBEST_INLINE void store(float* p, vf v) { *reinterpret_cast<vf*>(p) = v; }
NBEST_INLINE vf all(float x) { return x - vf{}; }
NBEST_INLINE vf floats(vi v) { return __builtin_convertvector(v, vf); }

// e^x, relative error below 2e-7; x is kept within [-87, 88]. Cephes' reduction and polynomial.
NBEST_INLINE vf exp_of(vf x) {
    x = x < -87.0f ? all(-87.0f) : x;
    x = x > 88.0f ? all(88.0f) : x;
    const vf magic = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    const vf n = (x * 1.44269504088896341f + magic) - magic;
    const vf r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    vf p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    const vi power = (__builtin_convertvector(n, vi) + 127) << 23;
    return p * (vf)power;
}
NBEST_INLINE vf sigmoid(vf x) { return 1.0f / (1.0f + exp_of(-x)); }
// sigmoid(a) tanh(b) with one division: b beyond 15 is no different from 15.
NBEST_INLINE vf sigmoid_tanh(vf a, vf b) {
    b = b > 15.0f ? all(15.0f) : b;
    const vf e = exp_of(2.0f * b);
    return (e - 1.0f) / ((1.0f + exp_of(-a)) * (e + 1.0f));
}

// ---- inputs, packed by tiles of T tokens ----

struct Packed {
    std::vector<float> numbers;    // float tiles: [tile][k][T]
    std::vector<int32_t> bytes;    // 8-bit tiles, four signed bytes of consecutive k: [tile][k/4][T]
    std::vector<float> scale;      // (N rounded up) what a unit of the signed bytes is worth
    std::vector<float> sum;        // (sources, N rounded up) sum of the signed bytes
};

struct Segment {                   // one source's input for each token
    const float* values;
    const int64_t* index;          // null: token n reads row n
    int64_t cols;
    NBEST_INLINE const float* row(int64_t n) const { return values + (index ? index[n] : n) * cols; }
};

inline int64_t quads(int64_t cols) { return (cols + 3) / 4; }
inline int64_t tokens_at_a_time(int64_t words) { return std::max<int64_t>(48, PACKED_BYTES / (4 * words)); }

template <int T>
void pack_floats(const Segment* segments, int sources, int64_t first, int64_t count, Packed& packed) {
    int64_t cols = 0;
    for (int s = 0; s < sources; ++s) cols += segments[s].cols;
    const int64_t tiles = (count + T - 1) / T;
    packed.numbers.assign(tiles * cols * T, 0.0f);
    for (int64_t n = 0; n < count; ++n) {
        float* at = packed.numbers.data() + (n / T) * cols * T + n % T;
        for (int s = 0; s < sources; ++s) {
            const float* row = segments[s].row(first + n);
            for (int64_t k = 0; k < segments[s].cols; ++k, at += T) *at = row[k];
        }
    }
}

inline float largest_of(const float* row, int64_t cols) {
    vf most = {};
    int64_t k = 0;
    for (; k + W <= cols; k += W) {
        const vf v = load(row + k), size = v < 0.0f ? -v : v;
        most = size > most ? size : most;
    }
    float largest = 0.0f;
    for (int w = 0; w < W; ++w) largest = std::max(largest, most[w]);
    for (; k < cols; ++k) largest = std::max(largest, std::fabs(row[k]));
    return largest;
}

// round(row * inverse) as signed bytes, zeros up to a multiple of four; their sum.
inline int32_t to_bytes(const float* row, int64_t cols, float inverse, int8_t* bytes) {
    vi sums = {};
    int64_t k = 0;
    for (; k + W <= cols; k += W) {
        const vf magic = all(12582912.0f), rounded = (load(row + k) * inverse + magic) - magic;
        const vi whole = __builtin_convertvector(rounded, vi);
        sums += whole;
        for (int w = 0; w < W; ++w) bytes[k + w] = static_cast<int8_t>(whole[w]);
    }
    int32_t sum = 0;
    for (int w = 0; w < W; ++w) sum += sums[w];
    for (; k < cols; ++k) sum += bytes[k] = static_cast<int8_t>(std::lrintf(row[k] * inverse));
    for (; k % 4; ++k) bytes[k] = 0;
    return sum;
}

template <int T>
void pack_bytes(const Segment* segments, int sources, int64_t first, int64_t count, Packed& packed) {
    int64_t all_quads = 0;
    for (int s = 0; s < sources; ++s) all_quads += quads(segments[s].cols);
    const int64_t tiles = (count + T - 1) / T;
    packed.bytes.assign(tiles * all_quads * T, 0);
    packed.scale.assign(tiles * T, 0.0f);
    packed.sum.assign(sources * tiles * T, 0.0f);
    std::vector<int32_t> row_quads(all_quads);
    for (int64_t n = 0; n < count; ++n) {
        float largest = 0.0f;
        for (int s = 0; s < sources; ++s)
            largest = std::max(largest, largest_of(segments[s].row(first + n), segments[s].cols));
        packed.scale[n] = largest / 127.0f;
        const float inverse = largest > 0 ? 127.0f / largest : 0.0f;
        int32_t* at = row_quads.data();
        for (int s = 0; s < sources; ++s) {
            const float* row = segments[s].row(first + n);
            packed.sum[s * tiles * T + n] =
                static_cast<float>(to_bytes(row, segments[s].cols, inverse, reinterpret_cast<int8_t*>(at)));
            at += quads(segments[s].cols);
        }
        int32_t* to = packed.bytes.data() + (n / T) * all_quads * T + n % T;
        for (int64_t q = 0; q < all_quads; ++q) to[q * T] = row_quads[q];
    }
}

// ---- weights, a panel of rows side by side ----

// Row r as 32-bit words, one a column: floats; or, of an 8-bit panel, four bytes of consecutive k. Rows that lie
// in memory that way already are not copied.
inline const int32_t* words_of_row(const Rows& rows, int64_t r, bool int8, int32_t* room) {
    const auto* raw = static_cast<const uint8_t*>(rows.data) + r * rows.stride;
    if (int8 && rows.kind == Rows::UINT8) {
        if (rows.cols % 4 == 0) return reinterpret_cast<const int32_t*>(raw);
        room[quads(rows.cols) - 1] = 0;
        std::memcpy(room, raw, rows.cols);
        return room;
    }
    if (int8) {
        static const std::vector<int32_t> four_bits = [] {
            std::vector<int32_t> table(16);
            for (int b = 0; b < 16; ++b) table[b] = b >> 3 | (b >> 2 & 1) << 8 | (b >> 1 & 1) << 16 | (b & 1) << 24;
            return table;
        }();
        const int32_t* table = four_bits.data();
        for (int64_t q = 0; q < quads(rows.cols); ++q) room[q] = table[q & 1 ? raw[q >> 1] & 15 : raw[q >> 1] >> 4];
        return room;  // bits beyond the last column meet inputs of zero
    }
    if (rows.kind == Rows::FLOAT32) return reinterpret_cast<const int32_t*>(raw);
    float* numbers = reinterpret_cast<float*>(room);
    const float low = rows.low[r], step = rows.step[r];
    if (rows.kind == Rows::UINT8) {
        for (int64_t k = 0; k < rows.cols; ++k) numbers[k] = low + step * static_cast<float>(raw[k]);
    } else {
        const float value[2] = {low, low + step};
        for (int64_t k = 0; k < rows.cols; ++k) numbers[k] = value[raw[k >> 3] >> (7 - (k & 7)) & 1];
    }
    return room;
}

typedef int32_t four __attribute__((vector_size(16), aligned(4), may_alias));

// Rows r, r + 1, .. (at most `lanes` of them, `real` there) side by side: panel[k * width + lane].
void fill_panel(const Rows& rows, int64_t r, int real, int lanes, bool int8, int width, int32_t* panel,
                std::vector<int32_t>& room) {
    const int64_t words = int8 ? quads(rows.cols) : rows.cols;
    room.assign(4 * words, 0);
    for (int lane = 0; lane < lanes; lane += 4) {
        const int32_t* row[4];
        for (int i = 0; i < 4; ++i) {
            int32_t* own = room.data() + i * words;
            if (lane + i < real) row[i] = words_of_row(rows, r + lane + i, int8, own);
            else row[i] = static_cast<const int32_t*>(std::memset(own, 0, words * 4));
        }
        int32_t* to = panel + lane;
        int64_t k = 0;
        for (; k + 4 <= words; k += 4, to += 4 * width) {  // four by four, turned
            const four a = *reinterpret_cast<const four*>(row[0] + k), b = *reinterpret_cast<const four*>(row[1] + k);
            const four c = *reinterpret_cast<const four*>(row[2] + k), d = *reinterpret_cast<const four*>(row[3] + k);
            const four ab = __builtin_shuffle(a, b, four{0, 4, 1, 5}), ba = __builtin_shuffle(a, b, four{2, 6, 3, 7});
            const four cd = __builtin_shuffle(c, d, four{0, 4, 1, 5}), dc = __builtin_shuffle(c, d, four{2, 6, 3, 7});
            *reinterpret_cast<four*>(to) = __builtin_shuffle(ab, cd, four{0, 1, 4, 5});
            *reinterpret_cast<four*>(to + width) = __builtin_shuffle(ab, cd, four{2, 3, 6, 7});
            *reinterpret_cast<four*>(to + 2 * width) = __builtin_shuffle(ba, dc, four{0, 1, 4, 5});
            *reinterpret_cast<four*>(to + 3 * width) = __builtin_shuffle(ba, dc, four{2, 3, 6, 7});
        }
        for (; k < words; ++k, to += width)
            for (int i = 0; i < 4; ++i) to[i] = row[i][k];
    }
}

// ---- tiles of products ----

// f(0) .. f(N - 1), written out by the compiler: an array that is only indexed so lives in registers.
template <class F, int... I>
NBEST_INLINE void each_of(std::integer_sequence<int, I...>, F f) {
    (f(std::integral_constant<int, I>{}), ...);
}
template <int N, class F>
NBEST_INLINE void each(F f) {
    each_of(std::make_integer_sequence<int, N>{}, f);
}
#define NBEST_EACH(index) [&](auto index) __attribute__((always_inline))

template <int T, int C>
NBEST_INLINE void multiply(const float* x, const float* panel, int64_t cols, vf (&sum)[T][C]) {
    for (int64_t k = 0; k < cols; ++k, x += T, panel += C * W) {
        vf column[C];
        each<C>(NBEST_EACH(c) { column[c] = load(panel + c * W); });
        each<T>(NBEST_EACH(t) {
            const vf value = all(x[t]);
            each<C>(NBEST_EACH(c) { sum[t][c] += value * column[c]; });
        });
    }
}

#if NBEST_VNNI
template <int T, int C>
NBEST_INLINE void multiply(const int32_t* x, const int32_t* panel, int64_t count, vi (&sum)[T][C]) {
    for (int64_t q = 0; q < count; ++q, x += T, panel += C * W) {
        __m512i column[C];
        each<C>(NBEST_EACH(c) { column[c] = _mm512_loadu_si512(panel + c * W); });
        each<T>(NBEST_EACH(t) {
            const __m512i value = _mm512_set1_epi32(x[t]);
            each<C>(NBEST_EACH(c) { sum[t][c] = (vi)_mm512_dpbusd_epi32((__m512i)sum[t][c], column[c], value); });
        });
    }
}
#endif

// ---- the normaliser ----

constexpr int OUT_T = NBEST_OUTPUT_TOKENS, OUT_C = 2, PANEL = OUT_C * W;

// What a thread knows of each token: exp(logit - shift) summed over its rows.
struct Sums {
    std::vector<float> shift, lanes;  // (N), (N, W)
    std::vector<double> total;        // (N)
    explicit Sums(int64_t n) : shift(n, 0.0f), lanes(n * W, 0.0f), total(n, 0.0) {}
    void flush(int64_t n) {
        for (int64_t i = 0; i < n; ++i)
            for (int w = 0; w < W; ++w) total[i] += lanes[i * W + w];
        std::fill(lanes.begin(), lanes.end(), 0.0f);
    }
};

// Logits of a tile; step and low turn 8-bit products into numbers.
template <bool INT8>
NBEST_INLINE void output_tile(const Packed& packed, int64_t tile, const void* panel, int64_t cols, const float* step,
                              const float* low, const float* bias, vf (&logits)[OUT_T][OUT_C]) {
    if constexpr (INT8) {
#if NBEST_VNNI
        vi sum[OUT_T][OUT_C] = {};
        const int64_t q = quads(cols);
        multiply<OUT_T, OUT_C>(packed.bytes.data() + tile * q * OUT_T, static_cast<const int32_t*>(panel), q, sum);
        each<OUT_T>(NBEST_EACH(t) {
            const float unit = packed.scale[tile * OUT_T + t], of_inputs = packed.sum[tile * OUT_T + t];
            each<OUT_C>(NBEST_EACH(c) {
                logits[t][c] = (floats(sum[t][c]) * load(step + c * W) + load(low + c * W) * of_inputs) * unit +
                               load(bias + c * W);
            });
        });
#endif
    } else {
        vf sum[OUT_T][OUT_C] = {};
        multiply<OUT_T, OUT_C>(packed.numbers.data() + tile * cols * OUT_T, static_cast<const float*>(panel), cols,
                               sum);
        each<OUT_T>(NBEST_EACH(t) {
            each<OUT_C>(NBEST_EACH(c) { logits[t][c] = sum[t][c] + load(bias + c * W); });
        });
    }
}

constexpr float NOT_A_WORD = -1e30f;  // logit of the lanes beyond the last row

template <bool INT8>
void normalize_part(const NormalizerJob& job, const Packed& packed, int64_t count, int64_t first_panel,
                    int64_t last_panel, Sums& sums) {
    const Rows& rows = *job.rows;
    const int64_t tiles = (count + OUT_T - 1) / OUT_T;
    std::vector<int32_t> panel((INT8 ? quads(rows.cols) : rows.cols) * PANEL), room;
    float step[PANEL], low[PANEL], bias[PANEL];
    for (int64_t p = first_panel; p < last_panel; ++p) {
        const int real = static_cast<int>(std::min<int64_t>(PANEL, rows.rows - p * PANEL));
        fill_panel(rows, p * PANEL, real, PANEL, INT8, PANEL, panel.data(), room);
        for (int lane = 0; lane < PANEL; ++lane) {
            const bool word = lane < real;
            const int64_t r = p * PANEL + lane;
            bias[lane] = !word ? NOT_A_WORD : job.bias ? job.bias[r] : 0.0f;
            step[lane] = INT8 && word ? rows.step[r] : 0.0f;
            low[lane] = INT8 && word ? rows.low[r] : 0.0f;
        }
        for (int64_t tile = 0; tile < tiles; ++tile) {
            vf logits[OUT_T][OUT_C];
            output_tile<INT8>(packed, tile, panel.data(), rows.cols, step, low, bias, logits);
            const int64_t base = tile * OUT_T;
            if (p == first_panel)  // any logit will do for a shift, a large one is safer
                each<OUT_T>(NBEST_EACH(t) {
                    vf most = logits[t][0];
                    each<OUT_C>(NBEST_EACH(c) { most = logits[t][c] > most ? logits[t][c] : most; });
                    float lanes[W];
                    store(lanes, most);
                    sums.shift[base + t] = *std::max_element(lanes, lanes + W);
                });
            each<OUT_T>(NBEST_EACH(t) {
                float* lanes = sums.lanes.data() + (base + t) * W;
                vf sum = load(lanes);
                each<OUT_C>(NBEST_EACH(c) { sum += exp_of(logits[t][c] - sums.shift[base + t]); });
                store(lanes, sum);
            });
        }
        if ((p - first_panel) % FLUSH_PANELS == FLUSH_PANELS - 1) sums.flush(tiles * OUT_T);
    }
    sums.flush(tiles * OUT_T);
}

// x . row r + bias, 64-bit: for the few sums that ran out of range.
double plain_logit(const NormalizerJob& job, int64_t n, int64_t r, std::vector<int32_t>& room) {
    const float* row = reinterpret_cast<const float*>(words_of_row(*job.rows, r, false, room.data()));
    const float* x = job.x + n * job.rows->cols;
    double sum = job.bias ? job.bias[r] : 0.0;
    for (int64_t k = 0; k < job.rows->cols; ++k) sum += static_cast<double>(row[k]) * x[k];
    return sum;
}

double plain_log_sum(const NormalizerJob& job, int64_t n) {
    std::vector<int32_t> room(job.rows->cols);
    double top = -std::numeric_limits<double>::infinity(), sum = 0.0;
    for (int64_t r = 0; r < job.rows->rows; ++r) {
        const double logit = plain_logit(job, n, r, room);
        if (logit > top) {
            sum *= std::exp(top - logit);
            top = logit;
        }
        sum += std::exp(logit - top);
    }
    return top + std::log(sum);
}

void normalize(const NormalizerJob& job, int threads) {
    const int64_t panels = (job.rows->rows + PANEL - 1) / PANEL;
    const int parts = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, panels)));
    const int64_t tokens = tokens_at_a_time(job.int8 ? quads(job.rows->cols) : job.rows->cols);
    for (int64_t first = 0; first < job.count; first += tokens) {
        const int64_t count = std::min(tokens, job.count - first);
        const int64_t padded = (count + OUT_T - 1) / OUT_T * OUT_T;
        const Segment input{job.x, nullptr, job.rows->cols};
        Packed packed;
        if (job.int8) pack_bytes<OUT_T>(&input, 1, first, count, packed);
        else pack_floats<OUT_T>(&input, 1, first, count, packed);
        std::vector<Sums> sums(parts, Sums(padded));
        ThreadPool::shared().run(parts, [&](int part) {
            const int64_t from = panels * part / parts, to = panels * (part + 1) / parts;
            if (job.int8) normalize_part<true>(job, packed, count, from, to, sums[part]);
            else normalize_part<false>(job, packed, count, from, to, sums[part]);
        });
        for (int64_t n = 0; n < count; ++n) {
            double top = sums[0].shift[n], total = 0.0;
            bool in_range = true;
            for (const Sums& part : sums) top = std::max<double>(top, part.shift[n]);
            for (const Sums& part : sums) {
                in_range = in_range && part.total[n] < 1e37 && std::isfinite(part.shift[n]);
                total += part.total[n] * std::exp(part.shift[n] - top);
            }
            job.out[first + n] = in_range ? top + std::log(total) : plain_log_sum(job, first + n);
        }
    }
}

// ---- the LSTM step ----

constexpr int CELL_T = NBEST_CELL_TOKENS, GATES = 4, CELL_PANEL = GATES * W;

inline int64_t panel_numbers(const CellsJob& job) {  // 32-bit words in one panel, all sources
    int64_t sum = 0;
    for (int s = 0; s < job.sources; ++s) sum += job.int8 ? quads(job.rows[s]->cols) : job.rows[s]->cols;
    return sum * CELL_PANEL;
}

// The panel of cells [W block, W block + W): the four gates' rows of each, source after source.
void cell_panel(const CellsJob& job, int64_t block, int32_t* panel, std::vector<int32_t>& room) {
    const int real = static_cast<int>(std::min<int64_t>(W, job.cells - block * W));
    for (int s = 0; s < job.sources; ++s) {
        const Rows& rows = *job.rows[s];
        for (int gate = 0; gate < GATES; ++gate)
            fill_panel(rows, gate * job.cells + block * W, real, W, job.int8, CELL_PANEL, panel + gate * W, room);
        panel += (job.int8 ? quads(rows.cols) : rows.cols) * CELL_PANEL;
    }
}

inline int64_t cell_blocks(const CellsJob& job) { return (job.cells + W - 1) / W; }

size_t panel_bytes(const CellsJob& job) { return cell_blocks(job) * panel_numbers(job) * sizeof(float); }

void prepare_cells(const CellsJob& job, void* panels) {
    std::vector<int32_t> room;
    for (int64_t block = 0; block < cell_blocks(job); ++block)
        cell_panel(job, block, static_cast<int32_t*>(panels) + block * panel_numbers(job), room);
}

// The real numbers of a register's worth from `from`; zeros beyond.
NBEST_INLINE vf load_some(const float* from, int real) {
    if (real == W) return load(from);
    float some[W] = {};
    std::memcpy(some, from, real * sizeof(float));
    return load(some);
}
NBEST_INLINE void store_some(float* to, vf value, int real) {
    if (real == W) return store(to, value);
    float some[W];
    store(some, value);
    std::memcpy(to, some, real * sizeof(float));
}

template <bool INT8>
void step_part(const CellsJob& job, const Packed& packed, int64_t first, int64_t count, int64_t from, int64_t to) {
    const int64_t h = job.cells, size = panel_numbers(job), inputs = size / CELL_PANEL;
    const int64_t tiles = (count + CELL_T - 1) / CELL_T;
    std::vector<int32_t> own(job.panels ? 0 : size), room;
    for (int64_t block = from; block < to; ++block) {
        const int32_t* panel = job.panels ? static_cast<const int32_t*>(job.panels) + block * size : own.data();
        if (!job.panels) cell_panel(job, block, own.data(), room);
        const int64_t cell = block * W;
        const int real = static_cast<int>(std::min<int64_t>(W, h - cell));
        vf scale[GATES], step[CellsJob::MOST][GATES], low[CellsJob::MOST][GATES];
        for (int g = 0; g < GATES; ++g) {
            scale[g] = job.scale ? load_some(job.scale + g * h + cell, real) : all(1.0f);
            for (int s = 0; INT8 && s < job.sources; ++s) {
                step[s][g] = load_some(job.rows[s]->step + g * h + cell, real);
                low[s][g] = load_some(job.rows[s]->low + g * h + cell, real);
            }
        }
        for (int64_t tile = 0; tile < tiles; ++tile) {
            for (int64_t n = first + tile * CELL_T; n < first + std::min(count, (tile + 1) * CELL_T); ++n) {
                const float* added = job.table + job.table_index[n] * GATES * h + cell;
                for (int g = 0; g < GATES; ++g) __builtin_prefetch(added + g * h);
                __builtin_prefetch(job.cell_before + job.cell_index[n] * h + cell);
            }
            vf gates[CELL_T][GATES] = {};
            if constexpr (INT8) {
#if NBEST_VNNI
                // One unit for all of a token's inputs; each source has its own worth of a byte.
                const int32_t* x = packed.bytes.data() + tile * inputs * CELL_T;
                const int32_t* weights = panel;
                for (int s = 0; s < job.sources; ++s) {
                    const int64_t q = quads(job.rows[s]->cols);
                    vi sum[CELL_T][GATES] = {};
                    multiply<CELL_T, GATES>(x, weights, q, sum);
                    each<CELL_T>(NBEST_EACH(t) {
                        const float total = packed.sum[(s * tiles + tile) * CELL_T + t];
                        each<GATES>(NBEST_EACH(g) {
                            gates[t][g] += (floats(sum[t][g]) * step[s][g] + low[s][g] * total) *
                                           packed.scale[tile * CELL_T + t];
                        });
                    });
                    x += q * CELL_T;
                    weights += q * CELL_PANEL;
                }
#endif
            } else {
                const float* x = packed.numbers.data() + tile * inputs * CELL_T;
                multiply<CELL_T, GATES>(x, reinterpret_cast<const float*>(panel), inputs, gates);
            }
            each<CELL_T>(NBEST_EACH(t) {
                const int64_t n = first + tile * CELL_T + t;
                if (tile * CELL_T + t >= count) return;
                const float* added = job.table + job.table_index[n] * GATES * h + cell;
                vf gate[GATES];
                each<GATES>(NBEST_EACH(g) { gate[g] = gates[t][g] * scale[g] + load_some(added + g * h, real); });
                const vf before = load_some(job.cell_before + job.cell_index[n] * h + cell, real);
                const vf after = sigmoid(gate[1]) * before + sigmoid_tanh(gate[0], gate[2]);
                store_some(job.cell + n * h + cell, after, real);
                store_some(job.hidden + n * h + cell, sigmoid_tanh(gate[3], after), real);
            });
        }
    }
}

void step(const CellsJob& job, int threads) {
    Segment segments[CellsJob::MOST];
    for (int s = 0; s < job.sources; ++s) segments[s] = {job.inputs[s], job.index[s], job.rows[s]->cols};
    const int64_t blocks = cell_blocks(job);
    const int parts = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, blocks)));
    const int64_t tokens = tokens_at_a_time(panel_numbers(job) / CELL_PANEL);
    for (int64_t first = 0; first < job.count; first += tokens) {
        const int64_t count = std::min(tokens, job.count - first);
        Packed packed;
        if (job.int8) pack_bytes<CELL_T>(segments, job.sources, first, count, packed);
        else pack_floats<CELL_T>(segments, job.sources, first, count, packed);
        ThreadPool::shared().run(parts, [&](int part) {
            const int64_t from = blocks * part / parts, to = blocks * (part + 1) / parts;
            if (job.int8) step_part<true>(job, packed, first, count, from, to);
            else step_part<false>(job, packed, first, count, from, to);
        });
    }
}

// ---- chosen products ----

void pairs(const Rows& rows, const float* bias, const float* x, const int64_t* positions, const int64_t* ids,
           int64_t count, float* out) {
    std::vector<int32_t> room(rows.cols);
    for (int64_t p = 0; p < count; ++p) {
        const float* input = x + positions[p] * rows.cols;
        const float* row = reinterpret_cast<const float*>(words_of_row(rows, ids[p], false, room.data()));
        vf sums[4] = {};
        int64_t k = 0;
        for (; k + 4 * W <= rows.cols; k += 4 * W)
            for (int i = 0; i < 4; ++i) sums[i] += load(input + k + i * W) * load(row + k + i * W);
        double total = bias ? bias[ids[p]] : 0.0;
        for (; k < rows.cols; ++k) total += static_cast<double>(input[k]) * row[k];
        const vf sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        for (int w = 0; w < W; ++w) total += sum[w];
        out[p] = static_cast<float>(total);
    }
}

}  // namespace NBEST_ISA

const Kernels& NBEST_GETTER() {
    static const Kernels kernels{NBEST_ISA_NAME,         NBEST_VNNI != 0,        NBEST_ISA::normalize,
                                 NBEST_ISA::step,        NBEST_ISA::panel_bytes, NBEST_ISA::prepare_cells,
                                 NBEST_ISA::pairs};
    return kernels;
}

}  // namespace nbest
