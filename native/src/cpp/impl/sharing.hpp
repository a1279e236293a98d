// How threads share a job.

// work(first, end, threads): inputs first to end by so many threads. Where each gets enough to make going through all
// panels worth while they share the inputs, and so their packing; else the panels, or what they can agree on.
template <class F>
void share_inputs(int64_t count, int threads, F work) {
    constexpr int64_t ENOUGH = 128;
    if (threads == 1 || count < ENOUGH * threads) return work(0, count, threads);
    ThreadPool::shared().run(threads, threads, [&](int part) { work(count * part / threads, count * (part + 1) / threads, 1); });
}

// work(from, to): units of so many.
template <class F>
void share_units(int64_t units, int threads, F work) {
    const int parts = static_cast<int>(threads == 1 ? 1 : std::min<int64_t>(PARTS_A_THREAD * threads, units));
    ThreadPool::shared().run(threads, parts, [&](int part) { work(units * part / parts, units * (part + 1) / parts); });
}
