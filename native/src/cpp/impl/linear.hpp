// All products of inputs with all rows of a matrix, written out: for the small matrices around the large ones.
// Rows are read as they lie, without panels, so that a few inputs cost no more than their share.

constexpr int LINEAR_T = NBEST_CELL_TOKENS, LINEAR_R = 4;
constexpr int64_t LINEAR_BLOCK = 1 << 17;  // bytes of rows that stay in cache while all inputs pass

// Tile of inputs by rows; `real` of the inputs and `rows` of the rows are there, others repeat the last.
inline void linear_tile(const LinearJob& job, const float* const* row, int64_t first_row, int rows, int64_t n, int real) {
    const int64_t cols = job.rows->cols;
    const float* x[LINEAR_T];
    for (int t = 0; t < LINEAR_T; ++t) x[t] = job.x + (n + std::min(t, real - 1)) * cols;
    vf sum[LINEAR_T][LINEAR_R] = {};
    const auto add = NBEST_EACH(value) {
        vf weights[LINEAR_R];
        each<LINEAR_R>(NBEST_EACH(r) { weights[r] = value(row[r]); });
        each<LINEAR_T>(NBEST_EACH(t) {
            const vf input = value(x[t]);
            each<LINEAR_R>(NBEST_EACH(r) { sum[t][r] += input * weights[r]; });
        });
    };
    int64_t k = 0;
    for (; k + W <= cols; k += W) add([k](const float* from) __attribute__((always_inline)) { return load(from + k); });
    if (const int rest = static_cast<int>(cols - k))
        add([k, rest](const float* from) __attribute__((always_inline)) { return load_some(from + k, rest); });
    each<LINEAR_T>(NBEST_EACH(t) {
        if (t >= real) return;
        float* out = job.out + (n + t) * job.rows->rows + first_row;
        each<LINEAR_R>(NBEST_EACH(r) {
            if (r >= rows) return;
            const float product = sum_of(sum[t][r]) * (job.scale ? job.scale[first_row + r] : 1.0f);
            out[r] = product + (job.bias ? job.bias[first_row + r] : 0.0f);
        });
    });
}

void linear_rows(const LinearJob& job, int64_t from, int64_t to) {
    const int64_t cols = job.rows->cols;
    const int64_t block = std::max<int64_t>(LINEAR_R, LINEAR_BLOCK / (4 * cols) / LINEAR_R * LINEAR_R);
    std::vector<int32_t> room(job.rows->kind == Rows::FLOAT32 ? 0 : std::min(block, to - from) * cols);
    std::vector<const float*> row(block + LINEAR_R);
    for (int64_t first = from; first < to; first += block) {
        const int64_t count = std::min(block, to - first);
        for (int64_t r = 0; r < count; ++r) {
            int32_t* own = room.empty() ? nullptr : room.data() + r * cols;
            row[r] = reinterpret_cast<const float*>(words_of_row(*job.rows, first + r, Word::FLOAT, own));
        }
        for (int64_t r = count; r < count + LINEAR_R; ++r) row[r] = row[count - 1];
        for (int64_t n = 0; n < job.count; n += LINEAR_T) {
            const int real = static_cast<int>(std::min<int64_t>(LINEAR_T, job.count - n));
            for (int64_t r = 0; r < count; r += LINEAR_R)
                linear_tile(job, row.data() + r, first + r, static_cast<int>(std::min<int64_t>(LINEAR_R, count - r)), n, real);
        }
    }
}

void linear(const LinearJob& job, int threads) {
    constexpr int64_t LINE = 16;  // floats: two threads share no cache line of an output whose rows are whole ones
    const int64_t lines = (job.rows->rows + LINE - 1) / LINE;
    const int parts = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, lines)));
    ThreadPool::shared().run(parts, [&](int part) {
        linear_rows(job, lines * part / parts * LINE, std::min(job.rows->rows, lines * (part + 1) / parts * LINE));
    });
}
