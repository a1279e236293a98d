// The LSTM step: gates and cells of a tile while its products are in registers.

constexpr int CELL_T = NBEST_CELL_TOKENS, GATES = 4, CELL_PANEL = GATES * W;

inline Word word_of(const CellsJob& job) { return job.most ? Word::SHORTS : Word::FLOAT; }

inline int64_t panel_words(const CellsJob& job) {  // in one panel, all sources
    int64_t sum = 0;
    for (int s = 0; s < job.sources; ++s) sum += words_of(job.rows[s]->cols, word_of(job));
    return sum * CELL_PANEL;
}

// The panel of cells [W block, W block + W): the four gates' rows of each, source after source.
void cell_panel(const CellsJob& job, int64_t block, int32_t* panel, std::vector<int32_t>& room) {
    const int real = static_cast<int>(std::min<int64_t>(W, job.cells - block * W));
    for (int s = 0; s < job.sources; ++s) {
        const Rows& rows = *job.rows[s];
        for (int gate = 0; gate < GATES; ++gate)
            fill_panel(rows, gate * job.cells + block * W, real, W, word_of(job), CELL_PANEL, panel + gate * W, room);
        panel += words_of(rows.cols, word_of(job)) * CELL_PANEL;
    }
}

inline int64_t cell_blocks(const CellsJob& job) { return (job.cells + W - 1) / W; }

size_t panel_bytes(const CellsJob& job) { return cell_blocks(job) * panel_words(job) * sizeof(float); }

void prepare_cells(const CellsJob& job, void* panels) {
    std::vector<int32_t> room;
    for (int64_t block = 0; block < cell_blocks(job); ++block)
        cell_panel(job, block, static_cast<int32_t*>(panels) + block * panel_words(job), room);
}

// Those of the N, one after another, that have the same inputs: these are multiplied once. A word after the same words
// as the one before it differs from that in its table row alone.
struct Groups {
    std::vector<int64_t> starts;                // of each group, and N
    std::vector<int64_t> index[CellsJob::MOST];  // its row of each source's inputs
    explicit Groups(const CellsJob& job) {
        for (int64_t n = 0; n < job.count; ++n) {
            bool same = n > 0;
            for (int s = 0; s < job.sources; ++s) same = same && job.index[s][n] == job.index[s][n - 1];
            if (same) continue;
            starts.push_back(n);
            for (int s = 0; s < job.sources; ++s) index[s].push_back(job.index[s][n]);
        }
        starts.push_back(job.count);
    }
    int64_t count() const { return static_cast<int64_t>(starts.size()) - 1; }
};

// `count` groups, which begin at `starts` and whose inputs are packed; blocks of cells `from` to `to`.
template <bool WHOLE>
void step_part(const CellsJob& job, const Packed& packed, const int64_t* starts, int64_t count, int64_t from, int64_t to) {
    const int64_t h = job.cells, size = panel_words(job), inputs = size / CELL_PANEL;
    const int64_t tiles = (count + CELL_T - 1) / CELL_T;
    std::vector<int32_t> own(job.panels ? 0 : size), room;
    for (int64_t block = from; block < to; ++block) {
        const int32_t* panel = job.panels ? static_cast<const int32_t*>(job.panels) + block * size : own.data();
        if (!job.panels) cell_panel(job, block, own.data(), room);
        const int64_t cell = block * W;
        const int real = static_cast<int>(std::min<int64_t>(W, h - cell));
        vf scale[GATES], step[CellsJob::MOST][GATES], low[CellsJob::MOST][GATES];
        for (int g = 0; g < GATES; ++g) {
            scale[g] = job.scale ? load_some(job.scale + g * h + cell, real) : all(1.0f);
            for (int s = 0; WHOLE && s < job.sources; ++s) {
                const Rows& rows = *job.rows[s];
                step[s][g] = rows.one_worth ? all(rows.step[0]) : load_some(rows.step + g * h + cell, real);
                low[s][g] = rows.one_worth ? all(rows.low[0]) : load_some(rows.low + g * h + cell, real);
            }
        }
        for (int64_t tile = 0; tile < tiles; ++tile) {
            for (int64_t n = starts[tile * CELL_T]; n < starts[std::min(count, (tile + 1) * CELL_T)]; ++n) {
                const float* added = job.table + job.table_index[n] * GATES * h + cell;
                for (int g = 0; g < GATES; ++g) __builtin_prefetch(added + g * h);
                __builtin_prefetch(job.cell_before + job.cell_index[n] * h + cell);
            }
            vf gates[CELL_T][GATES] = {};
            if constexpr (WHOLE) {
#if NBEST_VNNI
                // One unit for all of a token's inputs; each source has its own worth of a whole number.
                const int32_t* x = packed.whole.data() + tile * inputs * CELL_T;
                const int32_t* weights = panel;
                for (int s = 0; s < job.sources; ++s) {
                    const int64_t words = words_of(job.rows[s]->cols, Word::SHORTS);
                    vi sum[CELL_T][GATES] = {};
                    multiply<Word::SHORTS, CELL_T, GATES>(x, weights, words, sum);
                    each<CELL_T>(NBEST_EACH(t) {
                        const float total = packed.sum[(s * tiles + tile) * CELL_T + t];
                        each<GATES>(NBEST_EACH(g) {
                            gates[t][g] += (floats(sum[t][g]) * step[s][g] + low[s][g] * total) *
                                           packed.scale[tile * CELL_T + t];
                        });
                    });
                    x += words * CELL_T;
                    weights += words * CELL_PANEL;
                }
#endif
            } else {
                const float* x = packed.numbers.data() + tile * inputs * CELL_T;
                multiply<CELL_T, GATES>(x, reinterpret_cast<const float*>(panel), inputs, gates);
            }
            each<CELL_T>(NBEST_EACH(t) {
                if (tile * CELL_T + t >= count) return;
                for (int64_t n = starts[tile * CELL_T + t]; n < starts[tile * CELL_T + t + 1]; ++n) {
                    const float* added = job.table + job.table_index[n] * GATES * h + cell;
                    vf gate[GATES];
                    each<GATES>(NBEST_EACH(g) { gate[g] = gates[t][g] * scale[g] + load_some(added + g * h, real); });
                    const vf before = load_some(job.cell_before + job.cell_index[n] * h + cell, real);
                    const vf after = sigmoid(gate[1]) * before + sigmoid_tanh(gate[0], gate[2]);
                    const vf hidden = sigmoid_tanh(gate[3], after);
                    store_some(job.hidden + n * h + cell, hidden, real);
                    if (job.kept[n] < 0) continue;
                    store_some(job.cell + job.kept[n] * h + cell, after, real);
                    if (job.kept_hidden) store_some(job.kept_hidden + job.kept[n] * h + cell, hidden, real);
                }
            });
        }
    }
}

// Groups `first` to `end`.
void step_groups(const CellsJob& job, const Groups& groups, int64_t first, int64_t end, int threads) {
    Segment segments[CellsJob::MOST];
    for (int s = 0; s < job.sources; ++s) segments[s] = {job.inputs[s], groups.index[s].data(), job.rows[s]->cols};
    const int64_t tokens = tokens_at_a_time(panel_words(job) / CELL_PANEL);
    for (; first < end; first += tokens) {
        const int64_t count = std::min(tokens, end - first), *starts = groups.starts.data() + first;
        Packed packed;
        if (job.most) pack_whole<int16_t, CELL_T>(segments, job.sources, first, count, job.most, packed);
        else pack_floats<CELL_T>(segments, job.sources, first, count, packed);
        share_units(cell_blocks(job), threads, [&](int64_t from, int64_t to) {
            if (job.most) step_part<true>(job, packed, starts, count, from, to);
            else step_part<false>(job, packed, starts, count, from, to);
        });
    }
}

void step(const CellsJob& job, int threads) {
    const Groups groups(job);
    const auto work = [&](int64_t first, int64_t end, int own) { step_groups(job, groups, first, end, own); };
    if (job.panels) share_inputs(groups.count(), threads, work);
    else work(0, groups.count(), threads);  // panels that are thrown away are laid out once
}
