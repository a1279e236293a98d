// Runs the parts of a job on a few threads that stay.
#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace nbest {

constexpr int PARTS_A_THREAD = 4;  // of a short job: who is done first takes another's

class ThreadPool {
   public:
    // part(0) .. part(parts - 1), each once, on at most so many threads, the caller's among them. One job at a time: a
    // second caller works alone.
    void run(int threads, int parts, const std::function<void(int)>& part) {
        threads = std::min(threads, parts);
        std::unique_lock<std::mutex> only(job_, std::defer_lock);
        if (threads <= 1 || !only.try_lock()) {  // also within a part of a job, whose thread may hold the lock
            for (int i = 0; i < parts; ++i) part(i);
            return;
        }
        {
            std::lock_guard<std::mutex> lock(mutex_);
            while (static_cast<int>(workers_.size()) < threads - 1) workers_.emplace_back([this] { work(); });
            part_ = &part;
            next_ = 0;
            parts_ = left_ = parts;
            helpers_ = threads - 1;
            ++generation_;
        }
        wake_.notify_all();
        take_parts(part, parts);
        const auto over = [this] { return left_ == 0 && busy_ == 0; };
        soon(over);
        std::unique_lock<std::mutex> lock(mutex_);
        done_.wait(lock, over);
        part_ = nullptr;
    }

    static ThreadPool& shared() {
        static ThreadPool* pool = new ThreadPool;  // never destroyed: its threads may outlive main
        return *pool;
    }

   private:
    // Waits a little without sleeping, as waking up takes as long as a small job; others may have the CPU meanwhile.
    template <class F>
    static void soon(F come) {
        constexpr std::chrono::microseconds PATIENCE(300);
        const auto begun = std::chrono::steady_clock::now();
        while (!come() && std::chrono::steady_clock::now() - begun < PATIENCE) std::this_thread::yield();
    }
    void take_parts(const std::function<void(int)>& part, int parts) {
        for (int i; (i = next_.fetch_add(1)) < parts; --left_) part(i);
    }
    void work() {
        unsigned seen = 0;
        for (;;) {
            soon([&] { return generation_ != seen; });
            std::unique_lock<std::mutex> lock(mutex_);
            wake_.wait(lock, [&] { return part_ && generation_ != seen; });
            seen = generation_;
            if (helpers_ == 0) continue;
            --helpers_;
            const std::function<void(int)>* part = part_;
            const int parts = parts_;
            ++busy_;
            lock.unlock();
            take_parts(*part, parts);
            lock.lock();
            --busy_;
            done_.notify_all();
        }
    }
    std::mutex job_, mutex_;
    std::condition_variable wake_, done_;
    std::vector<std::thread> workers_;
    const std::function<void(int)>* part_ = nullptr;
    std::atomic<int> next_{0}, left_{0}, busy_{0};
    std::atomic<unsigned> generation_{0};
    int parts_ = 0, helpers_ = 0;
};

}  // namespace nbest
