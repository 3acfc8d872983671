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

TEST(EditDistance, CountsTypingMistakes) {
  EXPECT_EQ(EditDistance("", ""), 0);
  EXPECT_EQ(EditDistance("abc", ""), 3);
  EXPECT_EQ(EditDistance("model", "modle"), 1);  // a swap
  EXPECT_EQ(EditDistance("model", "mode"), 1);
  EXPECT_EQ(EditDistance("model", "nodels"), 2);
}

}  // namespace
}  // namespace linnet::base
