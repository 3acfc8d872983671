// A few threads ("registry-io") for blob files, so that gRPC's own never wait for a disk.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace linnet::registry {

// Thread-safe. Unbounded by itself: each transfer has at most one piece of work here, and transfers are bounded.
class IoPool {
 public:
  explicit IoPool(int threads);
  // Runs what is queued, then ends.
  ~IoPool();
  IoPool(const IoPool&) = delete;
  IoPool& operator=(const IoPool&) = delete;

  void Run(std::function<void()> work);

 private:
  void Loop();

  base::Mutex mu_;
  base::CondVar wake_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::jthread> threads_;
};

}  // namespace linnet::registry
