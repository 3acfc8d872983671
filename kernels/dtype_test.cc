#include "kernels/dtype.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/float16.h"

namespace linnet::kernels {
namespace {

std::string ReadGolden(const std::string& name) {
  std::ifstream file("tests/golden/dequant/" + name, std::ios::binary);
  EXPECT_TRUE(file.good()) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

// Written by tests/golden/make_dequant.py with ggml's own Python package: blocks as stored, then their values in f32.
class Golden : public ::testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Formats, Golden,
                         ::testing::Values(DType::kF16, DType::kBF16, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,
                                           DType::kQ5_1, DType::kQ8_0, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K),
                         [](const auto& info) { return std::string(Info(info.param).name); });

TEST_P(Golden, DequantizesBitForBit) {
  const std::string name(Info(GetParam()).name);
  const std::string blocks = ReadGolden(name + ".blocks"), values = ReadGolden(name + ".f32");
  const auto elements = static_cast<int64_t>(values.size() / sizeof(float));
  ASSERT_GE(elements, 512);
  ASSERT_EQ(static_cast<int64_t>(blocks.size()), BytesFor(GetParam(), elements));
  std::vector<float> out(static_cast<size_t>(elements), NAN);
  Dequantize(GetParam(), blocks.data(), elements, out.data());
  for (int64_t i = 0; i < elements; ++i) {
    uint32_t expected, got;
    std::memcpy(&expected, values.data() + i * 4, 4);
    std::memcpy(&got, &out[static_cast<size_t>(i)], 4);
    ASSERT_EQ(got, expected) << name << " element " << i << ": " << out[static_cast<size_t>(i)];
  }
}

TEST(DType, KnowsWhatItReads) {
  int known = 0;
  for (uint32_t type = 0; type < 64; ++type) {
    const auto dtype = DTypeFromGguf(type);
    if (!dtype.has_value()) continue;
    ++known;
    EXPECT_EQ(static_cast<uint32_t>(*dtype), type);
    EXPECT_GT(Info(*dtype).block_bytes, 0);
  }
  EXPECT_EQ(known, 11);
  EXPECT_FALSE(DTypeFromGguf(0xFFFFFFFF).has_value());
  EXPECT_EQ(BytesFor(DType::kQ4_K, 512), 288);
}

TEST(Float16, GoesRoundForEveryValue) {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    const auto half = static_cast<uint16_t>(h);
    const float f = F32FromF16(half);
    if (std::isnan(f)) {
      EXPECT_TRUE(std::isnan(F32FromF16(F16FromF32(f))));
    } else {
      EXPECT_EQ(F16FromF32(f), half);
    }
  }
}

TEST(Float16, RoundsToNearestEven) {
  EXPECT_EQ(F16FromF32(1.0f + 0x1p-11f), 0x3c00);      // halfway: to even
  EXPECT_EQ(F16FromF32(1.0f + 3 * 0x1p-11f), 0x3c02);  // halfway: to even, upwards
  EXPECT_EQ(F16FromF32(1.0f + 0x1.1p-11f), 0x3c01);
  EXPECT_EQ(F16FromF32(65519.0f), 0x7bff);
  EXPECT_EQ(F16FromF32(65520.0f), 0x7c00);
  EXPECT_EQ(F16FromF32(0x1p-25f), 0);
  EXPECT_EQ(F16FromF32(0x1.8p-25f), 1);
  EXPECT_EQ(F16FromF32(-0.0f), 0x8000);
}

}  // namespace
}  // namespace linnet::kernels
