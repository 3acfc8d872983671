#include "base/sha256.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "base/testing.h"

namespace linnet::base {
namespace {

// FIPS 180-2, appendix B.
constexpr char kAbc[] = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr char kMillionA[] = "sha256:cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
constexpr char kEmpty[] = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

TEST(Sha256, StandardsExamples) {
  EXPECT_EQ(Sha256Of("abc"), kAbc);
  EXPECT_EQ(Sha256().Digest(), kEmpty);
}

TEST(Sha256, PartsMakeTheWhole) {
  Sha256 sha;
  for (int i = 0; i < 1000; ++i) sha.Update(std::string(1000, 'a'));
  EXPECT_EQ(sha.Digest(), kMillionA);
}

TEST(Sha256, MovesWithItsState) {
  Sha256 first;
  first.Update("a");
  Sha256 second = std::move(first);
  second.Update("bc");
  EXPECT_EQ(second.Digest(), kAbc);
}

TEST(Sha256OfFile, EqualsThatOfItsBytes) {
  FileTree tree;
  EXPECT_EQ(*Sha256OfFile(tree.Write("a", std::string(1'000'000, 'a'))), kMillionA);
  EXPECT_EQ(*Sha256OfFile(tree.Write("empty", "")), kEmpty);
  EXPECT_EQ(Sha256OfFile(tree.Path("none")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Sha256OfFile(tree.root()).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(IsSha256Digest, OnlyLowerCaseHexOfTheRightLength) {
  EXPECT_TRUE(IsSha256Digest(kAbc));
  std::string upper = kAbc;
  upper[7] = 'B';
  EXPECT_FALSE(IsSha256Digest(upper));
  EXPECT_FALSE(IsSha256Digest(std::string(kAbc) + "0"));
  EXPECT_FALSE(IsSha256Digest(std::string(kAbc).substr(0, 70)));
  EXPECT_FALSE(IsSha256Digest("sha512:" + std::string(64, 'a')));
  EXPECT_FALSE(IsSha256Digest("sha256:" + std::string(32, '.') + "/../" + std::string(28, 'a')));
  EXPECT_FALSE(IsSha256Digest(""));
}

}  // namespace
}  // namespace linnet::base
