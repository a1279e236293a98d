// Runs the parts of a job on a few threads that stay.
#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace nbest {

class ThreadPool {
   public:
    // part(0) .. part(parts - 1), each once; the caller works too. One job at a time: a second caller works alone.
    void run(int parts, const std::function<void(int)>& part) {
        if (parts <= 1) {  // also within a part of a job, whose thread may hold the lock
            if (parts == 1) part(0);
            return;
        }
        std::unique_lock<std::mutex> only(job_, std::try_to_lock);
        if (!only.owns_lock()) {
            for (int i = 0; i < parts; ++i) part(i);
            return;
        }
        {
            std::lock_guard<std::mutex> lock(mutex_);
            while (static_cast<int>(workers_.size()) < parts - 1) workers_.emplace_back([this] { work(); });
            part_ = &part;
            next_ = 0;
            parts_ = parts;
            left_ = parts;
            ++generation_;
        }
        wake_.notify_all();
        take_parts(part, parts);
        std::unique_lock<std::mutex> lock(mutex_);
        done_.wait(lock, [this] { return left_ == 0 && busy_ == 0; });
        part_ = nullptr;
    }

    static ThreadPool& shared() {
        static ThreadPool* pool = new ThreadPool;  // never destroyed: its threads may outlive main
        return *pool;
    }

   private:
    void take_parts(const std::function<void(int)>& part, int parts) {
        for (int i; (i = next_.fetch_add(1)) < parts;) {
            part(i);
            std::lock_guard<std::mutex> lock(mutex_);
            if (--left_ == 0) done_.notify_all();
        }
    }
    void work() {
        unsigned seen = 0;
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            wake_.wait(lock, [&] { return part_ && generation_ != seen; });
            seen = generation_;
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
    std::atomic<int> next_{0};
    int parts_ = 0, left_ = 0, busy_ = 0;
    unsigned generation_ = 0;
};

}  // namespace nbest
