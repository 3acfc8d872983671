#include "registry/server/io_pool.h"

#include <utility>

#include "base/thread.h"

namespace linnet::registry {

IoPool::IoPool(int threads) {
  for (int i = 0; i < threads; ++i) threads_.push_back(base::StartThread("registry-io", [this] { Loop(); }));
}

IoPool::~IoPool() {
  {
    base::MutexLock lock(&mu_);
    stopping_ = true;
  }
  wake_.NotifyAll();
  threads_.clear();
}

void IoPool::Run(std::function<void()> work) {
  {
    base::MutexLock lock(&mu_);
    queue_.push_back(std::move(work));
  }
  wake_.NotifyOne();
}

void IoPool::Loop() {
  for (;;) {
    std::function<void()> work;
    {
      base::MutexLock lock(&mu_);
      while (queue_.empty() && !stopping_) wake_.Wait(&mu_);
      if (queue_.empty()) return;
      work = std::move(queue_.front());
      queue_.pop_front();
    }
    work();
  }
}

}  // namespace linnet::registry
