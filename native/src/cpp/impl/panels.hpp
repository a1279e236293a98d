// Weights as panels: rows side by side, made from the stored rows when they are needed.

inline int64_t code_of(const Rows& rows, int64_t r, int64_t part) {
    const int64_t at = r * rows.parts + part;
    return rows.code_bytes == 2 ? static_cast<const uint16_t*>(rows.data)[at] : static_cast<const int32_t*>(rows.data)[at];
}

// Row r as 32-bit words, one a column: floats; or, of an 8-bit panel, four bytes of consecutive k. Rows that lie
// in memory that way already are not copied.
inline const int32_t* words_of_row(const Rows& rows, int64_t r, bool int8, int32_t* room) {
    const auto* raw = static_cast<const uint8_t*>(rows.data) + r * rows.stride;
    if (int8 && rows.kind == Rows::UINT8) {
        if (rows.cols % 4 == 0) return reinterpret_cast<const int32_t*>(raw);
        room[quads(rows.cols) - 1] = 0;
        std::memcpy(room, raw, rows.cols);
        return room;
    }
    if (int8) {
        static const std::vector<int32_t> four_bits = [] {
            std::vector<int32_t> table(16);
            for (int b = 0; b < 16; ++b) table[b] = b >> 3 | (b >> 2 & 1) << 8 | (b >> 1 & 1) << 16 | (b & 1) << 24;
            return table;
        }();
        const int32_t* table = four_bits.data();
        for (int64_t q = 0; q < quads(rows.cols); ++q) room[q] = table[q & 1 ? raw[q >> 1] & 15 : raw[q >> 1] >> 4];
        return room;  // bits beyond the last column meet inputs of zero
    }
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
    } else {
        const float value[2] = {low, low + step};
        for (int64_t k = 0; k < rows.cols; ++k) numbers[k] = value[raw[k >> 3] >> (7 - (k & 7)) & 1];
    }
    return room;
}

typedef int32_t four __attribute__((vector_size(16), aligned(4), may_alias));

// Rows r, r + 1, .. (at most `lanes` of them, `real` there) side by side: panel[k * width + lane].
void fill_panel(const Rows& rows, int64_t r, int real, int lanes, bool int8, int width, int32_t* panel,
                std::vector<int32_t>& room) {
    const int64_t words = int8 ? quads(rows.cols) : rows.cols;
    room.assign(4 * words, 0);
    for (int lane = 0; lane < lanes; lane += 4) {
        const int32_t* row[4];
        for (int i = 0; i < 4; ++i) {
            int32_t* own = room.data() + i * words;
            if (lane + i < real) row[i] = words_of_row(rows, r + lane + i, int8, own);
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
