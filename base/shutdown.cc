#include "base/shutdown.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

#include "absl/log/check.h"
#include "base/thread.h"

namespace linnet::base {
namespace {

sigset_t ShutdownSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

int AwaitSignal() {
  const sigset_t set = ShutdownSignals();
  int signal_number = 0;
  while (sigwait(&set, &signal_number) != 0) {
  }
  return signal_number;
}

}  // namespace

void BlockShutdownSignals() {
  const sigset_t set = ShutdownSignals();
  CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, nullptr), 0);
}

int WaitForShutdownSignal() {
  const int signal_number = AwaitSignal();
  // Detached: it waits for as long as the process lives, and owns nothing.
  std::thread([] {
    SetThreadName("second-signal");
    AwaitSignal();
    constexpr char kMessage[] = "second signal: ending at once\n";
    (void)!write(STDERR_FILENO, kMessage, sizeof(kMessage) - 1);
    _exit(1);
  }).detach();
  return signal_number;
}

}  // namespace linnet::base
