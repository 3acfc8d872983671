#include "base/shutdown.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>

namespace linnet::base {
namespace {

// A process that waits for a signal, tells which came through a pipe, and then hangs as if it drained for ever.
class Process {
 public:
  Process() {
    int fds[2];
    EXPECT_EQ(pipe(fds), 0);
    pid_ = fork();
    if (pid_ == 0) {
      BlockShutdownSignals();
      Tell(fds[1], 'r');
      Tell(fds[1], static_cast<char>(WaitForShutdownSignal()));
      while (true) pause();
    }
    close(fds[1]);
    out_ = fds[0];
  }
  ~Process() {
    close(out_);
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
  }

  // The next byte it tells, or -1 where none comes in 10 s.
  int Next() const {
    pollfd poller = {out_, POLLIN, 0};
    char byte = 0;
    if (poll(&poller, 1, 10'000) != 1 || read(out_, &byte, 1) != 1) return -1;
    return byte;
  }
  void Signal(int number) const { kill(pid_, number); }
  // Its exit status once it ended.
  int Wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  static void Tell(int fd, char byte) {
    if (write(fd, &byte, 1) != 1) _exit(9);
  }

  pid_t pid_ = -1;
  int out_ = -1;
};

TEST(Shutdown, TellsWhichSignalCame) {
  for (const int number : {SIGTERM, SIGINT}) {
    Process process;
    ASSERT_EQ(process.Next(), 'r');
    process.Signal(number);
    EXPECT_EQ(process.Next(), number);
  }
}

TEST(Shutdown, SecondSignalEndsTheProcessWithOne) {
  Process process;
  ASSERT_EQ(process.Next(), 'r');
  process.Signal(SIGTERM);
  ASSERT_EQ(process.Next(), SIGTERM);
  process.Signal(SIGINT);
  EXPECT_EQ(process.Wait(), 1);
}

}  // namespace
}  // namespace linnet::base
