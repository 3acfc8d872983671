#include "tools/linnet/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/human.h"
#include "base/status_macros.h"

namespace linnet::cli {
namespace {

constexpr absl::Duration kReadyPoll = absl::Milliseconds(20);
constexpr absl::Duration kRunPoll = absl::Seconds(1);
constexpr int kShownLogLines = 6;

absl::Time Now() { return absl::FromUnixNanos(base::Clock::Real()->MonotonicNs()); }

}  // namespace

Supervisor::Supervisor(Options options) : options_(std::move(options)) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&set, signal);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal_fd_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

Supervisor::~Supervisor() {
  Stop();
  close(signal_fd_);
}

bool Supervisor::WaitForSignal(absl::Duration timeout) {
  pollfd fd = {signal_fd_, POLLIN, 0};
  poll(&fd, 1, static_cast<int>(std::clamp<int64_t>(absl::ToInt64Milliseconds(timeout), 1, 60'000)));
  signalfd_siginfo info;
  while (read(signal_fd_, &info, sizeof info) == sizeof info) {
    if (info.ssi_signo != SIGCHLD) ++stop_signals_;
  }
  return stop_signals_ > 0;
}

absl::StatusOr<ChildProcess*> Supervisor::Start(ChildProcess::Options options) {
  Child& child = children_.emplace_back(
      Child{.process = std::make_unique<ChildProcess>(std::move(options)),
            .backoff =
                base::Backoff({.initial = absl::Seconds(1), .max = absl::Seconds(30), .jitter = 0}, children_.size())});
  ChildProcess* process = child.process.get();
  process->RotateLog();
  LINNET_RETURN_IF_ERROR(process->Start());
  const absl::Time deadline = Now() + options_.ready_timeout;
  while (true) {
    if (WaitForSignal(kReadyPoll)) return absl::CancelledError("stopped while starting");
    std::string how;
    bool clean = false;
    if (process->Reap(&how, &clean)) {
      return absl::UnknownError(absl::StrCat("the ", process->name(), " did not start (", how, "); the end of ",
                                             process->log_path(), ":", process->LastLogLines(kShownLogLines)));
    }
    if (process->CheckReady()) break;
    if (Now() > deadline) {
      return absl::UnknownError(absl::StrCat("the ", process->name(), " was not ready after ",
                                             base::HumanDuration(options_.ready_timeout), "; the end of ",
                                             process->log_path(), ":", process->LastLogLines(kShownLogLines)));
    }
  }
  child.ready = true;
  return process;
}

absl::Status Supervisor::Look(Child& child) {
  ChildProcess& process = *child.process;
  std::string how;
  bool clean = false;
  if (process.running() && process.Reap(&how, &clean)) {
    child.ready = false;
    const absl::Time now = Now();
    std::erase_if(child.restarts, [&](absl::Time t) { return t < now - options_.restart_window; });
    if (child.restarts.empty()) child.backoff.Reset();
    if (child.restarts.size() >= static_cast<size_t>(options_.max_restarts)) {
      return absl::UnknownError(absl::StrCat("the ", process.name(), " ended again (", how, ") after ",
                                             options_.max_restarts, " restarts within ",
                                             base::HumanDuration(options_.restart_window), "; the end of ",
                                             process.log_path(), ":", process.LastLogLines(kShownLogLines)));
    }
    const absl::Duration delay = child.backoff.Next();
    child.restarts.push_back(now);
    child.restart_at = now + delay;
    options_.note(absl::StrCat("the ", process.name(), " ended (", how, "); it starts again in ",
                               base::HumanDuration(delay), "; the end of ", process.log_path(), ":",
                               process.LastLogLines(kShownLogLines)));
  }
  if (!process.running() && Now() >= child.restart_at) {
    child.restart_at = absl::InfiniteFuture();
    LINNET_RETURN_IF_ERROR(process.Start());
  }
  if (process.running() && !child.ready && process.CheckReady()) {
    child.ready = true;
    options_.note(absl::StrCat("the ", process.name(), " is up again"));
  }
  process.BoundLog();
  return absl::OkStatus();
}

absl::Status Supervisor::Run() {
  while (true) {
    absl::Duration wait = kRunPoll;
    for (const Child& child : children_) {
      if (!child.ready) wait = std::min(wait, child.process->running() ? kReadyPoll : child.restart_at - Now());
    }
    if (WaitForSignal(wait)) return absl::OkStatus();
    for (Child& child : children_) LINNET_RETURN_IF_ERROR(Look(child));
  }
}

bool Supervisor::Stop() {
  bool all_clean = true;
  const int signals_before = stop_signals_;
  for (auto child = children_.rbegin(); child != children_.rend(); ++child) {
    ChildProcess& process = *child->process;
    if (!process.running()) continue;
    process.Signal(SIGTERM);
    const absl::Time deadline = Now() + options_.stop_timeout;
    bool killed = false;
    std::string how;
    bool clean = false;
    while (!process.Reap(&how, &clean)) {
      if (!killed && (Now() > deadline || stop_signals_ > signals_before)) {
        options_.note(absl::StrCat("the ", process.name(), " does not stop; killing it"));
        process.Signal(SIGKILL);
        killed = true;
      }
      WaitForSignal(kReadyPoll);
    }
    if (!clean) {
      all_clean = false;
      if (!killed)
        options_.note(absl::StrCat("the ", process.name(), " ended with ", how, "; see ", process.log_path()));
    }
  }
  children_.clear();
  return all_clean;
}

}  // namespace linnet::cli
