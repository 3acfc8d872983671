#include "kernels/machine_limits.h"

#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/kernel_test_util.h"

namespace linnet::kernels {
namespace {

using testing::ScopedIsa;

const MachineLimitsOptions kQuick = {.read_bytes = 4 << 20, .samples = 2, .sample = absl::Microseconds(50)};

TEST(MachineLimitsTest, EveryInstructionSetHasPositiveRates) {
  ThreadPool pool(2);
  for (const Isa isa : SupportedIsas()) {
    SCOPED_TRACE(std::string(IsaName(isa)));
    const ScopedIsa scoped(isa);
    const auto limits = MeasureMachineLimits(kQuick, pool);
    ASSERT_TRUE(limits.ok()) << limits.status();
    EXPECT_EQ(limits->isa, isa);
    EXPECT_EQ(limits->threads, 2);
    EXPECT_EQ(limits->read_bytes, 4 << 20);
    for (const Rate* rate : {&limits->read, &limits->read_one_thread, &limits->f32, &limits->int8, &limits->int6,
                             &limits->int5, &limits->int4}) {
      EXPECT_GT(rate->least, 0);
      EXPECT_LE(rate->least, rate->median);
      EXPECT_LE(rate->median, rate->most);
      EXPECT_TRUE(std::isfinite(rate->most));
    }
  }
}

TEST(MachineLimitsTest, AFormatHasTheArithmeticOfItsWidth) {
  const MachineLimits limits;
  EXPECT_EQ(&limits.ForType(DType::kQ4_0), &limits.int4);
  EXPECT_EQ(&limits.ForType(DType::kQ4_K), &limits.int4);
  EXPECT_EQ(&limits.ForType(DType::kQ5_1), &limits.int5);
  EXPECT_EQ(&limits.ForType(DType::kQ6_K), &limits.int6);
  EXPECT_EQ(&limits.ForType(DType::kQ8_0), &limits.int8);
  EXPECT_EQ(&limits.ForType(DType::kF16), &limits.f32);
}

TEST(MachineLimitsTest, ABufferBeyondMemoryIsRefused) {
  ThreadPool pool(1);
  const auto limits = MeasureMachineLimits({.read_bytes = std::numeric_limits<int64_t>::max() / 2}, pool);
  EXPECT_EQ(limits.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(base::ErrorReason(limits.status()), "OUT_OF_MEMORY");
}

}  // namespace
}  // namespace linnet::kernels
