#include "base/human.h"

#include <gtest/gtest.h>

#include <limits>

namespace linnet::base {
namespace {

TEST(HumanBytes, PicksTheUnit) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(1023), "1023 B");
  EXPECT_EQ(HumanBytes(1024), "1.0 KiB");
  EXPECT_EQ(HumanBytes(98 << 20), "98.0 MiB");
  EXPECT_EQ(HumanBytes(3'328'599'654), "3.1 GiB");
  EXPECT_EQ(HumanBytes((uint64_t{1} << 30) - 1), "1.0 GiB");  // not "1024.0 MiB"
  EXPECT_EQ(HumanBytes(std::numeric_limits<uint64_t>::max()), "16.0 EiB");
}

TEST(HumanDuration, PicksTheUnit) {
  EXPECT_EQ(HumanDuration(absl::ZeroDuration()), "0 us");
  EXPECT_EQ(HumanDuration(absl::Microseconds(850)), "850 us");
  EXPECT_EQ(HumanDuration(absl::Microseconds(12'500)), "12.5 ms");
  EXPECT_EQ(HumanDuration(absl::Milliseconds(3200)), "3.2 s");
  EXPECT_EQ(HumanDuration(absl::Seconds(245)), "4m 05s");
  EXPECT_EQ(HumanDuration(absl::Minutes(123)), "2h 03m");
  EXPECT_EQ(HumanDuration(absl::Hours(76)), "3d 04h");
  EXPECT_EQ(HumanDuration(-absl::Seconds(3)), "-3.0 s");
  EXPECT_EQ(HumanDuration(absl::InfiniteDuration()), "forever");
}

TEST(HumanDuration, RoundsIntoTheNextUnit) {
  EXPECT_EQ(HumanDuration(absl::Nanoseconds(999'900)), "1.0 ms");
  EXPECT_EQ(HumanDuration(absl::Microseconds(999'990)), "1.0 s");
  EXPECT_EQ(HumanDuration(absl::Milliseconds(59'960)), "1m 00s");
}

}  // namespace
}  // namespace linnet::base
