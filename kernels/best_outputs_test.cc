#include "kernels/best_outputs.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "kernels/kernel_test_util.h"

namespace linnet::kernels {
namespace {

using testing::RandomFloats;
using testing::RandomWeights;
using testing::ScopedIsa;

struct Case {
  Case(int64_t outputs, int64_t k, int64_t rows, ThreadPool& pool) : outputs(outputs) {
    std::mt19937 random(3);
    const auto bytes = RandomWeights(DType::kQ8_0, outputs, k, random);
    weights = *Matrix::Create(
        {.type = DType::kQ8_0, .rows = outputs, .cols = k, .data = reinterpret_cast<const std::byte*>(bytes.data())},
        Precision::kFast, pool);
    x = RandomFloats(rows * k, random);
    activations.Set(x.data(), rows, k);
    all.resize(static_cast<size_t>(rows * outputs));
    const Product product = {.weights = weights.get(), .y = all.data()};
    Multiply({&product, 1}, activations, pool);
  }
  // In order, straight from the whole product.
  std::vector<ScoredOutput> Best(int64_t row, size_t count) const {
    std::vector<ScoredOutput> sorted;
    for (int64_t i = 0; i < outputs; ++i) {
      sorted.push_back({.value = all[static_cast<size_t>(row * outputs + i)], .index = static_cast<int32_t>(i)});
    }
    std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.value > b.value; });
    sorted.resize(std::min(count, sorted.size()));
    return sorted;
  }

  int64_t outputs;
  std::unique_ptr<Matrix> weights;
  std::vector<float> x, all;
  Activations activations;
};

std::vector<ScoredOutput> Copy(std::span<const ScoredOutput> best) { return {best.begin(), best.end()}; }

class BestOutputsOnIsa : public ::testing::TestWithParam<Isa> {
  const ScopedIsa isa_{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Isas, BestOutputsOnIsa, ::testing::ValuesIn(SupportedIsas()),
                         [](const auto& info) { return std::string(IsaName(info.param)); });

TEST_P(BestOutputsOnIsa, AreTheBestOfTheWholeProductOnAnyNumberOfThreads) {
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    Case c(5000, 64, 4, pool);
    BestOutputs output;
    std::vector<float> whole(5000, NAN);
    const int32_t wanted[] = {1, 0, 40, 7};
    for (int again = 0; again < 2; ++again) {
      output.Multiply({.weights = c.weights.get(), .y = whole.data()}, c.activations, wanted, pool);
      for (const int64_t row : {0, 2, 3}) {
        EXPECT_EQ(Copy(output.Of(row)), c.Best(row, static_cast<size_t>(wanted[row])))
            << threads << " threads, " << row;
      }
      EXPECT_TRUE(std::equal(whole.begin(), whole.end(), c.all.begin() + 5000)) << "the row that is wanted whole";
    }
  }
}

TEST_P(BestOutputsOnIsa, BiasAndSoftCapComeFirst) {
  ThreadPool pool(2);
  Case c(3000, 64, 2, pool);
  std::mt19937 random(4);
  const auto bias = RandomFloats(3000, random, 5);
  const int32_t some[] = {9, 0}, none[] = {0, 0};
  std::vector<float> row(3000), both(6000);
  Product product = {.weights = c.weights.get(), .bias = bias.data(), .softcap = 4};
  BestOutputs output;
  product.y = both.data();
  output.Multiply(product, c.activations, none, pool);
  for (int64_t i = 0; i < 6000; ++i) {
    const size_t at = static_cast<size_t>(i);
    ASSERT_NEAR(both[at], 4 * std::tanh((c.all[at] + bias[at % 3000]) / 4), 2e-6);
  }
  product.y = row.data();
  output.Multiply(product, c.activations, some, pool);
  c.all = both;
  EXPECT_EQ(Copy(output.Of(0)), c.Best(0, 9));
  EXPECT_TRUE(std::equal(row.begin(), row.end(), both.begin() + 3000));
}

TEST_P(BestOutputsOnIsa, OfEqualsTheFirst) {
  ThreadPool pool(3);
  Case c(3000, 64, 1, pool);
  // All outputs equal: a row of zeros.
  std::fill(c.x.begin(), c.x.end(), 0.0f);
  c.activations.Set(c.x.data(), 1, 64);
  BestOutputs output;
  const int32_t wanted[] = {3};
  output.Multiply({.weights = c.weights.get()}, c.activations, wanted, pool);
  EXPECT_EQ(Copy(output.Of(0)), (std::vector<ScoredOutput>{{0, 0}, {0, 1}, {0, 2}}));
}

TEST_P(BestOutputsOnIsa, MoreThanThereAreAreAll) {
  ThreadPool pool(2);
  Case c(20, 64, 1, pool);
  BestOutputs output;
  const int32_t wanted[] = {50};
  output.Multiply({.weights = c.weights.get()}, c.activations, wanted, pool);
  EXPECT_EQ(Copy(output.Of(0)), c.Best(0, 20));
}

// Of rows with a NaN in them all outputs are.
TEST_P(BestOutputsOnIsa, BrokenOutputsAreNone) {
  ThreadPool pool(2);
  for (const size_t at : {0, 31, 40, 63}) {
    Case c(100, 64, 2, pool);
    c.x[at] = NAN;
    c.activations.Set(c.x.data(), 2, 64);
    BestOutputs output;
    const int32_t wanted[] = {2, 3};
    output.Multiply({.weights = c.weights.get()}, c.activations, wanted, pool);
    EXPECT_TRUE(output.Of(0).empty()) << "a NaN at " << at;
    EXPECT_EQ(Copy(output.Of(1)), c.Best(1, 3)) << "a NaN at " << at;
  }
}

}  // namespace
}  // namespace linnet::kernels
