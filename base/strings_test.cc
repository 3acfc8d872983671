#include "base/strings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace linnet::base {
namespace {

using ::testing::ElementsAre;

TEST(StrCat, TakesBothKindsOfStringViews) {
  const std::string_view standard = "std";
  const absl::string_view abseil = "absl";
  const std::string owned = "own";
  EXPECT_EQ(base::StrCat(standard, " ", abseil, " ", owned, " ", 7, " ", 1.5, " ", absl::Hex(255)),
            "std absl own 7 1.5 ff");
  std::string text = "a";
  base::StrAppend(&text, standard, 1);
  EXPECT_EQ(text, "astd1");
}

TEST(StrSplit, KeepsEmptyPartsAndBoundsTheirNumber) {
  EXPECT_THAT(base::StrSplit("a,,b,", ','), ElementsAre("a", "", "b", ""));
  EXPECT_THAT(base::StrSplit("", ','), ElementsAre(""));
  EXPECT_THAT(base::StrSplit("a - b - c", " - ", 2), ElementsAre("a", "b - c"));
  EXPECT_THAT(base::StrSplit("a:b:c", ':', 1), ElementsAre("a:b:c"));
}

TEST(StringViews, ConvertThereAndBackAlsoWithZeros) {
  const std::string_view text("a\0b", 3);
  EXPECT_EQ(ToStd(ToAbsl(text)), text);
}

}  // namespace
}  // namespace linnet::base
