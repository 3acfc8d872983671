#include "tools/linnet/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "tools/linnet/command.h"

namespace linnet::cli {
namespace {

using absl::StatusCode;

struct Result {
  int code;
  std::string out, err;
};

Result Linnet(std::vector<const char*> args) {
  args.insert(args.begin(), "linnet");
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const int code = RunProgram(static_cast<int>(args.size()), args.data());
  return {code, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
}

TEST(ProgramTest, HelpAndVersionAreData) {
  const Result help = Linnet({"--help"});
  EXPECT_EQ(help.code, kExitDone);
  EXPECT_THAT(help.out, testing::HasSubstr("linnet model import"));
  EXPECT_THAT(help.out, testing::HasSubstr("Exit codes"));
  EXPECT_EQ(help.err, "");
  const Result version = Linnet({"--version"});
  EXPECT_EQ(version.code, kExitDone);
  EXPECT_THAT(version.out, testing::StartsWith("linnet "));
}

TEST(ProgramTest, EveryCommandHasExamples) {
  for (const auto& command : std::vector<std::vector<const char*>>{{"up"},
                                                                   {"model", "import"},
                                                                   {"model", "ls"},
                                                                   {"model", "show"},
                                                                   {"model", "rm"},
                                                                   {"variant", "ls"},
                                                                   {"variant", "show"},
                                                                   {"profile", "detect"},
                                                                   {"profile", "ls"},
                                                                   {"profile", "show"},
                                                                   {"resolve"},
                                                                   {"worker", "ls"},
                                                                   {"run"},
                                                                   {"generate"},
                                                                   {"score"},
                                                                   {"tokenize"},
                                                                   {"bench"}}) {
    auto args = command;
    args.push_back("--help");
    const Result result = Linnet(args);
    EXPECT_EQ(result.code, kExitDone) << command.back();
    EXPECT_THAT(result.out, testing::HasSubstr("Examples:\n  linnet")) << command.back();
  }
}

TEST(ProgramTest, WrongWordsAreAnsweredWithWhatWasMeant) {
  Result result = Linnet({"modle", "ls"});
  EXPECT_EQ(result.code, kExitUsage);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, testing::HasSubstr("unknown command 'modle'; did you mean 'model'?"));
  result = Linnet({"model", "lst"});
  EXPECT_EQ(result.code, kExitUsage);
  EXPECT_THAT(result.err, testing::HasSubstr("linnet model: unknown command 'lst'; did you mean 'ls'?"));
  result = Linnet({"model", "ls", "--ouput", "json"});
  EXPECT_EQ(result.code, kExitUsage);
  EXPECT_THAT(result.err, testing::HasSubstr("unknown option '--ouput'; did you mean '--output'?"));
  result = Linnet({"run"});
  EXPECT_EQ(result.code, kExitUsage);
  EXPECT_THAT(result.err, testing::HasSubstr("MODEL is required"));
  EXPECT_THAT(result.err, testing::HasSubstr("Try 'linnet run --help'"));
  result = Linnet({"model", "ls", "-o", "xml"});
  EXPECT_EQ(result.code, kExitUsage);
  EXPECT_THAT(result.err, testing::HasSubstr("xml"));
}

TEST(ProgramTest, ANounAloneShowsItsVerbs) {
  for (const char* noun : {"model", "variant", "profile", "worker"}) {
    const Result result = Linnet({noun});
    EXPECT_EQ(result.code, kExitUsage);
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, testing::HasSubstr("Usage: linnet ")) << noun;
  }
  EXPECT_THAT(Linnet({}).err, testing::HasSubstr("Usage: linnet"));
}

TEST(ProgramTest, UnreachableServersAreNamedWithTheRemedy) {
  Result result = Linnet({"model", "ls", "--registry", "127.0.0.1:1"});
  EXPECT_EQ(result.code, kExitUnreachable);
  EXPECT_THAT(result.err, testing::AllOf(testing::HasSubstr("127.0.0.1:1"), testing::HasSubstr("linnet up")));
  result = Linnet({"run", "m", "hello", "--gateway", "127.0.0.1:1"});
  EXPECT_EQ(result.code, kExitUnreachable);
  EXPECT_THAT(result.err, testing::AllOf(testing::HasSubstr("127.0.0.1:1"), testing::HasSubstr("linnet up")));
  result = Linnet({"model", "ls", "--registry", "nowhere"});
  EXPECT_EQ(result.code, kExitUsage);
  EXPECT_THAT(result.err, testing::HasSubstr("--registry"));
}

TEST(ProgramTest, ImportSaysWhatIsWrongWithTheFile) {
  Result result = Linnet({"model", "import", "/nonexistent/m.gguf"});
  EXPECT_EQ(result.code, kExitNotFound);
  EXPECT_THAT(result.err, testing::HasSubstr("/nonexistent/m.gguf"));
  result = Linnet({"model", "import", "/"});
  EXPECT_EQ(result.code, kExitUsage);
  EXPECT_THAT(result.err, testing::HasSubstr("is a folder"));
  result = Linnet({"model", "import", "/dev/null"});
  EXPECT_EQ(result.code, kExitUsage);
  EXPECT_THAT(result.err, testing::HasSubstr("not a regular file"));
  result = Linnet({"model", "import", "/proc/self/exe"});
  EXPECT_EQ(result.code, kExitFailed);
  EXPECT_THAT(result.err, testing::HasSubstr("/proc/self/exe"));
}

TEST(ExitCodeTest, FollowsTheKindOfError) {
  EXPECT_EQ(ExitCode(absl::OkStatus()), kExitDone);
  EXPECT_EQ(ExitCode(UsageError("x")), kExitUsage);
  EXPECT_EQ(ExitCode(base::FieldErrors({{"a", "b"}})), kExitUsage);
  EXPECT_EQ(ExitCode(base::Error(StatusCode::kInvalidArgument, "PROMPT_TOO_LONG", "x")), kExitFailed);
  EXPECT_EQ(ExitCode(base::Error(StatusCode::kNotFound, "MODEL_NOT_FOUND", "x")), kExitNotFound);
  EXPECT_EQ(ExitCode(base::Error(StatusCode::kAlreadyExists, "RESOURCE_EXISTS", "x")), kExitRefused);
  EXPECT_EQ(ExitCode(base::Error(StatusCode::kFailedPrecondition, "RESOURCE_IN_USE", "x")), kExitRefused);
  EXPECT_EQ(ExitCode(base::Error(StatusCode::kResourceExhausted, "QUEUE_FULL", "x")), kExitRefused);
  EXPECT_EQ(ExitCode(base::Error(StatusCode::kResourceExhausted, "OUT_OF_DISK", "x")), kExitFailed);
  EXPECT_EQ(ExitCode(absl::PermissionDeniedError("x")), kExitRefused);
  EXPECT_EQ(ExitCode(absl::UnavailableError("x")), kExitUnreachable);
  EXPECT_EQ(ExitCode(absl::InternalError("x")), kExitFailed);
  EXPECT_EQ(ExitCode(absl::CancelledError("x")), 130);
}

}  // namespace
}  // namespace linnet::cli
