// Inputs packed by tiles of T tokens: as floats, as signed bytes or 16-bit numbers, or as two signed bytes a number.

struct Packed {
    std::vector<float> numbers;    // float tiles: [tile][k][T]
    std::vector<int32_t> whole;    // whole numbers, four bytes or two 16-bit ones of consecutive k: [tile][k/4 or k/2][T]
    std::vector<int32_t> low_bytes;  // two-byte tiles: a number is 256 bytes + low_bytes
    std::vector<float> scale;      // (N rounded up) what a unit is worth
    std::vector<float> sum;        // (sources, N rounded up) sum of a token's units
    std::vector<float> low_sum;    // (N rounded up) sum of its low bytes
};

struct Segment {                   // one source's input for each token
    const float* values;
    const int64_t* index;          // null: token n reads row n
    int64_t cols;
    NBEST_INLINE const float* row(int64_t n) const { return values + (index ? index[n] : n) * cols; }
};

// What a 32-bit word of a row holds.
enum class Word { FLOAT = 1, SHORTS = 2, BYTES = 4 };
inline int64_t words_of(int64_t cols, Word word) {
    return (cols + static_cast<int>(word) - 1) / static_cast<int>(word);
}
inline int64_t quads(int64_t cols) { return words_of(cols, Word::BYTES); }
inline int64_t tokens_at_a_time(int64_t words) {
    constexpr int64_t PACKED_BYTES = 1 << 20;  // of inputs at a time: half of a 2 MiB L2
    return std::max<int64_t>(48, PACKED_BYTES / (4 * words));
}

template <int T>
void pack_floats(const Segment* segments, int sources, int64_t first, int64_t count, Packed& packed) {
    int64_t cols = 0;
    for (int s = 0; s < sources; ++s) cols += segments[s].cols;
    const int64_t tiles = (count + T - 1) / T;
    packed.numbers.assign(tiles * cols * T, 0.0f);
    for (int64_t n = 0; n < count; ++n) {
        float* at = packed.numbers.data() + (n / T) * cols * T + n % T;
        for (int s = 0; s < sources; ++s) {
            const float* row = segments[s].row(first + n);
            for (int64_t k = 0; k < segments[s].cols; ++k, at += T) *at = row[k];
        }
    }
}

inline float largest_of(const float* row, int64_t cols) {
    vf most = {};
    int64_t k = 0;
    for (; k + W <= cols; k += W) {
        const vf v = load(row + k), size = v < 0.0f ? -v : v;
        most = size > most ? size : most;
    }
    float largest = 0.0f;
    for (int w = 0; w < W; ++w) largest = std::max(largest, most[w]);
    for (; k < cols; ++k) largest = std::max(largest, std::fabs(row[k]));
    return largest;
}

// Numbers as whole ones of a size of `most`, given the largest: what one is worth, and how many a number is.
struct Units {
    float worth, inverse;
    Units(float largest, int most) : worth(largest / most), inverse(largest > 0 ? most / largest : 0.0f) {}
};

// round(row * inverse) as whole numbers of a kind, zeros up to the end of a word; their sum.
template <class Whole>
NBEST_INLINE int32_t to_whole(const float* row, int64_t cols, float inverse, Whole* whole) {
    constexpr int64_t IN_A_WORD = sizeof(int32_t) / sizeof(Whole);
    vi sums = {};
    int64_t k = 0;
    for (; k + W <= cols; k += W) {
        const vi numbers = __builtin_convertvector(nearest_whole(load(row + k) * inverse), vi);
        sums += numbers;
        for (int w = 0; w < W; ++w) whole[k + w] = static_cast<Whole>(numbers[w]);
    }
    int32_t sum = 0;
    for (int w = 0; w < W; ++w) sum += sums[w];
    for (; k < cols; ++k) sum += whole[k] = static_cast<Whole>(std::lrintf(row[k] * inverse));
    for (; k % IN_A_WORD; ++k) whole[k] = 0;
    return sum;
}

// What was taken from a row of inputs when it became whole numbers, times the slopes.
inline float taken(const float* row, const float* slopes, int64_t cols, int most) {
    const Units units(largest_of(row, cols), most);
    vf sums = {};
    int64_t k = 0;
    for (; k + W <= cols; k += W) {
        const vf value = load(row + k);
        sums += load(slopes + k) * (value - nearest_whole(value * units.inverse) * units.worth);
    }
    float sum = sum_of(sums);
    for (; k < cols; ++k) sum += slopes[k] * (row[k] - std::nearbyintf(row[k] * units.inverse) * units.worth);
    return sum;
}

// A token's inputs in units of the largest's `most`-th part, one unit for all sources.
template <class Whole, int T>
void pack_whole(const Segment* segments, int sources, int64_t first, int64_t count, int most, Packed& packed) {
    constexpr Word WORD = sizeof(Whole) == 1 ? Word::BYTES : Word::SHORTS;
    int64_t words = 0;
    for (int s = 0; s < sources; ++s) words += words_of(segments[s].cols, WORD);
    const int64_t tiles = (count + T - 1) / T;
    packed.whole.assign(tiles * words * T, 0);
    packed.scale.assign(tiles * T, 0.0f);
    packed.sum.assign(sources * tiles * T, 0.0f);
    std::vector<int32_t> row_words(words);
    for (int64_t n = 0; n < count; ++n) {
        float largest = 0.0f;
        for (int s = 0; s < sources; ++s)
            largest = std::max(largest, largest_of(segments[s].row(first + n), segments[s].cols));
        const Units units(largest, most);
        packed.scale[n] = units.worth;
        int32_t* at = row_words.data();
        for (int s = 0; s < sources; ++s) {
            const float* row = segments[s].row(first + n);
            packed.sum[s * tiles * T + n] =
                static_cast<float>(to_whole(row, segments[s].cols, units.inverse, reinterpret_cast<Whole*>(at)));
            at += words_of(segments[s].cols, WORD);
        }
        int32_t* to = packed.whole.data() + (n / T) * words * T + n % T;
        for (int64_t k = 0; k < words; ++k) to[k * T] = row_words[k];
    }
}

// A row in units of `largest` / 32,512: 256 high + low, high in [-127, 127], low in [-128, 127].
template <int T>
void pack_two_bytes(const float* values, int64_t cols, int64_t count, Packed& packed) {
    const int64_t q = quads(cols), tiles = (count + T - 1) / T;
    packed.whole.assign(tiles * q * T, 0);
    packed.low_bytes.assign(tiles * q * T, 0);
    for (auto* numbers : {&packed.scale, &packed.sum, &packed.low_sum}) numbers->assign(tiles * T, 0.0f);
    std::vector<int32_t> room(2 * q);
    auto* high = reinterpret_cast<int8_t*>(room.data());
    auto* low = reinterpret_cast<int8_t*>(room.data() + q);
    for (int64_t n = 0; n < count; ++n) {
        const float* row = values + n * cols;
        const float largest = largest_of(row, cols), inverse = largest > 0 ? 32512.0f / largest : 0.0f;
        int32_t sum = 0, low_sum = 0;
        for (int64_t k = 0; k < cols; ++k) {
            const auto whole = static_cast<int32_t>(std::nearbyintf(row[k] * inverse));
            const int32_t above = (whole + 128) >> 8;
            high[k] = static_cast<int8_t>(above);
            low[k] = static_cast<int8_t>(whole - 256 * above);
            sum += whole;
            low_sum += whole - 256 * above;
        }
        packed.scale[n] = largest / 32512.0f;
        packed.sum[n] = static_cast<float>(sum);
        packed.low_sum[n] = static_cast<float>(low_sum);
        const int64_t at = (n / T) * q * T + n % T;
        for (int64_t k = 0; k < q; ++k) {
            packed.whole[at + k * T] = room[k];
            packed.low_bytes[at + k * T] = room[q + k];
        }
    }
}
