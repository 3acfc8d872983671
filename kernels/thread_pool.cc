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

// Calls done() until it is true or kSpin has passed; whether it became true.
template <class F>
bool Spin(F done) {
  if (done()) return true;
  const auto give_up = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      Pause();
      if (done()) return true;
    }
  } while (std::chrono::steady_clock::now() < give_up);
  return false;
}

// Returns when done(value) is true: spins, then sleeps until somebody notifies.
template <class T, class F>
void Await(const std::atomic<T>& value, F done) {
  if (Spin([&] { return done(value.load(std::memory_order_acquire)); })) return;
  for (T now; !done(now = value.load(std::memory_order_acquire));) value.wait(now, std::memory_order_acquire);
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
  uint32_t region ABSL_GUARDED_BY(turn) = 0;
  std::vector<std::thread> workers;
  std::atomic<bool> stop{false};
  // Workers that sleep, or are about to; a change of `wake` wakes them. The caller looks at it after it has opened the
  // gate, they look at the gate after they are counted: one of both sees the other.
  alignas(64) std::atomic<int> asleep{0};
  std::atomic<uint32_t> wake{0};
  // What a worker needs to join comes in one cache line.
  alignas(64) std::atomic<uint64_t> gate{0};
  const absl::FunctionRef<void(int)>* work = nullptr;  // constant while a region is open or has workers inside
  alignas(64) std::atomic<int> to_come{0};             // Run: workers that have not been through the region yet
  alignas(64) std::atomic<int64_t> next{0};            // ParallelFor: what nobody has taken

  // Returns when there is another region than `joined`, or the end.
  void AwaitRegion(uint64_t joined) {
    const auto is_news = [&] {
      return gate.load(std::memory_order_seq_cst) >> 32 != joined || stop.load(std::memory_order_seq_cst);
    };
    while (!Spin(is_news)) {
      const uint32_t now = wake.load(std::memory_order_seq_cst);
      asleep.fetch_add(1, std::memory_order_seq_cst);
      if (!is_news()) wake.wait(now, std::memory_order_seq_cst);
      asleep.fetch_sub(1, std::memory_order_seq_cst);
    }
  }
  void WakeSleepers() {
    if (asleep.load(std::memory_order_seq_cst) == 0) return;
    wake.fetch_add(1, std::memory_order_seq_cst);
    wake.notify_all();
  }

  void Work(int thread) {
    char name[16];
    std::snprintf(name, sizeof(name), "compute/%d", thread);
    pthread_setname_np(pthread_self(), name);
    uint64_t joined = 0;
    for (;;) {
      AwaitRegion(joined);
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
      joined = now >> 32;  // one that closed before this thread came is over
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
    gate.store(uint64_t{++region} << 32 | kOpen, std::memory_order_seq_cst);
    WakeSleepers();
    f(0);
    if (everyone) Await(to_come, [](int left) { return left == 0; });
    const uint64_t now = gate.fetch_and(~kOpen, std::memory_order_acq_rel) & ~kOpen;
    if ((now & kInside) != 0) Await(gate, [](uint64_t g) { return (g & kInside) == 0; });
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>(threads)) {
  CHECK_GE(threads, 1);
  for (int i = 1; i < threads; ++i) state_->workers.emplace_back([s = state_.get(), i] { s->Work(i); });
}

ThreadPool::~ThreadPool() {
  {
    base::MutexLock lock(&state_->turn);
    state_->stop.store(true, std::memory_order_seq_cst);
    state_->WakeSleepers();
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
        // Large shares first, single chunks at the end: the counter's cache line changes hands less often.
        int64_t begin = state->next.load(std::memory_order_relaxed);
        while (begin < n) {
          const int64_t chunks = (n - begin + grain - 1) / grain;
          const int64_t end = std::min(n, begin + std::max<int64_t>(1, chunks / (2 * state->threads)) * grain);
          if (!state->next.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
          for (; begin < end; begin += grain) f(begin, std::min(end, begin + grain), thread);
          begin = state->next.load(std::memory_order_relaxed);
        }
      },
      /*everyone=*/false);
}

}  // namespace linnet::kernels
