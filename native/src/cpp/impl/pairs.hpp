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

void pairs(const Rows& rows, const float* bias, const float* x, const int64_t* positions, const int64_t* ids,
           int64_t count, float* out) {
    std::vector<int32_t> room(rows.cols);
    for (int64_t p = 0; p < count; ++p) {
        const float* input = x + positions[p] * rows.cols;
        const float* row = reinterpret_cast<const float*>(words_of_row(rows, ids[p], false, room.data()));
        const double sum = dot(input, row, rows.cols);
        out[p] = static_cast<float>(sum + (bias ? bias[ids[p]] : 0.0));
    }
}
