// A few threads that do short work for the gRPC threads, so that those only validate and enqueue: tokenising a long
// prompt or running a slow chat template holds up neither health answers nor other streams' writes.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace linnet::worker {

// Thread-safe.
class WorkQueue {
 public:
  WorkQueue(const std::string& name, int threads, size_t max_pending);
  // Does what is pending, then joins.
  ~WorkQueue();
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  // False, and the work is not taken, where max_pending wait already.
  bool TryPost(std::function<void()> work);

 private:
  void Run();

  const size_t max_pending_;
  base::Mutex mu_;
  base::CondVar wake_;
  std::deque<std::function<void()>> pending_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::jthread> threads_;
};

}  // namespace linnet::worker
