// Weights as panels: rows side by side, made from the stored rows when they are needed.

inline int64_t code_of(const Rows& rows, int64_t r, int64_t part) {
    const int64_t at = r * rows.parts + part;
    return rows.code_bytes == 2 ? static_cast<const uint16_t*>(rows.data)[at] : static_cast<const int32_t*>(rows.data)[at];
}

#if NBEST_W == 16
// Bits k to k + 63 of a row of bits, the first one lowest; zeros beyond its end.
inline uint64_t bits_from(const Rows& rows, int64_t r, int64_t k) {
    const auto* raw = static_cast<const uint8_t*>(rows.data) + r * rows.stride + (k >> 3);
    uint64_t bits = 0;  // the first is the highest of its byte: turned within each
    std::memcpy(&bits, raw, std::min<int64_t>(8, (rows.cols - k + 7) / 8));
    bits = (bits & 0x5555555555555555) << 1 | (bits >> 1 & 0x5555555555555555);
    bits = (bits & 0x3333333333333333) << 2 | (bits >> 2 & 0x3333333333333333);
    return (bits & 0x0f0f0f0f0f0f0f0f) << 4 | (bits >> 4 & 0x0f0f0f0f0f0f0f0f);
}
#endif

// A row of bits as floats.
inline void floats_of_bits(const Rows& rows, int64_t r, float* numbers) {
    const float value[2] = {rows.low_of(r), rows.low_of(r) + rows.step_of(r)};
    int64_t k = 0;
#if NBEST_W == 16
    const __m512 zero = _mm512_set1_ps(value[0]), one = _mm512_set1_ps(value[1]);
    for (; k + 64 <= rows.cols; k += 64) {
        const uint64_t bits = bits_from(rows, r, k);
        each<4>(NBEST_EACH(i) {
            store(numbers + k + i * W, (vf)_mm512_mask_blend_ps(static_cast<__mmask16>(bits >> i * W), zero, one));
        });
    }
#endif
    const auto* raw = static_cast<const uint8_t*>(rows.data) + r * rows.stride;
    for (; k < rows.cols; ++k) numbers[k] = value[raw[k >> 3] >> (7 - (k & 7)) & 1];
}

// By four bits: as bytes, and as 16-bit numbers.
struct FourBits {
    int32_t bytes[16];
    int64_t shorts[16];
    FourBits() {
        for (int64_t b = 0; b < 16; ++b) {
            bytes[b] = static_cast<int32_t>(b >> 3 | (b >> 2 & 1) << 8 | (b >> 1 & 1) << 16 | (b & 1) << 24);
            shorts[b] = b >> 3 | (b >> 2 & 1) << 16 | (b >> 1 & 1) << 32 | (b & 1) << 48;
        }
    }
};

// Row r as whole numbers, two or four a word: worth nothing without step and low.
inline const int32_t* whole_words_of_row(const Rows& rows, int64_t r, Word word, int32_t* room) {
    static const FourBits four_bits;
    const auto* raw = static_cast<const uint8_t*>(rows.data) + r * rows.stride;
    const int64_t words = words_of(rows.cols, word);
    if (rows.kind == Rows::BITS) {  // bits beyond the last column meet inputs of zero
        int64_t k = 0;
#if NBEST_W == 16
        for (; k + 64 <= rows.cols; k += 64) {
            const uint64_t bits = bits_from(rows, r, k);
            int32_t* to = room + k / static_cast<int>(word);
            if (word == Word::BYTES) {
                _mm512_storeu_si512(to, _mm512_maskz_set1_epi8(bits, 1));
            } else {
                _mm512_storeu_si512(to, _mm512_maskz_set1_epi16(static_cast<__mmask32>(bits), 1));
                _mm512_storeu_si512(to + W, _mm512_maskz_set1_epi16(static_cast<__mmask32>(bits >> 32), 1));
            }
        }
#endif
        for (int64_t q = k / 4; q < quads(rows.cols); ++q) {
            const int four = q & 1 ? raw[q >> 1] & 15 : raw[q >> 1] >> 4;
            if (word == Word::BYTES) room[q] = four_bits.bytes[four];
            else std::memcpy(room + 2 * q, &four_bits.shorts[four], sizeof(int64_t));
        }
        return room;
    }
    room[words - 1] = 0;
    if (rows.kind == Rows::UINT8 && word == Word::SHORTS) {
        auto* shorts = reinterpret_cast<int16_t*>(room);
        for (int64_t k = 0; k < rows.cols; ++k) shorts[k] = raw[k];
        return room;
    }
    // Rows that lie in memory that way already are not copied.
    if (rows.cols % static_cast<int>(word) == 0) return reinterpret_cast<const int32_t*>(raw);
    std::memcpy(room, raw, rows.stride);
    return room;
}

// Row r as floats, likewise.
inline const int32_t* words_of_row(const Rows& rows, int64_t r, Word word, int32_t* room) {
    if (word != Word::FLOAT) return whole_words_of_row(rows, r, word, room);
    const auto* raw = static_cast<const uint8_t*>(rows.data) + r * rows.stride;
    if (rows.kind == Rows::FLOAT32) return reinterpret_cast<const int32_t*>(raw);
    float* numbers = reinterpret_cast<float*>(room);
    if (rows.kind == Rows::SLIM) {
        const int64_t width = rows.cols / rows.parts;
        for (int64_t p = 0; p < rows.parts; ++p)
            std::memcpy(numbers + p * width, rows.vectors + (p * rows.values + code_of(rows, r, p)) * width, width * 4);
        return room;
    }
    const float low = rows.low_of(r), step = rows.step_of(r);
    if (rows.kind == Rows::UINT8) {
        for (int64_t k = 0; k < rows.cols; ++k) numbers[k] = low + step * static_cast<float>(raw[k]);
    } else if (rows.kind == Rows::INT16) {
        const auto* shorts = reinterpret_cast<const int16_t*>(raw);
        for (int64_t k = 0; k < rows.cols; ++k) numbers[k] = low + step * static_cast<float>(shorts[k]);
    } else {
        floats_of_bits(rows, r, numbers);
    }
    return room;
}

void rows_as_floats(const Rows& rows, const int64_t* ids, int64_t count, float* out) {
    std::vector<int32_t> room(rows.cols);
    for (int64_t n = 0; n < count; ++n)
        std::memcpy(out + n * rows.cols, words_of_row(rows, ids[n], Word::FLOAT, room.data()), rows.cols * sizeof(float));
}

typedef int32_t four __attribute__((vector_size(16), aligned(4), may_alias));

// Rows r, r + 1, .. (at most `lanes` of them, `real` there) side by side: panel[k * width + lane].
void fill_panel(const Rows& rows, int64_t r, int real, int lanes, Word word, int width, int32_t* panel,
                std::vector<int32_t>& room) {
    const int64_t words = words_of(rows.cols, word), own_words = words + 1;  // bits come four at a time
    room.assign(4 * own_words, 0);
    for (int lane = 0; lane < lanes; lane += 4) {
        const int32_t* row[4];
        for (int i = 0; i < 4; ++i) {
            int32_t* own = room.data() + i * own_words;
            if (lane + i < real) row[i] = words_of_row(rows, r + lane + i, word, own);
            else row[i] = static_cast<const int32_t*>(std::memset(own, 0, words * 4));
        }
        int32_t* to = panel + lane;
        int64_t k = 0;
        for (; k + 4 <= words; k += 4, to += 4 * width) {  // four by four, turned
            const four a = *reinterpret_cast<const four*>(row[0] + k), b = *reinterpret_cast<const four*>(row[1] + k);
            const four c = *reinterpret_cast<const four*>(row[2] + k), d = *reinterpret_cast<const four*>(row[3] + k);
            const four ab = __builtin_shuffle(a, b, four{0, 4, 1, 5}), ba = __builtin_shuffle(a, b, four{2, 6, 3, 7});
            const four cd = __builtin_shuffle(c, d, four{0, 4, 1, 5}), dc = __builtin_shuffle(c, d, four{2, 6, 3, 7});
            *reinterpret_cast<four*>(to) = __builtin_shuffle(ab, cd, four{0, 1, 4, 5});
            *reinterpret_cast<four*>(to + width) = __builtin_shuffle(ab, cd, four{2, 3, 6, 7});
            *reinterpret_cast<four*>(to + 2 * width) = __builtin_shuffle(ba, dc, four{0, 1, 4, 5});
            *reinterpret_cast<four*>(to + 3 * width) = __builtin_shuffle(ba, dc, four{2, 3, 6, 7});
        }
        for (; k < words; ++k, to += width)
            for (int i = 0; i < 4; ++i) to[i] = row[i][k];
    }
}
