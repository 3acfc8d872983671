#include "kernels/block_diagonal.h"

#include <vector>

#include "kernels/kernel_test_util.h"

namespace linnet::kernels {
namespace {

using testing::RandomFloats;
using testing::ScopedIsa;

class BlockDiagonalOn : public ::testing::TestWithParam<Isa> {
 protected:
  BlockDiagonalOn() : isa_(GetParam()) {}
  const ScopedIsa isa_;
  std::mt19937 random_{5};
};
INSTANTIATE_TEST_SUITE_P(Isas, BlockDiagonalOn, ::testing::ValuesIn(SupportedIsas()),
                         [](const auto& info) { return std::string(IsaName(info.param)); });

TEST_P(BlockDiagonalOn, MultipliesEachBlockByItsOwnMatrix) {
  ThreadPool pool(2);
  constexpr int kBlocks = 3;
  for (const auto& [inputs, outputs] : {std::pair<int64_t, int64_t>{8, 16}, {33, 50}, {64, 256}, {1, 1}}) {
    const auto w = RandomFloats(kBlocks * inputs * outputs, random_), bias = RandomFloats(kBlocks * outputs, random_);
    for (const int64_t rows : {1, 3, 4, 37}) {
      // More between rows and between blocks than they take.
      const int64_t x_block = inputs + 5, x_row = kBlocks * x_block + 2, y_block = outputs + 3,
                    y_row = kBlocks * y_block;
      const auto x = RandomFloats(rows * x_row, random_);
      for (const Precision precision : {Precision::kReference, Precision::kFast}) {
        const BlockDiagonal matrix(kBlocks, inputs, outputs, w, precision);
        EXPECT_EQ(matrix.bytes(), BlockDiagonal::Bytes(kBlocks * inputs * outputs, precision));
        std::vector<float> y(static_cast<size_t>(rows * y_row), 7.0f);
        matrix.Multiply({.x = x.data(),
                         .x_stride = x_row,
                         .x_block_stride = x_block,
                         .y = y.data(),
                         .y_stride = y_row,
                         .y_block_stride = y_block,
                         .bias = bias.data(),
                         .rows = rows},
                        pool);
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t b = 0; b < kBlocks; ++b) {
            for (int64_t o = 0; o < outputs; ++o) {
              double expected = bias[b * outputs + o], magnitude = 1;
              for (int64_t i = 0; i < inputs; ++i) {
                const double term = double{x[r * x_row + b * x_block + i]} * w[(b * inputs + i) * outputs + o];
                expected += term;
                magnitude += std::abs(term);
              }
              EXPECT_NEAR(y[r * y_row + b * y_block + o], expected,
                          magnitude * (precision == Precision::kFast ? 6e-4 : 2e-6));
            }
            for (int64_t o = outputs; o < y_block; ++o) EXPECT_EQ(y[r * y_row + b * y_block + o], 7.0f);
          }
        }
      }
    }
  }
}

TEST_P(BlockDiagonalOn, ARowDoesNotDependOnTheOthers) {
  ThreadPool pool(2);
  constexpr int64_t kInputs = 40, kOutputs = 70, kRows = 71;
  const auto w = RandomFloats(2 * kInputs * kOutputs, random_), x = RandomFloats(kRows * 2 * kInputs, random_);
  const BlockDiagonal matrix(2, kInputs, kOutputs, w, Precision::kFast);
  std::vector<float> together(kRows * 2 * kOutputs), alone(2 * kOutputs);
  BlockProduct product = {.x = x.data(),
                          .x_stride = 2 * kInputs,
                          .x_block_stride = kInputs,
                          .y = together.data(),
                          .y_stride = 2 * kOutputs,
                          .y_block_stride = kOutputs,
                          .rows = kRows};
  matrix.Multiply(product, pool);
  product.rows = 1;
  product.y = alone.data();
  for (int64_t r = 0; r < kRows; ++r, product.x += product.x_stride) {
    matrix.Multiply(product, pool);
    for (int64_t o = 0; o < 2 * kOutputs; ++o) ASSERT_EQ(alone[o], together[r * 2 * kOutputs + o]);
  }
}

}  // namespace
}  // namespace linnet::kernels
