// Logits of a slim matrix, by partial products: each sub-vector times its part of the inputs, once; then `parts` of
// those added up for each word (Li et al., "Slim Embedding Layers", Algorithm 1).
//
// Tokens lie side by side in registers, J of them: adding up a word is `parts` loads for J * W tokens. A table of
// partial products is as wide as lets it stay in the cache.

constexpr size_t SLIM_NEAR_BYTES = 1 << 20;     // a table up to here may be wider: half of a 2 MiB L2
constexpr size_t SLIM_TABLE_BYTES = 64 << 20;  // of a thread's tables; a matrix that needs more is read row by row
constexpr int SLIM_BLOCK = 64;                 // words whose exps are summed in 32 bits

// Room that starts at a page; of large pages, where it is large, for a table is read here and there.
class Room {
   public:
    explicit Room(size_t bytes) {
        constexpr size_t LARGE = 2 << 20;
        const size_t alignment = bytes >= LARGE / 8 ? LARGE : 4096;
        data_ = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
        if (!data_) throw std::bad_alloc();
#ifdef __linux__
        if (alignment == LARGE) madvise(data_, (bytes + alignment - 1) / alignment * alignment, MADV_HUGEPAGE);
#endif
    }
    ~Room() { std::free(data_); }
    Room(const Room&) = delete;
    Room& operator=(const Room&) = delete;
    float* floats() { return static_cast<float*>(data_); }

   private:
    void* data_;
};

inline size_t slim_table_bytes(const Rows& rows, int j) { return rows.parts * rows.values * j * W * sizeof(float); }

// Whether adding up parts is less work than products with whole rows. In loads of W floats a word: a product is
// one half of one, a part about three (it comes from the second cache).
inline bool worth_parts(const Rows& rows) {
    const double products = static_cast<double>(rows.cols) * rows.values / rows.rows;
    return products + 6.0 * rows.parts < rows.cols && slim_table_bytes(rows, 1) <= SLIM_TABLE_BYTES;
}

// R sub-vectors times a part of the inputs of C * W tokens; those of J * W tokens go to one table.
template <int J, int C, int R>
NBEST_INLINE void some_partial_products(const float* vectors, int64_t width, const float* x, float* table, int64_t next) {
    vf sum[R][C] = {};
    for (int64_t k = 0; k < width; ++k) {
        vf input[C];
        each<C>(NBEST_EACH(c) { input[c] = load(x + (k * C + c) * W); });
        each<R>(NBEST_EACH(r) {
            const vf value = all(vectors[r * width + k]);
            each<C>(NBEST_EACH(c) { sum[r][c] += value * input[c]; });
        });
    }
    each<R>(NBEST_EACH(r) {
        each<C>(NBEST_EACH(c) { store(table + c / J * next + (r * J + c % J) * W, sum[r][c]); });
    });
}

// tables[token / (J * W)][part][code][token % (J * W)]
template <int J, int C>
void partial_products(const Rows& rows, const float* x, float* table) {
    constexpr int R = W == 16 ? (C == 4 ? 6 : 8) : 8 / C;
    const int64_t width = rows.cols / rows.parts, next = rows.parts * rows.values * J * W;
    const float* vectors = rows.vectors;
    for (int64_t p = 0; p < rows.parts; ++p, x += width * C * W) {
        int64_t v = 0;
        for (; v + R <= rows.values; v += R, vectors += R * width, table += R * J * W)
            some_partial_products<J, C, R>(vectors, width, x, table, next);
        for (; v < rows.values; ++v, vectors += width, table += J * W)
            some_partial_products<J, C, 1>(vectors, width, x, table, next);
    }
}

// with(word, logits of J * W tokens) for words [from, to).
template <int J, class Code, class F>
NBEST_INLINE void each_word(const Rows& rows, const float* bias, const float* table, int64_t from, int64_t to, F with) {
    const auto* codes = static_cast<const Code*>(rows.data) + from * rows.parts;
    const int64_t step = rows.values * J * W;
    for (int64_t word = from; word < to; ++word, codes += rows.parts) {
        vf logits[J];
        each<J>(NBEST_EACH(j) { logits[j] = all(bias ? bias[word] : 0.0f); });
        const float* part = table;
        for (int64_t p = 0; p < rows.parts; ++p, part += step) {
            const float* at = part + static_cast<int64_t>(codes[p]) * (J * W);
            each<J>(NBEST_EACH(j) { logits[j] += load(at + j * W); });
        }
        with(word, logits);
    }
}

// Tokens [first, first + count) of a job: their sums of exp(logit - shift).
template <int J, class Code>
void slim_sums(const NormalizerJob& job, const float* table, int64_t first, int64_t count, Sums& sums) {
    const Rows& rows = *job.rows;
    vf shift[J];  // any logit will do, a large one is safer
    each<J>(NBEST_EACH(j) { shift[j] = all(NOT_A_WORD); });
    each_word<J, Code>(rows, job.bias, table, 0, std::min<int64_t>(SLIM_BLOCK, rows.rows), [&](int64_t, vf (&logits)[J])
                       __attribute__((always_inline)) {
        each<J>(NBEST_EACH(j) { shift[j] = logits[j] > shift[j] ? logits[j] : shift[j]; });
    });
    double total[J * W] = {};
    for (int64_t from = 0; from < rows.rows; from += SLIM_BLOCK) {
        vf sum[J] = {};
        each_word<J, Code>(rows, job.bias, table, from, std::min<int64_t>(from + SLIM_BLOCK, rows.rows),
                           [&](int64_t, vf (&logits)[J]) __attribute__((always_inline)) {
            each<J>(NBEST_EACH(j) { sum[j] += exp_of(logits[j] - shift[j]); });
        });
        each<J>(NBEST_EACH(j) { for (int w = 0; w < W; ++w) total[j * W + w] += sum[j][w]; });
    }
    float shifts[J * W];
    each<J>(NBEST_EACH(j) { store(shifts + j * W, shift[j]); });
    std::copy(shifts, shifts + count, sums.shift.begin() + first);
    std::copy(total, total + count, sums.total.begin() + first);
}

template <int J, class Code>
void slim_logits_of(const LogitsJob& job, const float* table, int64_t first, int64_t count) {
    each_word<J, Code>(*job.rows, job.bias, table, 0, job.rows->rows, [&](int64_t word, vf (&logits)[J])
                       __attribute__((always_inline)) {
        float* out = job.out + word * job.count + first;
        if (count == J * W) {
            each<J>(NBEST_EACH(j) { store(out + j * W, logits[j]); });
        } else {
            float some[J * W];
            each<J>(NBEST_EACH(j) { store(some + j * W, logits[j]); });
            std::memcpy(out, some, count * sizeof(float));
        }
    });
}

template <int J, int C, class Job, class F>
void slim_tiles(const Job& job, int threads, F finish_table) {
    constexpr int64_t TOKENS = C * W, SHARE = J * W;
    const Rows& rows = *job.rows;
    const int64_t tiles = (job.count + TOKENS - 1) / TOKENS;
    const int parts = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, tiles)));
    ThreadPool::shared().run(parts, parts, [&](int part) {
        Room x(rows.cols * TOKENS * sizeof(float)), tables(slim_table_bytes(rows, C));
        std::vector<int32_t> room;
        Rows inputs{};  // (N, K)
        inputs.kind = Rows::FLOAT32;
        inputs.data = job.x;
        inputs.cols = rows.cols;
        inputs.stride = rows.cols * sizeof(float);
        for (int64_t tile = tiles * part / parts; tile < tiles * (part + 1) / parts; ++tile) {
            const int64_t first = tile * TOKENS, count = std::min(TOKENS, job.count - first);
            fill_panel(inputs, first, static_cast<int>(count), TOKENS, Word::FLOAT, TOKENS, reinterpret_cast<int32_t*>(x.floats()), room);
            partial_products<J, C>(rows, x.floats(), tables.floats());
            for (int64_t t = 0; t < count; t += SHARE)
                finish_table(tables.floats() + t * rows.parts * rows.values, first + t, std::min(SHARE, count - t));
        }
    });
}

// with(J, C, kind of code) as constants: no wider than the tokens that each thread gets; J no wider than the near
// cache allows, C the same, but two where there is room: products of one register of tokens wait for their weights.
template <class F>
void with_slim_kind(const Rows& rows, int64_t count, int threads, F with) {
    int c = 4;
    while (c > 1 && (c / 2) * W * threads >= count) c /= 2;
    int j = c;
    while (j > 1 && slim_table_bytes(rows, j) > SLIM_NEAR_BYTES) j /= 2;
    c = j > 1 ? j : slim_table_bytes(rows, 2) > SLIM_TABLE_BYTES ? 1 : std::min(c, 2);
    const auto of = [&](auto j, auto c) {
        if (rows.code_bytes == 2) with(j, c, uint16_t{});
        else with(j, c, int32_t{});
    };
    constexpr std::integral_constant<int, 1> one;
    constexpr std::integral_constant<int, 2> two;
    constexpr std::integral_constant<int, 4> four;
    if (j == 1) c == 1 ? of(one, one) : of(one, two);
    if (j == 2) of(two, two);
    if (j == 4) of(four, four);
}

void slim_logits(const LogitsJob& job, int threads) {
    with_slim_kind(*job.rows, job.count, threads, [&](auto j, auto c, auto code) {
        slim_tiles<j, c>(job, threads, [&](const float* table, int64_t first, int64_t count) {
            slim_logits_of<j, decltype(code)>(job, table, first, count);
        });
    });
}

void normalize_any(const NormalizerJob& job, int threads) {
    if (job.rows->kind != Rows::SLIM || !worth_parts(*job.rows)) return normalize(job, threads);
    std::vector<Sums> sums(1, Sums(job.count));
    with_slim_kind(*job.rows, job.count, threads, [&](auto j, auto c, auto code) {
        slim_tiles<j, c>(job, threads, [&](const float* table, int64_t first, int64_t count) {
            slim_sums<j, decltype(code)>(job, table, first, count, sums[0]);
        });
    });
    finish(job, 0, job.count, sums, threads);
}
