// All products of inputs with all rows of a matrix, written out: for the small matrices around the large ones.
// Rows are read as they lie, without panels, so that a few inputs cost no more than their share.

constexpr int LINEAR_T = NBEST_CELL_TOKENS, LINEAR_R = 4;
constexpr int64_t LINEAR_BLOCK = 1 << 17;  // bytes of rows that stay in cache while all inputs pass

// Inputs by rows of words; product r of token n is (sum worth[r] + total[n] offset[r]) unit[n] + added[r].
struct LinearInputs {
    const int32_t* data;
    int64_t words;                            // in a row
    std::vector<int32_t> own;                 // where 16-bit numbers lie
    std::vector<float> unit, total;           // (N) of 16-bit numbers
    std::vector<float> worth, offset, added;  // (V)
    LinearInputs(const LinearJob& job, Word word) : words(words_of(job.rows->cols, word)) {
        const Rows& rows = *job.rows;
        worth.resize(rows.rows), offset.resize(rows.rows), added.resize(rows.rows);
        for (int64_t r = 0; r < rows.rows; ++r) {
            const float scale = job.scale ? job.scale[r] : 1.0f;
            worth[r] = word == Word::FLOAT ? scale : scale * rows.step_of(r);
            offset[r] = word == Word::FLOAT ? 0.0f : scale * rows.low_of(r);
            added[r] = job.bias ? job.bias[r] : 0.0f;
        }
        unit.assign(job.count, 1.0f), total.assign(job.count, 0.0f);
        data = reinterpret_cast<const int32_t*>(job.x);
        if (word == Word::FLOAT) return;
        own.resize(job.count * words);
        for (int64_t n = 0; n < job.count; ++n) {
            const float* x = job.x + n * rows.cols;
            const Units units(largest_of(x, rows.cols), job.most);
            unit[n] = units.worth;
            total[n] = static_cast<float>(to_whole(x, rows.cols, units.inverse, reinterpret_cast<int16_t*>(own.data() + n * words)));
        }
        data = own.data();
    }
};

// Sums of products of LINEAR_T inputs with LINEAR_R rows.
template <Word WORD>
inline void linear_tile(const int32_t* const* x, const int32_t* const* row, int64_t words, float (&sums)[LINEAR_T][LINEAR_R]) {
    std::conditional_t<WORD == Word::FLOAT, vf, vi> sum[LINEAR_T][LINEAR_R] = {};
    const auto add = NBEST_EACH(value) {
        vf weights[LINEAR_R];
        each<LINEAR_R>(NBEST_EACH(r) { weights[r] = value(row[r]); });
        each<LINEAR_T>(NBEST_EACH(t) {
            const vf input = value(x[t]);
            each<LINEAR_R>(NBEST_EACH(r) {
                if constexpr (WORD == Word::FLOAT) sum[t][r] += input * weights[r];
#if NBEST_VNNI
                else sum[t][r] = (vi)_mm512_dpwssd_epi32((__m512i)sum[t][r], (__m512i)weights[r], (__m512i)input);
#endif
            });
        });
    };
    const auto floats_at = [](const int32_t* words) { return reinterpret_cast<const float*>(words); };
    int64_t k = 0;
    for (; k + W <= words; k += W)
        add([=](const int32_t* from) __attribute__((always_inline)) { return load(floats_at(from + k)); });
    if (const int rest = static_cast<int>(words - k))
        add([=](const int32_t* from) __attribute__((always_inline)) { return load_some(floats_at(from + k), rest); });
    each<LINEAR_T>(NBEST_EACH(t) {
        if constexpr (WORD == Word::FLOAT) four_sums(sum[t], sums[t]);
        else {
            vf each_sum[LINEAR_R];
            each<LINEAR_R>(NBEST_EACH(r) { each_sum[r] = floats(sum[t][r]); });
            four_sums(each_sum, sums[t]);
        }
    });
}

template <Word WORD>
void linear_rows(const LinearJob& job, const LinearInputs& in, int64_t from, int64_t to) {
    const Rows& rows = *job.rows;
    const int64_t room_words = in.words + 1;  // bits come four at a time
    const int64_t block = std::max<int64_t>(LINEAR_R, LINEAR_BLOCK / (4 * in.words) / LINEAR_R * LINEAR_R);
    std::vector<int32_t> room(rows.kind == Rows::FLOAT32 ? 0 : std::min(block, to - from) * room_words);
    std::vector<const int32_t*> row(block + LINEAR_R);
    for (int64_t first = from; first < to; first += block) {
        const int64_t count = std::min(block, to - first);
        for (int64_t r = 0; r < count; ++r)
            row[r] = words_of_row(rows, first + r, WORD, room.empty() ? nullptr : room.data() + r * room_words);
        for (int64_t r = count; r < count + LINEAR_R; ++r) row[r] = row[count - 1];
        for (int64_t n = 0; n < job.count; n += LINEAR_T) {
            const int64_t tokens = std::min<int64_t>(LINEAR_T, job.count - n);
            const int32_t* x[LINEAR_T];
            for (int t = 0; t < LINEAR_T; ++t) x[t] = in.data + (n + std::min<int64_t>(t, tokens - 1)) * in.words;
            for (int64_t r = 0; r < count; r += LINEAR_R) {
                float sums[LINEAR_T][LINEAR_R];
                linear_tile<WORD>(x, row.data() + r, in.words, sums);
                const int64_t real = std::min<int64_t>(LINEAR_R, count - r);
                for (int64_t t = 0; t < tokens; ++t)
                    for (int64_t i = 0, at = first + r; i < real; ++i, ++at)
                        job.out[(n + t) * rows.rows + at] =
                            (sums[t][i] * in.worth[at] + in.total[n + t] * in.offset[at]) * in.unit[n + t] + in.added[at];
            }
        }
    }
}

void linear(const LinearJob& job, int threads) {
    constexpr int64_t LINE = 16;  // floats: two threads share no cache line of an output whose rows are whole ones
    const int64_t lines = (job.rows->rows + LINE - 1) / LINE;
    const int parts = static_cast<int>(threads == 1 ? 1 : std::min<int64_t>(PARTS_A_THREAD * threads, lines));
    const LinearInputs in(job, job.most ? Word::SHORTS : Word::FLOAT);
    ThreadPool::shared().run(threads, parts, [&](int part) {
        const int64_t from = lines * part / parts * LINE, to = std::min(job.rows->rows, lines * (part + 1) / parts * LINE);
        if (job.most) linear_rows<Word::SHORTS>(job, in, from, to);
        else linear_rows<Word::FLOAT>(job, in, from, to);
    });
}
