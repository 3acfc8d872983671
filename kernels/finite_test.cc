#include "kernels/finite.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "kernels/matrix.h"
#include "kernels/quantize.h"
#include "kernels/thread_pool.h"

namespace linnet::kernels {
namespace {

constexpr DType kTypes[] = {DType::kF32,  DType::kF16,  DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                            DType::kQ8_0, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K, DType::kBF16};

// Every two bytes are made infinite and NaN: what dequantizes to none is found, and nothing else.
TEST(AllFinite, IsWhatDequantizesToNumbers) {
  constexpr int64_t kElements = 512;
  for (const DType type : kTypes) {
    std::vector<float> values(kElements), back(kElements);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 37) - 15;
    std::vector<std::byte> stored(static_cast<size_t>(BytesFor(type, kElements)));
    auto* const bytes = reinterpret_cast<uint8_t*>(stored.data());
    ASSERT_TRUE(QuantizeRow(type, {.x = values.data(), .cols = kElements}, bytes).ok());
    EXPECT_TRUE(AllFinite(type, stored.data(), kElements));
    int found = 0;
    for (size_t at = 0; at + 2 <= stored.size(); at += 2) {
      for (const uint16_t bits : {0x7C00, 0xFC00, 0x7E00, 0x7F80, 0x7FC0}) {
        std::vector<std::byte> changed = stored;
        std::memcpy(changed.data() + at, &bits, sizeof(bits));
        Dequantize(type, changed.data(), kElements, back.data());
        bool finite = true;
        for (const float x : back) finite &= (x - x == 0);
        EXPECT_EQ(AllFinite(type, changed.data(), kElements), finite) << Info(type).name << " at " << at;
        found += finite ? 0 : 1;
      }
    }
    EXPECT_GT(found, 0) << Info(type).name;
  }
}

// In the last row, which no whole tile ends with.
TEST(AllFinite, MatricesAreCheckedWhereAsked) {
  ThreadPool pool(2);
  constexpr int64_t kRows = 17, kCols = 256;
  for (const DType type : kTypes) {
    const std::vector<float> ones(kCols, 1.0f);
    const auto row_bytes = static_cast<size_t>(BytesFor(type, kCols));
    std::vector<std::byte> stored(row_bytes * kRows);
    for (size_t r = 0; r < kRows; ++r) {
      auto* const row = reinterpret_cast<uint8_t*>(stored.data() + r * row_bytes);
      ASSERT_TRUE(QuantizeRow(type, {.x = ones.data(), .cols = kCols}, row).ok());
    }
    for (const Precision precision : {Precision::kFast, Precision::kReference}) {
      const auto create = [&](bool check) {
        return Matrix::Create(
                   {.type = type, .rows = kRows, .cols = kCols, .data = stored.data(), .check_finite = check},
                   precision, pool)
            .status();
      };
      const std::vector<std::byte> good = stored;
      EXPECT_TRUE(create(true).ok());
      // Of a plain type the last element, of a K format the end of a block has the scale, else its beginning.
      const size_t at = Info(type).block_elements == 1 || type == DType::kQ6_K
                            ? stored.size() - 2
                            : stored.size() - static_cast<size_t>(Info(type).block_bytes);
      const uint16_t infinite = type == DType::kF32 || type == DType::kBF16 ? 0x7F80 : 0x7C00;
      std::memcpy(stored.data() + at, &infinite, sizeof(infinite));
      EXPECT_EQ(create(true).code(), absl::StatusCode::kInvalidArgument) << Info(type).name;
      EXPECT_TRUE(create(false).ok());
      stored = good;
    }
  }
}

}  // namespace
}  // namespace linnet::kernels
