// Ctrl-C in a program that streams: stops the answer that runs; where none runs, wakes whoever waits for input.
#pragma once

#include <functional>
#include <string>
#include <thread>

#include "base/mutex.h"

namespace linnet::cli {

// Takes SIGINT over for this thread and those made after it, as long as it lives. One at a time.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  // Until Clear, a Ctrl-C calls `stop` (on another thread, no lock held, also once after Clear at the latest moment).
  void OnInterrupt(std::function<void()> stop);
  void Clear();

  enum class Input { kLine, kEnd, kInterrupted };
  // A line from standard input, without its end; kInterrupted where Ctrl-C came first.
  Input ReadLine(std::string* line);

 private:
  void Watch(std::stop_token stop);

  base::Mutex mu_;
  std::function<void()> stop_ ABSL_GUARDED_BY(mu_);
  int wake_fd_ = -1;      // eventfd: a Ctrl-C that nothing else took
  std::string buffered_;  // input after the last line
  std::jthread thread_;
};

}  // namespace linnet::cli
