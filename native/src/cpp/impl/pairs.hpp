// Chosen products: four inputs at a time, each with a row of its own.

constexpr int PAIRS = 4;

// A row at once is too short to hide how long a sum waits for the one before, and too far from the next one.
NBEST_INLINE void dots(const float* const* x, const float* const* row, int64_t count, float* out) {
    vf even[PAIRS] = {}, odd[PAIRS] = {};
    int64_t k = 0;
    for (; k + 2 * W <= count; k += 2 * W)
        each<PAIRS>(NBEST_EACH(i) {
            even[i] += load(x[i] + k) * load(row[i] + k);
            odd[i] += load(x[i] + k + W) * load(row[i] + k + W);
        });
    for (; k < count; k += W) {
        const int real = static_cast<int>(std::min<int64_t>(W, count - k));
        each<PAIRS>(NBEST_EACH(i) { even[i] += load_some(x[i] + k, real) * load_some(row[i] + k, real); });
    }
    each<PAIRS>(NBEST_EACH(i) { even[i] += odd[i]; });
    four_sums(even, out);
}

#if NBEST_W == 16
// Bits need not be unpacked: a row's low times the sum of x, and its step times the sum of those that it chooses.
NBEST_INLINE void dots_of_bits(const Rows& rows, const float* const* x, const int64_t* ids, float* out) {
    // The first bit is the highest of its byte: instead of them, numbers are turned within each eight.
    const __m512i turned = _mm512_set_epi32(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    vf chosen[PAIRS] = {}, sums[PAIRS] = {};
    const uint8_t* row[PAIRS];
    for (int i = 0; i < PAIRS; ++i) row[i] = static_cast<const uint8_t*>(rows.data) + ids[i] * rows.stride;
    const auto add = [&](int i, vf numbers, uint16_t bits) __attribute__((always_inline)) {
        const __m512 some = _mm512_permutexvar_ps(turned, (__m512)numbers);
        sums[i] += (vf)some;
        chosen[i] = (vf)_mm512_mask_add_ps((__m512)chosen[i], bits, (__m512)chosen[i], some);
    };
    int64_t k = 0;
    for (; k + W <= rows.cols; k += W)
        each<PAIRS>(NBEST_EACH(i) {
            uint16_t bits;
            std::memcpy(&bits, row[i] + k / 8, sizeof bits);
            add(i, load(x[i] + k), bits);
        });
    if (const int real = static_cast<int>(rows.cols - k))
        each<PAIRS>(NBEST_EACH(i) {
            uint16_t bits = 0;
            std::memcpy(&bits, row[i] + k / 8, (real + 7) / 8);
            add(i, load_some(x[i] + k, real), bits);
        });
    each<PAIRS>(NBEST_EACH(i) { sums[i] = sums[i] * rows.low_of(ids[i]) + chosen[i] * rows.step_of(ids[i]); });
    four_sums(sums, out);
}
#endif

// out[p] = x[positions[p]] . row ids[p] + bias[ids[p]]
void pairs(const Rows& rows, const float* bias, const float* x, const int64_t* positions, const int64_t* ids,
           int64_t count, float* out) {
    std::vector<int32_t> room(PAIRS * rows.cols);
    for (int64_t first = 0; first < count; first += PAIRS) {
        const float *input[PAIRS], *row[PAIRS];
        int64_t id[PAIRS];
        for (int i = 0; i < PAIRS; ++i) {  // what is beyond the last is the last again
            const int64_t p = std::min(first + i, count - 1);
            id[i] = ids[p];
            input[i] = x + positions[p] * rows.cols;
        }
        float found[PAIRS];
#if NBEST_W == 16
        if (rows.kind == Rows::BITS) dots_of_bits(rows, input, id, found);
        else
#endif
        {
            for (int i = 0; i < PAIRS; ++i)
                row[i] = reinterpret_cast<const float*>(
                    words_of_row(rows, id[i], Word::FLOAT, room.data() + i * rows.cols));
            dots(input, row, rows.cols, found);
        }
        for (int i = 0; i < PAIRS && first + i < count; ++i) out[first + i] = found[i] + (bias ? bias[id[i]] : 0.0f);
    }
}
