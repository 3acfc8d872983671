#include "base/json_depth.h"

#include <gtest/gtest.h>

#include <string>

namespace linnet::base {
namespace {

TEST(NestsDeeperThan, CountsWhatIsOpenAtOnce) {
  EXPECT_FALSE(NestsDeeperThan("", 0));
  EXPECT_FALSE(NestsDeeperThan("1", 0));
  EXPECT_TRUE(NestsDeeperThan("[]", 0));
  EXPECT_FALSE(NestsDeeperThan(R"({"a": [], "b": []})", 2));
  EXPECT_TRUE(NestsDeeperThan(R"({"a": [], "b": [{}]})", 2));
  EXPECT_TRUE(NestsDeeperThan(std::string(1000, '['), 999)) << "also where nothing is closed";
}

TEST(NestsDeeperThan, BracketsInStringsAreText) {
  EXPECT_FALSE(NestsDeeperThan(R"(["[[{{", "\"[["])", 1));
  EXPECT_TRUE(NestsDeeperThan(R"(["\\", [])", 1)) << "the backslash is escaped, not the quote";
}

}  // namespace
}  // namespace linnet::base
