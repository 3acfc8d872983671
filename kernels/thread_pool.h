// The process's compute threads. A parallel region has the calling thread as one of its members; the others spin for at
// most 50 microseconds after a region, then park, so that two workers on the same cores do not fight.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"

namespace linnet::kernels {

class ThreadPool {
 public:
  // `threads` >= 1, the caller's included: ThreadPool(1) starts none.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  // Calls f(thread) once for each thread in [0, threads()), and returns when all have returned. One region at a time
  // (callers from several threads take turns); not reentrant. No allocation.
  void Run(absl::FunctionRef<void(int thread)> f);

  // Splits [0, n) into chunks of `grain` (the last one may be shorter) and calls f(begin, end, thread) for each. Which
  // thread takes which chunk depends on timing; a chunk's borders do not.
  void ParallelFor(int64_t n, int64_t grain, absl::FunctionRef<void(int64_t begin, int64_t end, int thread)> f);

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace linnet::kernels
