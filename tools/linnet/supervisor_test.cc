// The supervisor over shell scripts that stand for servers.
#include "tools/linnet/supervisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/clock.h"

namespace linnet::cli {
namespace {

using testing::HasSubstr;

class SupervisorTest : public testing::Test {
 protected:
  SupervisorTest() : folder_(absl::StrCat(testing::TempDir(), "supervisor.", getpid(), ".", counter_++)) {
    std::filesystem::create_directories(folder_);
  }
  ~SupervisorTest() override { std::filesystem::remove_all(folder_); }

  // A program whose arguments are those of a server; `body` finds its ready file in $ready.
  ChildProcess::Options Script(const std::string& name, const std::string& body) {
    const std::string path = absl::StrCat(folder_, "/", name);
    std::ofstream(path) << "#!/bin/bash\nfor a in \"$@\"; do case $a in --ready-file=*) ready=${a#*=} ;; --listen=*) "
                           "listen=${a#*=} ;; esac; done\n"
                        << "be_ready() { echo \"{\\\"grpc\\\": ${1:-4711}}\" > $ready.tmp; mv $ready.tmp $ready; }\n"
                        << body << "\n";
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    return {.name = name,
            .program = path,
            .ports = {{"--listen", "grpc", 0}},
            .log_path = absl::StrCat(folder_, "/", name, ".log"),
            .ready_path = absl::StrCat(folder_, "/", name, ".ready")};
  }
  Supervisor::Options Options() {
    return {.note = [this](std::string_view line) { notes_ += std::string(line) + "\n"; },
            .ready_timeout = absl::Seconds(20),
            .stop_timeout = absl::Seconds(5)};
  }
  std::string Read(const std::string& name) {
    std::ifstream in(absl::StrCat(folder_, "/", name));
    return {std::istreambuf_iterator<char>(in), {}};
  }

  static inline int counter_ = 0;
  const std::string folder_;
  std::string notes_;
};

constexpr char kServe[] =
    "trap 'echo stopped; echo $0 >> $(dirname $0)/order; exit 0' TERM; be_ready; while :; do sleep 0.05; done";

TEST_F(SupervisorTest, StopsInTheReverseOrderOfTheStart) {
  Supervisor supervisor(Options());
  for (const char* name : {"one", "two", "three"}) {
    const auto process = supervisor.Start(Script(name, kServe));
    ASSERT_TRUE(process.ok()) << process.status();
    EXPECT_EQ((*process)->Address("grpc"), "127.0.0.1:4711");
  }
  kill(getpid(), SIGTERM);
  EXPECT_TRUE(supervisor.Run().ok());
  EXPECT_TRUE(supervisor.Stop());
  EXPECT_EQ(Read("order"), absl::StrCat(folder_, "/three\n", folder_, "/two\n", folder_, "/one\n"));
}

TEST_F(SupervisorTest, AProcessThatDoesNotStartIsReportedWithTheEndOfItsLog) {
  Supervisor supervisor(Options());
  const auto process =
      supervisor.Start(Script("broken", R"(echo '{"severity":"ERROR","message":"no room","path":"/x"}' >&2; exit 3)"));
  ASSERT_FALSE(process.ok());
  EXPECT_THAT(std::string(process.status().message()),
              testing::AllOf(HasSubstr("the broken did not start (exit code 3)"), HasSubstr("ERROR no room path=/x")));
}

TEST_F(SupervisorTest, OneThatDiesIsStartedAgainOnThePortItHad) {
  Supervisor supervisor(Options());
  // The first time it takes a free port and dies; the second time it says which port it was given and ends the test.
  const auto process = supervisor.Start(Script("worker", R"(
    if [[ -e $0.again ]]; then echo "given $listen"; trap 'exit 0' TERM; be_ready; kill -TERM $PPID; while :; do sleep 0.05; done; fi
    touch $0.again; be_ready 4712; sleep 0.2; kill -KILL $$)"));
  ASSERT_TRUE(process.ok()) << process.status();
  EXPECT_TRUE(supervisor.Run().ok());
  EXPECT_THAT(notes_, HasSubstr("the worker ended (signal 9"));
  EXPECT_THAT(Read("worker.log"), HasSubstr("given 127.0.0.1:4712"));
  EXPECT_TRUE(supervisor.Stop());
}

TEST_F(SupervisorTest, OneThatKeepsDyingIsGivenUp) {
  auto options = Options();
  options.max_restarts = 1;
  Supervisor supervisor(options);
  ASSERT_TRUE(supervisor.Start(Script("worker", "be_ready; sleep 0.1; echo last words; exit 5")).ok());
  const absl::Status status = supervisor.Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnknown);
  EXPECT_THAT(std::string(status.message()), testing::AllOf(HasSubstr("exit code 5"), HasSubstr("last words")));
}

TEST_F(SupervisorTest, OneThatDoesNotStopIsKilled) {
  auto options = Options();
  options.stop_timeout = absl::Milliseconds(300);
  Supervisor supervisor(options);
  const auto process = supervisor.Start(Script("stubborn", "trap '' TERM; be_ready; while :; do sleep 0.05; done"));
  ASSERT_TRUE(process.ok()) << process.status();
  const pid_t pid = (*process)->pid();
  EXPECT_FALSE(supervisor.Stop());
  EXPECT_NE(kill(pid, 0), 0);
  EXPECT_THAT(notes_, HasSubstr("the stubborn does not stop; killing it"));
}

TEST_F(SupervisorTest, LogsAreRotatedAtTheStart) {
  for (int run = 1; run <= 4; ++run) {
    Supervisor supervisor(Options());
    ASSERT_TRUE(supervisor.Start(Script("server", absl::StrCat("echo run ", run, "\n", kServe))).ok());
  }
  EXPECT_THAT(Read("server.log"), HasSubstr("run 4"));
  EXPECT_THAT(Read("server.log.1"), HasSubstr("run 3"));
  EXPECT_THAT(Read("server.log.2"), HasSubstr("run 2"));
}

}  // namespace
}  // namespace linnet::cli
