// Registers of W floats or integers, and the functions on them.

constexpr int W = NBEST_W;
typedef float vf __attribute__((vector_size(W * 4), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(W * 4), aligned(4), may_alias));
#define NBEST_INLINE inline __attribute__((always_inline))

NBEST_INLINE vf load(const float* p) { return *reinterpret_cast<const vf*>(p); }
NBEST_INLINE void store(float* p, vf v) { *reinterpret_cast<vf*>(p) = v; }
NBEST_INLINE vf all(float x) { return x - vf{}; }
// The real numbers of a register's worth from `from`; zeros beyond.
NBEST_INLINE vf load_some(const float* from, int real) {
    if (real == W) return load(from);
#if NBEST_W == 16
    return (vf)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1 << real) - 1), from);
#else
    float some[W] = {};
    std::memcpy(some, from, real * sizeof(float));
    return load(some);
#endif
}
NBEST_INLINE void store_some(float* to, vf value, int real) {
    if (real == W) return store(to, value);
#if NBEST_W == 16
    _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1 << real) - 1), (__m512)value);
#else
    float some[W];
    store(some, value);
    std::memcpy(to, some, real * sizeof(float));
#endif
}
NBEST_INLINE bool any(vi mask) {
#if NBEST_W == 16
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#else
    int32_t set = 0;
    for (int w = 0; w < W; ++w) set |= mask[w];
    return set != 0;
#endif
}
// A bit for each lane of C registers above the limit; C W <= 64.
template <int C>
NBEST_INLINE uint64_t lanes_above(const vf (&values)[C], vf limit) {
    uint64_t set = 0;
    for (int c = 0; c < C; ++c) {
#if NBEST_W == 16
        set |= static_cast<uint64_t>(_mm512_cmp_ps_mask((__m512)values[c], (__m512)limit, _CMP_GT_OQ)) << (c * W);
#else
        const vi above = values[c] > limit;
        for (int w = 0; w < W; ++w) set |= static_cast<uint64_t>(above[w] & 1) << (c * W + w);
#endif
    }
    return set;
}
NBEST_INLINE float sum_of(vf v) {
#if NBEST_W == 16
    return _mm512_reduce_add_ps((__m512)v);
#else
    float sum = 0.0f;
    for (int w = 0; w < W; ++w) sum += v[w];
    return sum;
#endif
}

// Of four registers at once.
NBEST_INLINE void four_sums(const vf (&v)[4], float* sums) {
#if NBEST_W == 16
    const auto pairs = [](vf a, vf b) __attribute__((always_inline)) {  // by four lanes: a a+2, b b+2, a+1 a+3, b+1 b+3
        return _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps((__m512)a, (__m512)b), _mm512_unpackhi_ps((__m512)a, (__m512)b)));
    };
    const __m512d ab = pairs(v[0], v[1]), cd = pairs(v[2], v[3]);
    const __m512 by_four = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)), _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)));
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(by_four), _mm512_extractf32x8_ps(by_four, 1));
    _mm_storeu_ps(sums, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
#else
    for (int i = 0; i < 4; ++i) sums[i] = sum_of(v[i]);
#endif
}

NBEST_INLINE vf floats(vi v) { return __builtin_convertvector(v, vf); }

NBEST_INLINE vf nearest_whole(vf x) {  // below 2^22 in size
    const vf magic = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    return (x + magic) - magic;
}

constexpr float LOG2_E = 1.44269504088896341f;
// e^x, relative error below 3e-7; x is kept within [-87, 88]. A polynomial for 2^f, |f| <= 1/2 (least squares at
// Chebyshev's points, relative error 8e-8).
NBEST_INLINE vf exp_of(vf x) {
    x = x < -87.0f ? all(-87.0f) : x;
#if NBEST_W == 16
    const vf n = (vf)_mm512_roundscale_ps((__m512)(x * LOG2_E), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    x = x > 88.0f ? all(88.0f) : x;
    const vf n = nearest_whole(x * LOG2_E);
#endif
    const vf f = x * LOG2_E - n;
    vf p = f * 1.326697039e-3f + 9.675459746e-3f;
    p = p * f + 5.550742616e-2f;
    p = p * f + 2.402212175e-1f;
    p = p * f + 6.931469492e-1f;
    p = p * f + 1.000000071f;
#if NBEST_W == 16
    return (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    const vi power = (__builtin_convertvector(n, vi) + 127) << 23;
    return p * (vf)power;
#endif
}
#if NBEST_W == 16
// 2^x, for sums of many: relative error below 1.4e-4, 2e-9 in the mean over x (least squares).
NBEST_INLINE vf rough_power_of_two(vf x) {
    const vf n = (vf)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const vf f = x - n;
    vf p = f * 5.502930903e-2f + 2.422568020e-1f;
    p = p * f + 6.932530361e-1f;
    p = p * f + 9.999513472e-1f;
    return (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
}
#endif
NBEST_INLINE vf sigmoid(vf x) { return 1.0f / (1.0f + exp_of(-x)); }
// sigmoid(a) tanh(b) with one division: b beyond 15 is no different from 15.
NBEST_INLINE vf sigmoid_tanh(vf a, vf b) {
    b = b > 15.0f ? all(15.0f) : b;
    const vf e = exp_of(2.0f * b);
    return (e - 1.0f) / ((1.0f + exp_of(-a)) * (e + 1.0f));
}

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
