// Tiles of products: T tokens by C registers of rows, summed over the columns.

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
// Of bytes, four a word, or of 16-bit numbers, two a word.
template <Word WORD, int T, int C>
NBEST_INLINE void multiply(const int32_t* x, const int32_t* panel, int64_t count, vi (&sum)[T][C]) {
    for (int64_t q = 0; q < count; ++q, x += T, panel += C * W) {
        __m512i column[C];
        each<C>(NBEST_EACH(c) { column[c] = _mm512_loadu_si512(panel + c * W); });
        each<T>(NBEST_EACH(t) {
            const __m512i value = _mm512_set1_epi32(x[t]);
            each<C>(NBEST_EACH(c) {
                const __m512i so_far = (__m512i)sum[t][c];
                sum[t][c] = (vi)(WORD == Word::BYTES ? _mm512_dpbusd_epi32(so_far, column[c], value)
                                                     : _mm512_dpwssd_epi32(so_far, column[c], value));
            });
        });
    }
}

// Of bytes with the high and with the low bytes of two-byte numbers.
template <int T, int C>
NBEST_INLINE void multiply_both(const int32_t* x, const int32_t* x_low, const int32_t* panel, int64_t count,
                                vi (&high)[T][C], vi (&mixed)[T][C]) {
    for (int64_t q = 0; q < count; ++q, x += T, x_low += T, panel += C * W) {
        __m512i column[C];
        each<C>(NBEST_EACH(c) { column[c] = _mm512_loadu_si512(panel + c * W); });
        each<T>(NBEST_EACH(t) {
            const __m512i above = _mm512_set1_epi32(x[t]), below = _mm512_set1_epi32(x_low[t]);
            each<C>(NBEST_EACH(c) {
                high[t][c] = (vi)_mm512_dpbusd_epi32((__m512i)high[t][c], column[c], above);
                mixed[t][c] = (vi)_mm512_dpbusd_epi32((__m512i)mixed[t][c], column[c], below);
            });
        });
    }
}
#endif
