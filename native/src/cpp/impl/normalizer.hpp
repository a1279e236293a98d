// The normaliser: logits of a tile, their exp, and the sum.
//
// Integer products are a sieve: whatever has more than a small share of the sum is computed again in floats.

constexpr int OUT_SUMS = 2 * NBEST_OUTPUT_TOKENS;  // registers of sums in a tile
constexpr int BYTE_MOST = 127;                   // of an input of 8 bits
constexpr float LOW_BYTE = 127.5f;                // of a row, in the mean
constexpr float NOT_A_WORD = -1e30f;             // logit of the lanes beyond the last row
// Rows that are summed before any is called large.
constexpr float blind_rows(Products kind) { return kind == Products::INT8 ? 400.0f : 120.0f; }

struct Candidate {
    int32_t token, row;
    float value;  // exp(logit - shift), in the sum
};

// What a thread knows of each token: exp(logit - shift) summed over its rows.
struct alignas(128) Sums {  // no cache line is shared by two threads
    static constexpr int64_t PANELS = 16;  // added up in floats, lane by lane, before they are added to the total
    std::vector<float> shift;    // (N)
    std::vector<float> lanes;    // (N, W) not in the total yet
    std::vector<double> total;   // (N)
    std::vector<float> limit;    // (N) what is larger is computed again
    std::vector<float> fine;     // (N) logits above need the low bytes of their rows
    std::vector<Candidate> large;
    explicit Sums(int64_t n) : shift(n, 0.0f), lanes(n * W, 0.0f), total(n, 0.0), limit(n, 0.0f), fine(n, -std::numeric_limits<float>::infinity()) {}
    void add_up(float share, float coarse) {
        for (size_t n = 0; n < total.size(); ++n) {
            total[n] += sum_of(load(lanes.data() + n * W));
            store(lanes.data() + n * W, vf{});
            limit[n] = share * static_cast<float>(total[n]);
            if (coarse > 0.0f) fine[n] = shift[n] + std::log(coarse * static_cast<float>(total[n]));
        }
    }
};

template <int C>
struct Panel {
    std::vector<int32_t> numbers, low_numbers, room;
    float step[C * W], low[C * W], bias[C * W];
};

template <Products KIND, int C>
void make_panel(const NormalizerJob& job, int64_t p, Panel<C>& panel) {
    constexpr int PANEL = C * W;
    const Rows& rows = *job.rows;
    const int real = static_cast<int>(std::min<int64_t>(PANEL, rows.rows - p * PANEL));
    constexpr bool bytes = KIND != Products::FLOAT;
    fill_panel(rows, p * PANEL, real, PANEL, bytes ? Word::BYTES : Word::FLOAT, PANEL, panel.numbers.data(), panel.room);
    if (KIND == Products::TWO_BYTES && job.low)
        fill_panel(*job.low, p * PANEL, real, PANEL, Word::BYTES, PANEL, panel.low_numbers.data(), panel.room);
    for (int lane = 0; lane < PANEL; ++lane) {
        const bool word = lane < real;
        const int64_t r = p * PANEL + lane;
        panel.bias[lane] = !word ? NOT_A_WORD : job.bias ? job.bias[r] : 0.0f;
        panel.step[lane] = bytes && word ? rows.step_of(r) : 0.0f;
        panel.low[lane] = bytes && word ? rows.low_of(r) : 0.0f;
    }
}

// Logits of a tile; `fine` (N): where all rows of two bytes are below, the means stand for their low bytes.
template <Products KIND, int T, int C>
NBEST_INLINE void tile_logits(const NormalizerJob& job, const Packed& packed, int64_t tile, const Panel<C>& panel,
                              const float* fine, vf (&logits)[T][C]) {
    const int64_t cols = job.rows->cols;
    if constexpr (KIND == Products::FLOAT) {
        vf sum[T][C] = {};
        multiply<T, C>(packed.numbers.data() + tile * cols * T, reinterpret_cast<const float*>(panel.numbers.data()),
                           cols, sum);
        each<T>(NBEST_EACH(t) {
            each<C>(NBEST_EACH(c) { logits[t][c] = sum[t][c] + load(panel.bias + c * W); });
        });
    }
#if NBEST_VNNI
    const int64_t q = quads(cols);
    // What stands for a row's sum of products, in its steps: times the token's unit it is the logit.
    const auto set = [&](auto t, auto c, vf sum) __attribute__((always_inline)) {
        const float unit = packed.scale[tile * T + t], of_inputs = packed.sum[tile * T + t];
        logits[t][c] = (sum * load(panel.step + c * W) + load(panel.low + c * W) * of_inputs) * unit +
                       load(panel.bias + c * W);
    };
    if constexpr (KIND == Products::INT8) {
        vi sum[T][C] = {};
        multiply<Word::BYTES, T, C>(packed.whole.data() + tile * q * T, panel.numbers.data(), q, sum);
        each<T>(NBEST_EACH(t) { each<C>(NBEST_EACH(c) { set(t, c, floats(sum[t][c])); }); });
    }
    if constexpr (KIND == Products::TWO_BYTES) {
        vi high[T][C] = {}, mixed[T][C] = {};
        const int32_t *x = packed.whole.data() + tile * q * T, *x_low = packed.low_bytes.data() + tile * q * T;
        multiply_both<T, C>(x, x_low, panel.numbers.data(), q, high, mixed);
        if (!job.low) {
            each<T>(NBEST_EACH(t) {
                each<C>(NBEST_EACH(c) { set(t, c, floats(high[t][c]) * 256.0f + floats(mixed[t][c])); });
            });
            return;
        }
        // A row's number is 256 byte + low byte. The product of low bytes with low bytes is always left out: its
        // mean is known, and the rest is below the rounding of the numbers.
        const auto set_all = [&](const float* inputs) __attribute__((always_inline)) {
            each<T>(NBEST_EACH(t) {
                const float left_out = LOW_BYTE * inputs[tile * T + t];
                each<C>(NBEST_EACH(c) {
                    set(t, c, (floats(high[t][c]) * 256.0f + floats(mixed[t][c])) * 256.0f + left_out);
                });
            });
        };
        set_all(packed.sum.data());
        vi needed = {};
        each<T>(NBEST_EACH(t) {
            const vf above = all(fine[tile * T + t]);
            each<C>(NBEST_EACH(c) { needed |= logits[t][c] > above; });
        });
        if (any(needed)) {
            multiply<Word::BYTES, T, C>(x, panel.low_numbers.data(), q, mixed);
            set_all(packed.low_sum.data());
        }
    }
#endif
}

// exp(logit - shift), as exactly as the logits are.
template <Products KIND>
NBEST_INLINE vf term(vf logit, float shift) {
#if NBEST_VNNI
    if constexpr (KIND == Products::INT8) return rough_power_of_two(logit * LOG2_E - shift * LOG2_E);
#endif
    return exp_of(logit - shift);
}

template <Products KIND, int T, int C>
void normalize_part(const NormalizerJob& job, const Packed& packed, int64_t count, int64_t panels, int part, int parts,
                    Sums& sums) {
    // Every `parts`-th panel: the first ones are of frequent words, and without them nothing is small beside the sum.
    const int64_t own_panels = (panels - part + parts - 1) / parts;
    constexpr int PANEL = C * W;
    const int64_t tiles = (count + T - 1) / T, words = KIND == Products::FLOAT ? job.rows->cols : quads(job.rows->cols);
    Panel<C> panel;
    panel.numbers.resize(words * PANEL);
    panel.low_numbers.resize(job.low ? words * PANEL : 0);
    // What is large shows once there is a sum to compare with: the first panels are gone through again for it.
    constexpr bool SIEVE = KIND != Products::FLOAT;
    const int64_t blind = std::min<int64_t>(SIEVE ? std::ceil(blind_rows(KIND) / PANEL) : 0, own_panels);
    for (int64_t turn = 0; turn < own_panels + blind; ++turn) {
        const bool second = turn >= own_panels, looks = SIEVE && turn >= blind;
        const int64_t p = part + parts * (second ? turn - own_panels : turn);
        make_panel<KIND, C>(job, p, panel);
        for (int64_t tile = 0; tile < tiles; ++tile) {
            vf logits[T][C];
            tile_logits<KIND, T, C>(job, packed, tile, panel, sums.fine.data(), logits);
            if (turn == 0) {  // any logit will do for a shift, a large one is safer
                each<T>(NBEST_EACH(t) {
                    float lanes[PANEL];
                    each<C>(NBEST_EACH(c) { store(lanes + c * W, logits[t][c]); });
                    sums.shift[tile * T + t] = *std::max_element(lanes, lanes + PANEL);
                });
            }
            each<T>(NBEST_EACH(t) {
                const int64_t n = tile * T + t;
                const float shift = sums.shift[n];
                vf sum = {};
                each<C>(NBEST_EACH(c) { sum += logits[t][c] = term<KIND>(logits[t][c], shift); });
                if (!second) store(sums.lanes.data() + n * W, load(sums.lanes.data() + n * W) + sum);
                if (!looks) return;
                const vf limit = all(sums.limit[n]);
                vi large = {};
                each<C>(NBEST_EACH(c) { large |= logits[t][c] > limit; });
                if (__builtin_expect(any(large), 0) && n < count) {
                    float lanes[PANEL];
                    each<C>(NBEST_EACH(c) { store(lanes + c * W, logits[t][c]); });
                    for (uint64_t set = lanes_above<C>(logits[t], limit); set; set &= set - 1) {
                        const int lane = __builtin_ctzll(set);
                        sums.large.push_back(
                            {static_cast<int32_t>(n), static_cast<int32_t>(p * PANEL + lane), lanes[lane]});
                    }
                }
            });
        }
        const int64_t done = turn + 1;
        if (!second && (done % Sums::PANELS == 0 || done == blind || done == own_panels)) sums.add_up(job.again, job.coarse);
    }
}

// The logarithm of one token's sum in floats alone.
double plain_log_sum(const NormalizerJob& job, int64_t n) {
    const Rows& rows = job.exact ? *job.exact : *job.rows;
    std::vector<int64_t> ids(rows.rows);
    std::iota(ids.begin(), ids.end(), 0);
    std::vector<float> logits(rows.rows);
    pairs(rows, job.exact_bias, job.exact_x, std::vector<int64_t>(rows.rows, n).data(), ids.data(), rows.rows, logits.data());
    const double top = *std::max_element(logits.begin(), logits.end());
    double sum = 0.0;
    for (const float logit : logits) sum += std::exp(logit - top);
    return top + std::log(sum);
}

// The sums of all parts: exp(logit - top) summed over all rows, and what exp(logit - shift) of a part is worth there.
struct Total {
    std::vector<double> top, sum;
    std::vector<std::vector<double>> worth;  // (parts, N)
    Total(const std::vector<Sums>& parts, int64_t count) : top(count), sum(count, 0.0), worth(parts.size()) {
        for (int64_t n = 0; n < count; ++n) {
            top[n] = parts[0].shift[n];
            for (const Sums& part : parts) top[n] = std::max<double>(top[n], part.shift[n]);
        }
        for (size_t part = 0; part < parts.size(); ++part) {
            worth[part].resize(count);
            for (int64_t n = 0; n < count; ++n) {
                const float shift = parts[part].shift[n];
                const bool in_range = parts[part].total[n] < 1e37 && std::isfinite(shift);
                worth[part][n] = in_range ? std::exp(shift - top[n]) : std::nan("");
                sum[n] += parts[part].total[n] * worth[part][n];
            }
        }
    }
};

// What is to be computed again, one token's after another's, so that its inputs stay in cache. A value is
// exp(logit - top); those of token n lie from first[n] to first[n + 1].
struct Again {
    std::vector<int64_t> first, tokens, rows;
    std::vector<float> values;
    Again(float share, const std::vector<Sums>& parts, const Total& total) : first(total.sum.size() + 2, 0) {
        std::vector<Candidate> mixed;
        for (size_t part = 0; part < parts.size(); ++part)
            for (const Candidate& one : parts[part].large) {
                const double value = one.value * total.worth[part][one.token];
                if (!(value > share * total.sum[one.token])) continue;
                mixed.push_back({one.token, one.row, static_cast<float>(value)});
                ++first[one.token + 2];
            }
        for (size_t n = 2; n < first.size(); ++n) first[n] += first[n - 1];
        tokens.resize(mixed.size()), rows.resize(mixed.size()), values.resize(mixed.size());
        for (const Candidate& one : mixed) {
            const int64_t at = first[one.token + 1]++;
            tokens[at] = one.token, rows[at] = one.row, values[at] = one.value;
        }
    }
};

// The parts' sums put together, what is large computed again.
void finish(const NormalizerJob& job, int64_t first, int64_t count, const std::vector<Sums>& parts, int threads) {
    const Total total(parts, count);
    const Again again(job.again, parts, total);
    const Rows& exact = job.exact ? *job.exact : *job.rows;
    ThreadPool::shared().run(threads, threads, [&](int part) {
        const int64_t own = count * part / threads, end = count * (part + 1) / threads, from = again.first[own];
        std::vector<float> logits(again.first[end] - from);
        pairs(exact, job.exact_bias, job.exact_x + first * exact.cols, again.tokens.data() + from,
              again.rows.data() + from, static_cast<int64_t>(logits.size()), logits.data());
        for (int64_t n = own; n < end; ++n) {
            vf more = {};
            for (int64_t i = again.first[n]; i < again.first[n + 1]; i += W) {
                const int real = static_cast<int>(std::min<int64_t>(W, again.first[n + 1] - i));
                vf exact_value = all(NOT_A_WORD);
                std::memcpy(&exact_value, logits.data() + i - from, real * sizeof(float));
                more += exp_of(exact_value - static_cast<float>(total.top[n])) - load_some(again.values.data() + i, real);
            }
            const double sum = total.sum[n] + sum_of(more);
            double& out = job.out[first + n];
            if (!(sum > 0 && std::isfinite(sum))) {  // also nan
                out = plain_log_sum(job, first + n);
                continue;
            }
            out = total.top[n] + std::log(sum);
            if (!job.slopes) continue;
            const int64_t cols = job.rows->cols;
            const float* slopes = job.slopes + (first + n) * (cols + 1);
            out += taken(job.x + (first + n) * cols, slopes, cols, BYTE_MOST) + slopes[cols];
        }
    });
}

// Tokens `first` to `end`; each thread takes every `threads`-th panel.
template <Products KIND, int T, int C>
void normalize_tokens(const NormalizerJob& job, int64_t first, int64_t end, int threads) {
    const int64_t panels = (job.rows->rows + C * W - 1) / (C * W), cols = job.rows->cols;
    const int parts = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, panels)));
    const int64_t tokens = tokens_at_a_time(KIND == Products::FLOAT ? cols : quads(cols) * (KIND == Products::TWO_BYTES ? 2 : 1));
    for (; first < end; first += tokens) {
        const int64_t count = std::min(tokens, end - first);
        const Segment input{job.x, nullptr, cols};
        Packed packed;
        if (KIND == Products::FLOAT) pack_floats<T>(&input, 1, first, count, packed);
        if (KIND == Products::INT8) pack_whole<int8_t, T>(&input, 1, first, count, BYTE_MOST, packed);
        if (KIND == Products::TWO_BYTES) pack_two_bytes<T>(job.x + first * cols, cols, count, packed);
        std::vector<Sums> sums(parts, Sums((count + T - 1) / T * T));
        ThreadPool::shared().run(parts, parts, [&](int part) {
            normalize_part<KIND, T, C>(job, packed, count, panels, part, parts, sums[part]);
        });
        finish(job, first, count, sums, parts);
    }
}

template <Products KIND, int T, int C>
void normalize_as(const NormalizerJob& job, int threads) {
    share_inputs(job.count, threads,
                 [&](int64_t first, int64_t end, int own) { normalize_tokens<KIND, T, C>(job, first, end, own); });
}

void normalize(const NormalizerJob& job, int threads) {
    // Floats: few columns, as a panel of theirs is large. 8 bits: more of them, for fewer sums over lanes.
    if (job.products == Products::FLOAT) normalize_as<Products::FLOAT, OUT_SUMS / 2, 2>(job, threads);
    if (job.products == Products::INT8) normalize_as<Products::INT8, OUT_SUMS / 4, 4>(job, threads);
    if (job.products == Products::TWO_BYTES) normalize_as<Products::TWO_BYTES, OUT_SUMS / 4, 2>(job, threads);  // two sums each
}
