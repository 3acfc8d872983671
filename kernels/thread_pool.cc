#include "kernels/thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

#include "absl/log/check.h"
#include "base/mutex.h"

namespace linnet::kernels {
namespace {

constexpr auto kSpin = std::chrono::microseconds(50);

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns when `value` is no longer `old`: spins for kSpin, then sleeps in the kernel.
template <class T>
T AwaitChange(const std::atomic<T>& value, T old) {
  T now = value.load(std::memory_order_acquire);
  if (now != old) return now;
  const auto give_up = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      Pause();
      now = value.load(std::memory_order_acquire);
      if (now != old) return now;
    }
  } while (std::chrono::steady_clock::now() < give_up);
  while ((now = value.load(std::memory_order_acquire)) == old) value.wait(old, std::memory_order_acquire);
  return now;
}

}  // namespace

// A region is open while threads may join it. The caller closes it when there is nothing left to start, and waits only
// for those that did join: a worker that the system has not scheduled yet costs nobody time.
struct ThreadPool::State {
  explicit State(int threads) : threads(threads) {}

  // `gate`: the region's number in the upper half, whether it is open, and how many workers are inside.
  static constexpr uint64_t kOpen = uint64_t{1} << 31;
  static constexpr uint64_t kInside = kOpen - 1;

  const int threads;
  base::Mutex turn;  // held for a whole region
  // Constant while a region is open or has workers inside.
  const absl::FunctionRef<void(int)>* work = nullptr;
  std::atomic<bool> stop{false};
  alignas(64) std::atomic<uint32_t> regions{0};  // a change wakes the workers
  alignas(64) std::atomic<uint64_t> gate{0};
  alignas(64) std::atomic<int> to_come{0};  // Run: workers that have not been through the region yet
  alignas(64) std::atomic<int64_t> next{0};
  std::vector<std::thread> workers;

  void Work(int thread) {
    char name[16];
    std::snprintf(name, sizeof(name), "compute/%d", thread);
    pthread_setname_np(pthread_self(), name);
    uint32_t woken = 0;
    uint64_t joined = 0;
    for (;;) {
      woken = AwaitChange(regions, woken);
      if (stop.load(std::memory_order_relaxed)) return;
      uint64_t now = gate.load(std::memory_order_acquire);
      while ((now & kOpen) != 0 && now >> 32 != joined) {
        if (!gate.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
        joined = now >> 32;
        (*work)(thread);
        if (to_come.fetch_sub(1, std::memory_order_acq_rel) == 1) to_come.notify_one();
        now = gate.fetch_sub(1, std::memory_order_acq_rel) - 1;
        if ((now & (kOpen | kInside)) == 0) gate.notify_one();
      }
    }
  }

  // `everyone`: each worker must have been through.
  void RunLocked(absl::FunctionRef<void(int)> f, bool everyone) ABSL_EXCLUSIVE_LOCKS_REQUIRED(turn) {
    if (threads == 1) {
      f(0);
      return;
    }
    work = &f;
    to_come.store(threads - 1, std::memory_order_relaxed);
    const uint32_t region = regions.load(std::memory_order_relaxed) + 1;
    gate.store(uint64_t{region} << 32 | kOpen, std::memory_order_release);
    regions.store(region, std::memory_order_release);
    regions.notify_all();
    f(0);
    if (everyone) {
      for (int left = to_come.load(std::memory_order_acquire); left != 0;) left = AwaitChange(to_come, left);
    }
    uint64_t now = gate.fetch_and(~kOpen, std::memory_order_acq_rel) & ~kOpen;
    while ((now & kInside) != 0) now = AwaitChange(gate, now);
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>(threads)) {
  CHECK_GE(threads, 1);
  for (int i = 1; i < threads; ++i) state_->workers.emplace_back([s = state_.get(), i] { s->Work(i); });
}

ThreadPool::~ThreadPool() {
  {
    base::MutexLock lock(&state_->turn);
    state_->stop.store(true, std::memory_order_relaxed);
    state_->regions.fetch_add(1, std::memory_order_release);
    state_->regions.notify_all();
  }
  for (std::thread& worker : state_->workers) worker.join();
}

int ThreadPool::threads() const { return state_->threads; }

void ThreadPool::Run(absl::FunctionRef<void(int)> f) {
  base::MutexLock lock(&state_->turn);
  state_->RunLocked(f, /*everyone=*/true);
}

void ThreadPool::ParallelFor(int64_t n, int64_t grain, absl::FunctionRef<void(int64_t, int64_t, int)> f) {
  CHECK_GE(grain, 1);
  if (n <= 0) return;
  base::MutexLock lock(&state_->turn);
  if (state_->threads == 1 || n <= grain) {
    for (int64_t begin = 0; begin < n; begin += grain) f(begin, std::min(n, begin + grain), 0);
    return;
  }
  state_->next.store(0, std::memory_order_relaxed);
  State* const state = state_.get();
  state_->RunLocked(
      [state, n, grain, f](int thread) {
        for (;;) {
          const int64_t begin = state->next.fetch_add(grain, std::memory_order_relaxed);
          if (begin >= n) return;
          f(begin, std::min(n, begin + grain), thread);
        }
      },
      /*everyone=*/false);
}

}  // namespace linnet::kernels
