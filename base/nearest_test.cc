#include "base/nearest.h"

#include <gtest/gtest.h>

namespace linnet::base {
namespace {

TEST(NearestTest, FindsTypingMistakesOnly) {
  const std::vector<std::string> words = {"model", "variant", "worker", "up"};
  EXPECT_EQ(Nearest("modle", words), "model");
  EXPECT_EQ(Nearest("models", words), "model");
  EXPECT_EQ(Nearest("wroker", words), "worker");
  EXPECT_EQ(Nearest("elephant", words), "");
  EXPECT_EQ(Nearest("", words), "");
}

}  // namespace
}  // namespace linnet::base
