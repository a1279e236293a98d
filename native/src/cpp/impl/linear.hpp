// All products of inputs with all rows of a matrix, written out: for the small matrices around the large ones.

constexpr int LINEAR_T = NBEST_CELL_TOKENS, LINEAR_R = 4;

// Of 16-bit numbers: by panels, which are laid out once.
constexpr int LINEAR_PANEL = LINEAR_R * W;

inline int64_t linear_panels(const LinearJob& job) { return (job.rows->rows + LINEAR_PANEL - 1) / LINEAR_PANEL; }

inline int64_t linear_panel_words(const LinearJob& job) { return words_of(job.rows->cols, Word::SHORTS) * LINEAR_PANEL; }

size_t linear_bytes(const LinearJob& job) { return linear_panels(job) * linear_panel_words(job) * sizeof(int32_t); }

void prepare_linear(const LinearJob& job, void* panels) {
    std::vector<int32_t> room;
    for (int64_t p = 0; p < linear_panels(job); ++p) {
        const int real = static_cast<int>(std::min<int64_t>(LINEAR_PANEL, job.rows->rows - p * LINEAR_PANEL));
        fill_panel(*job.rows, p * LINEAR_PANEL, real, LINEAR_PANEL, Word::SHORTS, LINEAR_PANEL,
                   static_cast<int32_t*>(panels) + p * linear_panel_words(job), room);
    }
}

#if NBEST_VNNI
// Tokens `first` to `first` + `count`, which are packed; panels `from` to `to`.
inline void linear_whole(const LinearJob& job, const Packed& packed, int64_t first, int64_t count, int64_t from, int64_t to) {
    const Rows& rows = *job.rows;
    const int64_t words = words_of(rows.cols, Word::SHORTS);
    for (int64_t p = from; p < to; ++p) {
        const int32_t* panel = static_cast<const int32_t*>(job.panels) + p * linear_panel_words(job);
        // Product r of a token is (sum worth[r] + the token's total offset[r]) unit + added[r].
        vf worth[LINEAR_R], offset[LINEAR_R], added[LINEAR_R];
        int real[LINEAR_R];
        for (int c = 0; c < LINEAR_R; ++c) {
            const int64_t r = p * LINEAR_PANEL + c * W;
            real[c] = static_cast<int>(std::clamp<int64_t>(rows.rows - r, 0, W));
            const vf scale = job.scale ? load_some(job.scale + r, real[c]) : all(1.0f);
            worth[c] = scale * (rows.one_worth ? all(rows.step[0]) : load_some(rows.step + r, real[c]));
            offset[c] = scale * (rows.one_worth ? all(rows.low[0]) : load_some(rows.low + r, real[c]));
            added[c] = job.bias ? load_some(job.bias + r, real[c]) : vf{};
        }
        for (int64_t tile = 0; tile * LINEAR_T < count; ++tile) {
            vi sum[LINEAR_T][LINEAR_R] = {};
            multiply<Word::SHORTS, LINEAR_T, LINEAR_R>(packed.whole.data() + tile * words * LINEAR_T, panel, words, sum);
            each<LINEAR_T>(NBEST_EACH(t) {
                const int64_t n = tile * LINEAR_T + t;
                if (n >= count) return;
                const float unit = packed.scale[n], total = packed.sum[n];
                float* out = job.out + (first + n) * rows.rows + p * LINEAR_PANEL;
                each<LINEAR_R>(NBEST_EACH(c) {
                    if (real[c]) store_some(out + c * W, (floats(sum[t][c]) * worth[c] + total * offset[c]) * unit + added[c], real[c]);
                });
            });
        }
    }
}
#endif

// Of floats: rows are read as they lie, so that a few inputs cost no more than their share.
constexpr int64_t LINEAR_BLOCK = 1 << 17;  // bytes of rows that stay in cache while all inputs pass

inline void linear_tile(const float* const* x, const float* const* row, int64_t cols, float (&sums)[LINEAR_T][LINEAR_R]) {
    vf sum[LINEAR_T][LINEAR_R] = {};
    const auto add = [&](int64_t k, int real) __attribute__((always_inline)) {
        vf weights[LINEAR_R];
        each<LINEAR_R>(NBEST_EACH(r) { weights[r] = load_some(row[r] + k, real); });
        each<LINEAR_T>(NBEST_EACH(t) {
            const vf input = load_some(x[t] + k, real);
            each<LINEAR_R>(NBEST_EACH(r) { sum[t][r] += input * weights[r]; });
        });
    };
    int64_t k = 0;
    for (; k + W <= cols; k += W) add(k, W);
    if (const int rest = static_cast<int>(cols - k)) add(k, rest);
    each<LINEAR_T>(NBEST_EACH(t) { four_sums(sum[t], sums[t]); });
}

inline void linear_floats(const LinearJob& job, int64_t from, int64_t to) {
    const Rows& rows = *job.rows;
    const int64_t block = std::max<int64_t>(LINEAR_R, LINEAR_BLOCK / (4 * rows.cols) / LINEAR_R * LINEAR_R);
    std::vector<int32_t> room(rows.kind == Rows::FLOAT32 ? 0 : std::min(block, to - from) * rows.cols);
    std::vector<const float*> row(block + LINEAR_R);
    for (int64_t first = from; first < to; first += block) {
        const int64_t count = std::min(block, to - first);
        for (int64_t r = 0; r < count; ++r)
            row[r] = reinterpret_cast<const float*>(
                words_of_row(rows, first + r, Word::FLOAT, room.empty() ? nullptr : room.data() + r * rows.cols));
        for (int64_t r = count; r < count + LINEAR_R; ++r) row[r] = row[count - 1];
        for (int64_t n = 0; n < job.count; n += LINEAR_T) {
            const int64_t tokens = std::min<int64_t>(LINEAR_T, job.count - n);
            const float* x[LINEAR_T];
            for (int t = 0; t < LINEAR_T; ++t) x[t] = job.x + (n + std::min<int64_t>(t, tokens - 1)) * rows.cols;
            for (int64_t r = 0; r < count; r += LINEAR_R) {
                float sums[LINEAR_T][LINEAR_R];
                linear_tile(x, row.data() + r, rows.cols, sums);
                for (int64_t t = 0; t < tokens; ++t)
                    for (int64_t at = first + r; at < first + std::min(count, r + LINEAR_R); ++at)
                        job.out[(n + t) * rows.rows + at] =
                            sums[t][at - first - r] * (job.scale ? job.scale[at] : 1.0f) + (job.bias ? job.bias[at] : 0.0f);
            }
        }
    }
}

// Tokens `first` to `end`.
void linear_tokens(const LinearJob& job, int64_t first, int64_t end, int threads) {
#if NBEST_VNNI
    const Segment input{job.x, nullptr, job.rows->cols};
    const int64_t tokens = tokens_at_a_time(words_of(job.rows->cols, Word::SHORTS));
    for (; first < end; first += tokens) {
        const int64_t count = std::min(tokens, end - first);
        Packed packed;
        pack_whole<int16_t, LINEAR_T>(&input, 1, first, count, job.most, packed);
        share_units(linear_panels(job), threads,
                    [&](int64_t from, int64_t to) { linear_whole(job, packed, first, count, from, to); });
    }
#endif
}

void linear(const LinearJob& job, int threads) {
    if (!job.most) {
        constexpr int64_t LINE = 16;  // floats: two threads share no cache line of an output whose rows are whole ones
        return share_units((job.rows->rows + LINE - 1) / LINE, threads, [&](int64_t from, int64_t to) {
            linear_floats(job, from * LINE, std::min(job.rows->rows, to * LINE));
        });
    }
    share_inputs(job.count, threads, [&](int64_t first, int64_t end, int own) { linear_tokens(job, first, end, own); });
}
