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

struct ThreadPool::State {
  explicit State(int threads) : threads(threads) {}

  const int threads;
  base::Mutex turn;  // held for a whole region
  // What the workers read; written before `region` changes and not before `busy` is 0 again.
  const absl::FunctionRef<void(int)>* published = nullptr;
  bool stop = false;
  alignas(64) std::atomic<int> region{0};  // counts regions; a change starts one
  alignas(64) std::atomic<int> busy{0};    // workers still in the region
  alignas(64) std::atomic<int64_t> next{0};
  std::vector<std::thread> workers;

  void Work(int thread) {
    char name[16];
    std::snprintf(name, sizeof(name), "compute/%d", thread);
    pthread_setname_np(pthread_self(), name);
    int seen = 0;
    for (;;) {
      seen = AwaitChange(region, seen);
      if (stop) return;
      (*published)(thread);
      if (busy.fetch_sub(1, std::memory_order_acq_rel) == 1) busy.notify_one();
    }
  }

  void RunLocked(absl::FunctionRef<void(int)> f) ABSL_EXCLUSIVE_LOCKS_REQUIRED(turn) {
    if (threads == 1) {
      f(0);
      return;
    }
    published = &f;
    busy.store(threads - 1, std::memory_order_relaxed);
    region.fetch_add(1, std::memory_order_release);
    region.notify_all();
    f(0);
    for (int left = busy.load(std::memory_order_acquire); left != 0;) left = AwaitChange(busy, left);
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>(threads)) {
  CHECK_GE(threads, 1);
  for (int i = 1; i < threads; ++i) state_->workers.emplace_back([s = state_.get(), i] { s->Work(i); });
}

ThreadPool::~ThreadPool() {
  {
    base::MutexLock lock(&state_->turn);
    state_->stop = true;
    state_->region.fetch_add(1, std::memory_order_release);
    state_->region.notify_all();
  }
  for (std::thread& worker : state_->workers) worker.join();
}

int ThreadPool::threads() const { return state_->threads; }

void ThreadPool::Run(absl::FunctionRef<void(int)> f) {
  base::MutexLock lock(&state_->turn);
  state_->RunLocked(f);
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
  state_->RunLocked([state, n, grain, f](int thread) {
    for (;;) {
      const int64_t begin = state->next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= n) return;
      f(begin, std::min(n, begin + grain), thread);
    }
  });
}

}  // namespace linnet::kernels
