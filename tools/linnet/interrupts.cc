#include "tools/linnet/interrupts.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

#include "base/thread.h"

namespace linnet::cli {
namespace {

sigset_t InterruptSet() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

Interrupts::Interrupts() : wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  const sigset_t set = InterruptSet();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  thread_ = std::jthread([this](std::stop_token stop) {
    base::SetThreadName("interrupts");
    Watch(stop);
  });
}

Interrupts::~Interrupts() {
  thread_.request_stop();
  thread_.join();
  close(wake_fd_);
  const sigset_t set = InterruptSet();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

void Interrupts::Watch(std::stop_token stop) {
  const sigset_t set = InterruptSet();
  const timespec tick = {0, 50'000'000};
  while (!stop.stop_requested()) {
    if (sigtimedwait(&set, nullptr, &tick) != SIGINT) continue;
    std::function<void()> action;
    {
      const base::MutexLock lock(&mu_);
      action = stop_;
    }
    if (action) {
      action();
    } else {
      const uint64_t one = 1;
      [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof one);
    }
  }
}

void Interrupts::OnInterrupt(std::function<void()> stop) {
  const base::MutexLock lock(&mu_);
  stop_ = std::move(stop);
}

void Interrupts::Clear() {
  const base::MutexLock lock(&mu_);
  stop_ = nullptr;
}

Interrupts::Input Interrupts::ReadLine(std::string* line) {
  while (true) {
    if (const size_t end = buffered_.find('\n'); end != std::string::npos) {
      *line = buffered_.substr(0, end);
      buffered_.erase(0, end + 1);
      return Input::kLine;
    }
    pollfd fds[] = {{STDIN_FILENO, POLLIN, 0}, {wake_fd_, POLLIN, 0}};
    if (poll(fds, 2, -1) < 0 && errno != EINTR) return Input::kEnd;
    if (fds[1].revents != 0) {
      uint64_t count;
      [[maybe_unused]] const ssize_t got = read(wake_fd_, &count, sizeof count);
      buffered_.clear();
      return Input::kInterrupted;
    }
    if (fds[0].revents == 0) continue;
    char chunk[4096];
    const ssize_t got = read(STDIN_FILENO, chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      if (buffered_.empty()) return Input::kEnd;
      line->swap(buffered_);
      buffered_.clear();
      return Input::kLine;
    }
    buffered_.append(chunk, static_cast<size_t>(got));
  }
}

}  // namespace linnet::cli
