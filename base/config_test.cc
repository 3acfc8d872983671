#include "base/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/testing.h"
#include "google/rpc/error_details.pb.h"

namespace linnet::base {
namespace {

using ::testing::HasSubstr;

TEST(ReadConfig, MergesOverTheDefaults) {
  FileTree tree;
  google::rpc::ErrorInfo config;  // any message will do
  config.set_reason("default");
  config.set_domain("default");
  const absl::Status status = ReadConfig(tree.Write("a", "# comment\nreason: \"set\"\n"), &config);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(config.reason(), "set");
  EXPECT_EQ(config.domain(), "default");
}

TEST(ReadConfig, EmptyPathChangesNothing) {
  google::rpc::ErrorInfo config;
  config.set_reason("default");
  EXPECT_TRUE(ReadConfig("", &config).ok());
  EXPECT_EQ(config.reason(), "default");
}

TEST(ReadConfig, ErrorNamesFileLineAndColumnAndChangesNothing) {
  FileTree tree;
  google::rpc::ErrorInfo config;
  const std::string path = tree.Write("bad.textproto", "reason: \"set\"\n\n  no_such_field: 3\n");
  const absl::Status status = ReadConfig(path, &config);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorReason(status), "INVALID_FIELD");
  EXPECT_THAT(std::string(status.message()), HasSubstr(path + ":3:16: "));
  EXPECT_THAT(std::string(status.message()), HasSubstr("no_such_field"));
  EXPECT_EQ(config.reason(), "");
}

TEST(ReadConfig, BinaryGarbageIsAnError) {
  FileTree tree;
  google::rpc::ErrorInfo config;
  EXPECT_EQ(ReadConfig(tree.Write("a", std::string("\0\xff\x01{{{", 6)), &config).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadConfig(tree.Write("b", std::string(100'000, '{')), &config).code(), absl::StatusCode::kInvalidArgument);
}

TEST(ReadConfig, MissingAndHugeFiles) {
  FileTree tree;
  google::rpc::ErrorInfo config;
  EXPECT_EQ(ReadConfig(tree.Path("none"), &config).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadConfig("/dev/zero", &config).code(), absl::StatusCode::kResourceExhausted);
}

TEST(ParseHostPort, Good) {
  for (const auto& [text, host, port] : {std::tuple{"127.0.0.1:8080", "127.0.0.1", 8080},
                                         {"[::1]:8080", "::1", 8080},
                                         {"localhost:0", "localhost", 0},
                                         {"registry.linnet.svc:65535", "registry.linnet.svc", 65535}}) {
    const auto parsed = ParseHostPort(text);
    ASSERT_TRUE(parsed.ok()) << text << ": " << parsed.status();
    EXPECT_EQ(parsed->host, host);
    EXPECT_EQ(parsed->port, port);
  }
}

TEST(ParseHostPort, Bad) {
  for (const char* text : {"",
                           ":",
                           "8080",
                           ":8080",
                           "localhost",
                           "localhost:",
                           "localhost:x",
                           "localhost:65536",
                           "localhost:-1",
                           "localhost:+1",
                           "localhost: 1",
                           "localhost:99999999999999999999",
                           "::1:8080",
                           "[::1]",
                           "[]:1",
                           "[::1:8080",
                           "[host]:1",
                           "http://a:1",
                           "a b:1",
                           "user@host:1"}) {
    const auto parsed = ParseHostPort(text);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(CheckListenAddress, LoopbackOrInsecure) {
  for (const char* address : {"127.0.0.1:1", "127.1.2.3:1", "localhost:1", "[::1]:1"}) {
    EXPECT_TRUE(CheckListenAddress("gateway.address", address, false).ok()) << address;
  }
  for (const char* address : {"0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.com:1", "127.evil.com:1"}) {
    const absl::Status status = CheckListenAddress("gateway.address", address, false);
    EXPECT_FALSE(status.ok()) << address;
    EXPECT_THAT(std::string(status.message()), HasSubstr("gateway.address"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("--insecure"));
    EXPECT_TRUE(CheckListenAddress("gateway.address", address, true).ok()) << address;
  }
  EXPECT_FALSE(CheckListenAddress("gateway.address", "nonsense", true).ok());
}

}  // namespace
}  // namespace linnet::base
