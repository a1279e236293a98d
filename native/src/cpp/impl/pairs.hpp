// Chosen products.

// Summed in 64 bits at the end.
NBEST_INLINE double dot(const float* a, const float* b, int64_t count) {
    vf sums[4] = {};
    int64_t k = 0;
    for (; k + 4 * W <= count; k += 4 * W)
        each<4>(NBEST_EACH(i) { sums[i] += load(a + k + i * W) * load(b + k + i * W); });
    for (; k + W <= count; k += W) sums[0] += load(a + k) * load(b + k);
    double total = 0.0;
    for (; k < count; ++k) total += static_cast<double>(a[k]) * b[k];
    const vf sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    for (int w = 0; w < W; ++w) total += sum[w];
    return total;
}

#if NBEST_W == 16
// A row of bits needs not be unpacked: they choose between two numbers.
NBEST_INLINE double dot_bits(const Rows& rows, int64_t r, const float* x) {
    const __m512 zero = _mm512_set1_ps(rows.low_of(r)), one = _mm512_set1_ps(rows.low_of(r) + rows.step_of(r));
    __m512 sums[4] = {};
    for (int64_t k = 0; k < rows.cols; k += 64) {
        const uint64_t bits = bits_from(rows, r, k);
        each<4>(NBEST_EACH(i) {
            const int64_t at = k + i * W, real = std::clamp<int64_t>(rows.cols - at, 0, W);
            const __m512 some = _mm512_maskz_loadu_ps(static_cast<__mmask16>((1 << real) - 1), x + at);
            sums[i] = _mm512_fmadd_ps(some, _mm512_mask_blend_ps(static_cast<__mmask16>(bits >> i * W), zero, one), sums[i]);
        });
    }
    const vf sum = (vf)_mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]));
    double total = 0.0;
    for (int w = 0; w < W; ++w) total += sum[w];
    return total;
}
#endif

// x . row r; `room` for a row that has to be unpacked.
inline double dot_row(const Rows& rows, int64_t r, const float* x, std::vector<int32_t>& room) {
#if NBEST_W == 16
    if (rows.kind == Rows::BITS) return dot_bits(rows, r, x);
#endif
    return dot(x, reinterpret_cast<const float*>(words_of_row(rows, r, Word::FLOAT, room.data())), rows.cols);
}

void pairs(const Rows& rows, const float* bias, const float* x, const int64_t* positions, const int64_t* ids,
           int64_t count, float* out) {
    std::vector<int32_t> room(rows.cols);
    for (int64_t p = 0; p < count; ++p) {
        const double sum = dot_row(rows, ids[p], x + positions[p] * rows.cols, room);
        out[p] = static_cast<float>(sum + (bias ? bias[ids[p]] : 0.0));
    }
}
