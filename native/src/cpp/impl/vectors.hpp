// Registers of W floats or integers, and the functions on them.

constexpr int W = NBEST_W;
typedef float vf __attribute__((vector_size(W * 4), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(W * 4), aligned(4), may_alias));
#define NBEST_INLINE inline __attribute__((always_inline))

NBEST_INLINE vf load(const float* p) { return *reinterpret_cast<const vf*>(p); }
NBEST_INLINE void store(float* p, vf v) { *reinterpret_cast<vf*>(p) = v; }
NBEST_INLINE vf all(float x) { return x - vf{}; }
NBEST_INLINE bool any(vi mask) {
#if NBEST_W == 16
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#else
    int32_t set = 0;
    for (int w = 0; w < W; ++w) set |= mask[w];
    return set != 0;
#endif
}
NBEST_INLINE vf floats(vi v) { return __builtin_convertvector(v, vf); }

// e^x, relative error below 2e-7; x is kept within [-87, 88]. Cephes' reduction and polynomial.
NBEST_INLINE vf exp_of(vf x) {
    x = x < -87.0f ? all(-87.0f) : x;
    x = x > 88.0f ? all(88.0f) : x;
    const vf magic = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    const vf n = (x * 1.44269504088896341f + magic) - magic;
    const vf r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    vf p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    const vi power = (__builtin_convertvector(n, vi) + 127) << 23;
    return p * (vf)power;
}
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
