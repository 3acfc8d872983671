#include "tools/linnet/home.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace linnet::cli {
namespace {

TEST(HomeTest, TheEnvironmentDecides) {
  setenv("LINNET_HOME", "/a", 1);
  EXPECT_EQ(LinnetHome(), "/a");
  unsetenv("LINNET_HOME");
  setenv("XDG_DATA_HOME", "/b", 1);
  EXPECT_EQ(LinnetHome(), "/b/linnet");
  unsetenv("XDG_DATA_HOME");
  setenv("HOME", "/c", 1);
  EXPECT_EQ(LinnetHome(), "/c/.local/share/linnet");
}

TEST(HomeTest, EndpointsComeBackAsTheyWereWritten) {
  const std::string home = absl::StrCat(testing::TempDir(), "home.", getpid());
  std::filesystem::create_directories(home + "/run");
  EXPECT_FALSE(ReadEndpoints(home).has_value());
  ASSERT_TRUE(WriteEndpoints(home, {.gateway_grpc = "127.0.0.1:1", .worker_metrics = "127.0.0.1:2"}).ok());
  const auto endpoints = ReadEndpoints(home);
  ASSERT_TRUE(endpoints.has_value());
  EXPECT_EQ(endpoints->gateway_grpc, "127.0.0.1:1");
  EXPECT_EQ(endpoints->worker_metrics, "127.0.0.1:2");
  std::ofstream(home + "/run/endpoints.json") << "{broken";
  EXPECT_FALSE(ReadEndpoints(home).has_value());
  RemoveEndpoints(home);
  EXPECT_FALSE(ReadEndpoints(home).has_value());
  std::filesystem::remove_all(home);
}

}  // namespace
}  // namespace linnet::cli
