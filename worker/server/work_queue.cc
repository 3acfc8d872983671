#include "worker/server/work_queue.h"

#include <utility>

#include "base/thread.h"

namespace linnet::worker {

WorkQueue::WorkQueue(const std::string& name, int threads, size_t max_pending) : max_pending_(max_pending) {
  for (int i = 0; i < threads; ++i) {
    threads_.push_back(base::StartThread(name, [this] { Run(); }));
  }
}

WorkQueue::~WorkQueue() {
  {
    base::MutexLock lock(&mu_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  threads_.clear();  // joins
}

bool WorkQueue::TryPost(std::function<void()> work) {
  base::MutexLock lock(&mu_);
  if (pending_.size() >= max_pending_) return false;
  pending_.push_back(std::move(work));
  wake_.NotifyOne();
  return true;
}

void WorkQueue::Run() {
  for (;;) {
    std::function<void()> work;
    {
      base::MutexLock lock(&mu_);
      while (pending_.empty() && !stopping_) wake_.Wait(&mu_);
      if (pending_.empty()) return;
      work = std::move(pending_.front());
      pending_.pop_front();
    }
    work();
  }
}

}  // namespace linnet::worker
