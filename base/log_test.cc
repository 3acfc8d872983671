#include "base/log.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/strings.h"

namespace linnet::base {
namespace {

using Json = nlohmann::json;

// The lines that `f` writes to standard error.
std::vector<std::string> LinesOf(const std::function<void()>& f) {
  InitLogging("linnet-test");
  testing::internal::CaptureStderr();
  f();
  const std::string text = testing::internal::GetCapturedStderr();
  std::vector<std::string> lines;
  for (const std::string_view line : base::StrSplit(text, '\n')) {
    if (!line.empty()) lines.emplace_back(line);
  }
  return lines;
}

Json OnlyLine(const std::function<void()>& f) {
  const std::vector<std::string> lines = LinesOf(f);
  EXPECT_EQ(lines.size(), 1u);
  return lines.empty() ? Json() : Json::parse(lines[0], nullptr, false);
}

TEST(Log, OneJsonObjectALine) {
  const Json line = OnlyLine([] { LOG(WARNING) << "plain \"quoted\"\nsecond line"; });
  EXPECT_EQ(line["severity"], "WARNING");
  EXPECT_EQ(line["binary"], "linnet-test");
  EXPECT_EQ(line["message"], "plain \"quoted\"\nsecond line");
  EXPECT_EQ(line["time"].get<std::string>().back(), 'Z');
  EXPECT_EQ(line["source"].get<std::string>().substr(0, 12), "log_test.cc:");
}

TEST(Log, FieldsBecomeKeys) {
  const Json line = OnlyLine(
      [] { LOG(INFO) << LogFields("variant loaded", {{"variant", "models/x"}, {"load_ms", "812"}}) << " again"; });
  EXPECT_EQ(line["message"], "variant loaded again");
  EXPECT_EQ(line["variant"], "models/x");
  EXPECT_EQ(line["load_ms"], "812");
}

TEST(Log, FieldsCannotReplaceTheReservedOnes) {
  const Json line = OnlyLine([] { LOG(INFO) << LogFields("real", {{"message", "false"}, {"severity", "NONE"}}); });
  EXPECT_EQ(line["message"], "real");
  EXPECT_EQ(line["message_"], "false");
  EXPECT_EQ(line["severity"], "INFO");
}

TEST(Log, MessagesCannotForgeFields) {
  const Json line = OnlyLine([] { LOG(INFO) << LogFields("a\x1e{\"user\":\"root\"}\x1d z", {{"user", "guest"}}); });
  EXPECT_EQ(line["user"], "guest");
}

TEST(Log, InvalidUtf8StillMakesJson) {
  const Json line = OnlyLine([] { LOG(INFO) << LogFields("bad \xff", {{"name", "\xc3("}}); });
  ASSERT_TRUE(line.is_object());
  EXPECT_EQ(line["name"], "?(");
}

TEST(Log, LinesAreBounded) {
  const std::string control(20'000, '\x01');  // six bytes each when escaped
  const std::vector<std::string> lines = LinesOf([&] {
    LOG(INFO) << std::string(100'000, 'x');
    LOG(INFO) << control;
    LOG(INFO) << LogFields(control, {{"a", control}, {"b", control}, {"c", control}});
  });
  ASSERT_EQ(lines.size(), 3u);
  for (const std::string& line : lines) {
    EXPECT_LT(line.size(), size_t{8} << 10);
    const Json json = Json::parse(line, nullptr, false);
    ASSERT_TRUE(json.is_object());
    EXPECT_EQ(json["severity"], "INFO");
    EXPECT_EQ(json["binary"], "linnet-test");
  }
}

TEST(Log, LevelSuppressesWhatIsBelow) {
  InitLogging("linnet-test", "error");
  testing::internal::CaptureStderr();
  LOG(WARNING) << "not this";
  LOG(ERROR) << "this";
  const std::string text = testing::internal::GetCapturedStderr();
  InitLogging("linnet-test", "info");
  EXPECT_EQ(text.find("not this"), std::string::npos);
  EXPECT_NE(text.find("\"this\""), std::string::npos);
}

TEST(Log, LinesOfThreadsDoNotMix) {
  const std::vector<std::string> lines = LinesOf([] {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([] {
        for (int i = 0; i < 50; ++i) LOG(INFO) << std::string(300, 'x');
      });
    }
  });
  EXPECT_EQ(lines.size(), 200u);
  for (const std::string& line : lines) EXPECT_TRUE(Json::accept(line)) << line;
}

}  // namespace
}  // namespace linnet::base
