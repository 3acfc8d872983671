#include "kernels/matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/activation_chunks.h"
#include "kernels/activations.h"
#include "kernels/kernel_test_util.h"
#include "kernels/quant_matmul.h"
#include "kernels/shared_matmul.h"

namespace linnet::kernels {
namespace {

using testing::FillQuants;
using testing::RandomFloats;
using testing::RandomWeights;
using testing::ScopedIsa;
using testing::SetWeight;

std::unique_ptr<Matrix> Create(PackedType type, int64_t n, int64_t k, const std::vector<uint8_t>& bytes,
                               Precision precision, ThreadPool& pool) {
  auto matrix = Matrix::Create({.type = type.type,
                                .rows = n,
                                .cols = k,
                                .data = reinterpret_cast<const std::byte*>(bytes.data()),
                                .shared = type.shared},
                               precision, pool);
  EXPECT_TRUE(matrix.ok()) << matrix.status();
  return *std::move(matrix);
}

std::vector<float> Product1(const Matrix& w, const std::vector<float>& x, int64_t m, ThreadPool& pool,
                            const float* bias = nullptr, const float* residual = nullptr) {
  std::vector<float> y(static_cast<size_t>(m * w.rows()), NAN);
  Activations activations;
  activations.Set(x.data(), m, w.cols());
  const Product product{.weights = &w, .y = y.data(), .bias = bias, .residual = residual};
  Multiply({&product, 1}, activations, pool);
  return y;
}

// In double, from dequantized weights.
std::vector<double> Exact(DType type, const std::vector<uint8_t>& bytes, int64_t n, int64_t k,
                          const std::vector<float>& x, int64_t m) {
  std::vector<float> w(static_cast<size_t>(n * k));
  Dequantize(type, bytes.data(), n * k, w.data());
  std::vector<double> y(static_cast<size_t>(m * n));
  for (int64_t r = 0; r < m; ++r) {
    for (int64_t c = 0; c < n; ++c) {
      double sum = 0;
      for (int64_t i = 0; i < k; ++i) sum += double{x[r * k + i]} * w[c * k + i];
      y[r * n + c] = sum;
    }
  }
  return y;
}

// Root mean square of the difference over that of the expected values.
double RelativeError(const std::vector<float>& y, const std::vector<double>& expected) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    difference += (y[i] - expected[i]) * (y[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  return std::sqrt(difference / size);
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

struct Shape {
  int64_t m, n, k;
};

void ExpectScalarBitsOnEveryIsa(PackedType type, const Shape& s, std::mt19937& random) {
  ThreadPool pool(2);
  const auto bytes = RandomWeights(type, s.n, s.k, random);
  const auto x = RandomFloats(s.m * s.k, random), bias = RandomFloats(s.n, random),
             residual = RandomFloats(s.m * s.n, random);
  std::vector<float> expected;
  for (const Isa isa : SupportedIsas()) {
    const ScopedIsa scoped(isa);
    const auto w = Create(type, s.n, s.k, bytes, Precision::kFast, pool);
    const auto y = Product1(*w, x, s.m, pool, bias.data(), residual.data());
    if (isa == Isa::kScalar) expected = y;
    EXPECT_TRUE(SameBits(y, expected)) << IsaName(isa) << " " << s.m << "x" << s.n << "x" << s.k;
  }
}

// What a matrix gives back of its weights is what was stored.
void ExpectRowsComeBackBitForBit(const Matrix& w, DType type, const std::vector<uint8_t>& bytes) {
  const int64_t n = w.rows(), k = w.cols();
  std::vector<float> expected(n * k), row(k);
  Dequantize(type, bytes.data(), n * k, expected.data());
  for (int64_t r = 0; r < n; ++r) {
    w.DequantizeRow(r, row.data());
    ASSERT_EQ(0, std::memcmp(row.data(), &expected[r * k], k * sizeof(float))) << "row " << r;
  }
}

class QuantMatrix : public ::testing::TestWithParam<PackedType> {
 protected:
  // Small ones, odd ones, and every size of a block of rows.
  std::vector<Shape> Shapes() const {
    const int64_t k = Info(GetParam().type).block_elements;
    return {{1, 1, k},      {3, 5, k},       {1, 16, 2 * k}, {2, 17, 3 * k}, {7, 33, k},      {16, 48, 512},
            {31, 100, 256}, {70, 15, 2 * k}, {8, 64, 768},   {33, 20, 1280}, {35, 50, 17 * k}};
  }
};
INSTANTIATE_TEST_SUITE_P(Formats, QuantMatrix, ::testing::ValuesIn(testing::kPackedTypes),
                         [](const auto& info) { return std::string(PackedTypeName(info.param)); });

TEST_P(QuantMatrix, RowsComeBackBitForBit) {
  std::mt19937 random(1);
  ThreadPool pool(2);
  const auto bytes = RandomWeights(GetParam(), 37, 512, random);
  ExpectRowsComeBackBitForBit(*Create(GetParam(), 37, 512, bytes, Precision::kFast, pool), GetParam().type, bytes);
}

TEST_P(QuantMatrix, EveryIsaGivesTheScalarBits) {
  std::mt19937 random(2);
  for (const Shape& s : Shapes()) ExpectScalarBitsOnEveryIsa(GetParam(), s, random);
}

TEST_P(QuantMatrix, LargestValuesDoNotOverflow) {
  ThreadPool pool(1);
  const int64_t n = 16, k = 256;
  // All bits set, all clear, and alternating, against activations of one sign: the largest sums that there are.
  for (const uint8_t fill : {0xFF, 0x00, 0x80, 0x7F}) {
    std::mt19937 random(3);
    auto bytes = RandomWeights(GetParam(), n, k, random);
    FillQuants(GetParam().type, fill, bytes);
    for (const float sign : {1.0f, -1.0f}) {
      for (const int64_t m : {1, 40}) {
        const std::vector<float> x(static_cast<size_t>(m * k), sign);
        const auto expected = Exact(GetParam().type, bytes, n, k, x, m);
        for (const Isa isa : SupportedIsas()) {
          const ScopedIsa scoped(isa);
          const auto y = Product1(*Create(GetParam(), n, k, bytes, Precision::kFast, pool), x, m, pool);
          for (int64_t i = 0; i < m * n; ++i) {
            EXPECT_NEAR(y[i], expected[i], 2e-5 * std::abs(expected[i]) + 1e-3) << IsaName(isa);
          }
        }
      }
    }
  }
}

TEST_P(QuantMatrix, IsCloseToTheExactProduct) {
  std::mt19937 random(4);
  ThreadPool pool(2);
  const Shape s{9, 40, 512};
  const auto bytes = RandomWeights(GetParam(), s.n, s.k, random);
  const auto x = RandomFloats(s.m * s.k, random);
  const auto expected = Exact(GetParam().type, bytes, s.n, s.k, x, s.m);
  // 8-bit activations: a step of max/127 for each of them.
  EXPECT_LT(
      RelativeError(Product1(*Create(GetParam(), s.n, s.k, bytes, Precision::kFast, pool), x, s.m, pool), expected),
      0.012);
  EXPECT_LT(RelativeError(Product1(*Create(GetParam(), s.n, s.k, bytes, Precision::kReference, pool), x, s.m, pool),
                          expected),
            2e-6);
}

TEST_P(QuantMatrix, ARowDependsNeitherOnTheBatchNorOnThreads) {
  std::mt19937 random(5);
  const int64_t n = 200, k = 512, most = 70;
  const auto bytes = RandomWeights(GetParam(), n, k, random);
  const auto x = RandomFloats(most * k, random);
  ThreadPool one(1), three(3);
  for (const Isa isa : SupportedIsas()) {
    if (isa == Isa::kScalar) continue;  // one row at a time anyhow
    const ScopedIsa scoped(isa);
    const auto w = Create(GetParam(), n, k, bytes, Precision::kFast, one);
    const auto all = Product1(*w, x, most, one);
    EXPECT_TRUE(SameBits(all, Product1(*w, x, most, three)));
    for (int64_t m : {1, 2, 3, 5, 8, 15, 17, 33}) {
      const auto some = Product1(*w, x, m, three);
      EXPECT_TRUE(SameBits(some, {all.begin(), all.begin() + m * n})) << IsaName(isa) << " rows " << m;
    }
    for (int64_t r : {1, 20, 69}) {
      const auto alone = Product1(*w, {x.begin() + r * k, x.begin() + (r + 1) * k}, 1, three);
      EXPECT_TRUE(SameBits(alone, {all.begin() + r * n, all.begin() + (r + 1) * n})) << IsaName(isa) << " row " << r;
    }
  }
}

// And no output of another row.
TEST_P(QuantMatrix, WhatIsNoNumberReachesEveryOutputOfItsRow) {
  std::mt19937 random(15);
  ThreadPool pool(2);
  const int64_t n = 37, k = 512;
  const auto bytes = RandomWeights(GetParam(), n, k, random);
  for (const int64_t m : {1, 3, 40}) {
    const auto numbers = RandomFloats(m * k, random);
    for (const float none : {NAN, -NAN, INFINITY, -INFINITY}) {
      auto x = numbers;
      x[static_cast<size_t>((m - 1) * k + 41)] = none;
      for (const Isa isa : SupportedIsas()) {
        const ScopedIsa scoped(isa);
        const auto w = Create(GetParam(), n, k, bytes, Precision::kFast, pool);
        const auto expected = Product1(*w, numbers, m, pool), y = Product1(*w, x, m, pool);
        EXPECT_TRUE(std::equal(y.begin(), y.end() - n, expected.begin())) << IsaName(isa) << " " << m << " rows";
        EXPECT_TRUE(std::all_of(y.end() - n, y.end(), [](float v) { return std::isnan(v); }))
            << IsaName(isa) << " " << m << " rows, " << none;
      }
    }
  }
}

TEST(QuantMatmulTable, IsTheOneOfTheForcedIsa) {
  for (const Isa isa : SupportedIsas()) {
    EXPECT_EQ(QuantMatmulTableFor(isa).isa, isa);
    EXPECT_EQ(SharedMatmulTableFor(isa).isa, isa);
  }
}

TEST(Activations, QuantizeTheSameOnEveryIsa) {
  std::mt19937 random(6);
  auto x = RandomFloats(32 * 64, random);
  std::fill_n(x.begin() + 32, 32, 0.0f);
  for (int i = 64; i < 96; ++i) x[i] *= 1e-38f;  // counts as zero
  for (int i = 96; i < 128; ++i) x[i] *= 1e30f;
  for (int i = 0; i < 32; ++i) x[128 + i] = static_cast<float>(i) - 15.5f;  // ties
  std::vector<ActivationGroup> expected(64), got(64);
  QuantizeRowFor(Isa::kScalar)(x.data(), 64, 1, expected.data());
  EXPECT_EQ(expected[1].scale, 0);
  EXPECT_EQ(expected[2].scale, 0);
  for (const Isa isa : SupportedIsas()) {
    QuantizeRowFor(isa)(x.data(), 64, 1, got.data());
    EXPECT_EQ(0, std::memcmp(got.data(), expected.data(), sizeof(ActivationGroup) * 64)) << IsaName(isa);
  }
  for (int g = 0; g < 64; ++g) {
    int sum = 0;
    for (int i = 0; i < 32; ++i) {
      sum += expected[g].q[i];
      EXPECT_LE(std::abs(expected[g].q[i]), 127);
      if (g == 2) continue;
      EXPECT_NEAR(expected[g].q[i] * expected[g].scale, x[g * 32 + i], expected[g].scale * 0.5001f);
    }
    EXPECT_EQ(expected[g].negative_sum, -sum);
  }
}

TEST(Activations, WhatIsNoNumberIsSoOnEveryIsa) {
  std::mt19937 random(16);
  const auto numbers = RandomFloats(32 * 3, random);
  for (const Isa isa : SupportedIsas()) {
    ActivationGroup expected[3], got[3];
    QuantizeRowFor(isa)(numbers.data(), 3, 1, expected);
    for (const float none : {NAN, -NAN, INFINITY, -INFINITY}) {
      for (int64_t at = 0; at < 32; ++at) {
        auto x = numbers;
        x[static_cast<size_t>(32 + at)] = none;
        QuantizeRowFor(isa)(x.data(), 3, 1, got);
        for (const int g : {0, 2}) EXPECT_EQ(0, std::memcmp(&got[g], &expected[g], sizeof(ActivationGroup)));
        EXPECT_EQ(0, std::memcmp(&got[1], &kNoNumbers, sizeof(ActivationGroup)))
            << IsaName(isa) << ", " << none << " at " << at << ": " << got[1].scale << ", " << int{got[1].q[at]};
      }
    }
  }
}

TEST(ActivationChunks, WhatIsNoNumberIsSoOnEveryIsa) {
  std::mt19937 random(17);
  // Two scales of two chunks, the last of which is half full.
  const int64_t cols = 224;
  const auto numbers = RandomFloats(cols, random);
  for (const Isa isa : SupportedIsas()) {
    ActivationChunkStorage expected_storage, storage;
    const ActivationChunks shape = {.block_rows = 1, .chunks = 4, .chunks_per_scale = 2, .scales = 2};
    const ActivationChunks expected = expected_storage.For(shape, 1), got = storage.For(shape, 1);
    QuantizeChunksFor(isa)(numbers.data(), cols, expected, 0);
    for (const float none : {NAN, -NAN, INFINITY, -INFINITY}) {
      for (int64_t at = 0; at < cols; ++at) {
        auto x = numbers;
        x[static_cast<size_t>(at)] = none;
        std::memset(got.q, 1, 4 * kChunk);
        QuantizeChunksFor(isa)(x.data(), cols, got, 0);
        const int64_t broken = at / (2 * kChunk), whole = 1 - broken;
        EXPECT_TRUE(std::isnan(got.scale[broken])) << IsaName(isa) << ", " << none << " at " << at;
        EXPECT_EQ(got.negative_sum[broken], 0);
        EXPECT_TRUE(std::all_of(got.q + broken * 2 * kChunk, got.q + (broken + 1) * 2 * kChunk,
                                [](int8_t q) { return q == 0; }))
            << IsaName(isa) << ", " << none << " at " << at;
        EXPECT_EQ(got.scale[whole], expected.scale[whole]);
        EXPECT_EQ(got.negative_sum[whole], expected.negative_sum[whole]);
        EXPECT_EQ(0, std::memcmp(got.q + whole * 2 * kChunk, expected.q + whole * 2 * kChunk, 2 * kChunk));
      }
    }
  }
}

TEST(ActivationChunks, QuantizeTheSameOnEveryIsa) {
  std::mt19937 random(10);
  // Whole chunks, and a last one that is half full; scales of one chunk, of two, and of what is left at the end.
  for (const auto& [cols, chunks_per_scale] : {std::pair{64, 1}, {96, 1}, {96, 2}, {256, 2}, {288, 2}, {32, 2}}) {
    const int64_t rows = 21, chunks = (cols + kChunk - 1) / kChunk;
    auto x = RandomFloats(rows * cols, random);
    std::fill_n(x.begin() + cols, cols, 0.0f);
    for (int i = 0; i < cols; ++i) x[2 * cols + i] *= 1e-38f;  // counts as zero
    for (int i = 0; i < cols; ++i) x[3 * cols + i] *= 1e30f;
    for (int i = 0; i < cols; ++i) x[4 * cols + i] = static_cast<float>(i % 32) - 15.5f;  // ties
    const ActivationChunks shape = {.block_rows = kActivationBlock,
                                    .chunks = chunks,
                                    .chunks_per_scale = chunks_per_scale,
                                    .scales = (chunks + chunks_per_scale - 1) / chunks_per_scale};
    ActivationChunkStorage expected_storage;
    const ActivationChunks expected = expected_storage.For(shape, rows);
    for (int64_t r = 0; r < rows; ++r) QuantizeChunksFor(Isa::kScalar)(&x[r * cols], cols, expected, r);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t s = 0; s < shape.scales; ++s) {
        const int64_t at = expected.ScaleAt(r) + s * kActivationBlock;
        int sum = 0;
        for (int64_t i = s * chunks_per_scale * kChunk; i < std::min((s + 1) * chunks_per_scale, chunks) * kChunk;
             ++i) {
          const int q = expected.Row(r)[i / kChunk * kActivationBlock * kChunk + i % kChunk];
          sum += q;
          const float from = i < cols && r != 2 ? x[r * cols + i] : 0;
          ASSERT_NEAR(q * expected.scale[at], from, expected.scale[at] * 0.5001f);
        }
        EXPECT_EQ(expected.negative_sum[at], -sum);
      }
    }
    for (const Isa isa : SupportedIsas()) {
      ActivationChunkStorage storage;
      const ActivationChunks got = storage.For(shape, rows);
      for (int64_t r = 0; r < rows; ++r) QuantizeChunksFor(isa)(&x[r * cols], cols, got, r);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t s = 0; s < shape.scales; ++s) {
          const int64_t at = got.ScaleAt(r) + s * kActivationBlock;
          EXPECT_EQ(got.scale[at], expected.scale[at]) << IsaName(isa);
          EXPECT_EQ(got.negative_sum[at], expected.negative_sum[at]) << IsaName(isa);
        }
        for (int64_t c = 0; c < chunks; ++c) {
          const int64_t at = c * kActivationBlock * kChunk;
          ASSERT_EQ(0, std::memcmp(got.Row(r) + at, expected.Row(r) + at, kChunk)) << IsaName(isa) << " row " << r;
        }
      }
    }
  }
}

class DenseMatrix : public ::testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Formats, DenseMatrix, ::testing::ValuesIn(testing::kDenseTypes),
                         [](const auto& info) { return std::string(Info(info.param).name); });

TEST_P(DenseMatrix, RowsComeBackBitForBit) {
  std::mt19937 random(11);
  ThreadPool pool(2);
  const int64_t n = 37, k = 131;
  const auto bytes = RandomWeights(GetParam(), n, k, random);
  const auto w = Create(GetParam(), n, k, bytes, Precision::kFast, pool);
  EXPECT_EQ(w->bytes(), (BytesFor(GetParam(), k) * 16 + 63) / 64 * 64 * 3) << "as wide as stored, in tiles of 16 rows";
  ExpectRowsComeBackBitForBit(*w, GetParam(), bytes);
}

TEST_P(DenseMatrix, EveryIsaGivesTheScalarBits) {
  std::mt19937 random(12);
  // Small ones, odd ones; rows around what a panel and a pass hold, inputs around a pass's, tiles around a pass's.
  for (const Shape& s : {Shape{1, 1, 1},
                         {3, 5, 2},
                         {1, 17, 3},
                         {2, 33, 7},
                         {5, 16, 64},
                         {6, 100, 33},
                         {7, 40, 257},
                         {12, 31, 100},
                         {13, 50, 513},
                         {24, 16, 40},
                         {25, 47, 300},
                         {121, 150, 518},
                         {250, 20, 96}}) {
    ExpectScalarBitsOnEveryIsa(GetParam(), s, random);
  }
}

TEST_P(DenseMatrix, ARowDependsNeitherOnTheBatchNorOnThreads) {
  std::mt19937 random(13);
  const int64_t n = 200, k = 519, most = 140;
  const auto bytes = RandomWeights(GetParam(), n, k, random);
  const auto x = RandomFloats(most * k, random);
  ThreadPool one(1), three(3);
  for (const Isa isa : SupportedIsas()) {
    if (isa == Isa::kScalar) continue;  // one row at a time anyhow
    const ScopedIsa scoped(isa);
    const auto w = Create(GetParam(), n, k, bytes, Precision::kFast, one);
    const auto all = Product1(*w, x, most, one);
    EXPECT_TRUE(SameBits(all, Product1(*w, x, most, three)));
    for (int64_t m = 1; m < 30; ++m) {
      const auto some = Product1(*w, x, m, three);
      EXPECT_TRUE(SameBits(some, {all.begin(), all.begin() + m * n})) << IsaName(isa) << " rows " << m;
    }
    for (const auto& [first, m] : {std::pair<int64_t, int64_t>{1, 1}, {20, 1}, {139, 1}, {5, 40}, {17, 123}}) {
      const auto some = Product1(*w, {x.begin() + first * k, x.begin() + (first + m) * k}, m, three);
      EXPECT_TRUE(SameBits(some, {all.begin() + first * n, all.begin() + (first + m) * n}))
          << IsaName(isa) << " rows " << first << "+" << m;
    }
  }
}

// Infinities and NaN, also next to the zeros that fill the last tile, and the smallest numbers of the type.
TEST_P(DenseMatrix, WhatIsNoNumberStaysInItsOutput) {
  std::mt19937 random(14);
  ThreadPool pool(2);
  const int64_t n = 21, k = 70;
  auto bytes = RandomWeights(GetParam(), n, k, random);
  const float tiny = GetParam() == DType::kF16 ? 0x1p-24f : 0x1p-130f;
  SetWeight(GetParam(), INFINITY, 2 * k + 5, bytes);
  SetWeight(GetParam(), -INFINITY, 3 * k + 69, bytes);
  SetWeight(GetParam(), NAN, 20 * k, bytes);
  for (int64_t i = 0; i < k; ++i) SetWeight(GetParam(), tiny, 7 * k + i, bytes);
  for (const int64_t m : {1, 5, 30}) {
    auto x = RandomFloats(m * k, random);
    for (float& v : x) v = std::abs(v) + 1;
    x.back() = INFINITY;  // of the last row alone
    std::vector<float> expected;
    for (const Isa isa : SupportedIsas()) {
      const ScopedIsa scoped(isa);
      const auto y = Product1(*Create(GetParam(), n, k, bytes, Precision::kFast, pool), x, m, pool);
      if (isa == Isa::kScalar) {
        expected = y;
        for (int64_t r = 0; r + 1 < m; ++r) {
          EXPECT_EQ(y[r * n + 2], INFINITY);
          EXPECT_EQ(y[r * n + 3], -INFINITY);
          EXPECT_TRUE(std::isnan(y[r * n + 20]));
          EXPECT_GT(y[r * n + 7], 0);
          EXPECT_TRUE(std::isfinite(y[r * n + 1]) && std::isfinite(y[r * n + 19]));
        }
      }
      for (size_t i = 0; i < y.size(); ++i) {
        EXPECT_TRUE(y[i] == expected[i] || (std::isnan(y[i]) && std::isnan(expected[i])))
            << IsaName(isa) << " " << m << " rows, output " << i << ": " << y[i] << " and " << expected[i];
      }
    }
  }
}

TEST_P(DenseMatrix, MultipliesOnEveryIsa) {
  std::mt19937 random(7);
  ThreadPool pool(2);
  for (const Shape& s : {Shape{1, 1, 32}, Shape{1, 130, 576}, Shape{3, 7, 33}, Shape{65, 200, 96}}) {
    const auto bytes = RandomWeights(GetParam(), s.n, s.k, random);
    const auto x = RandomFloats(s.m * s.k, random), bias = RandomFloats(s.n, random),
               residual = RandomFloats(s.m * s.n, random);
    auto expected = Exact(GetParam(), bytes, s.n, s.k, x, s.m);
    for (int64_t i = 0; i < s.m * s.n; ++i) expected[i] += double{bias[i % s.n]} + residual[i];
    for (const Isa isa : SupportedIsas()) {
      const ScopedIsa scoped(isa);
      for (const Precision precision : {Precision::kFast, Precision::kReference}) {
        const auto w = Create(GetParam(), s.n, s.k, bytes, precision, pool);
        EXPECT_LT(RelativeError(Product1(*w, x, s.m, pool, bias.data(), residual.data()), expected), 2e-6)
            << IsaName(isa) << " " << s.m << "x" << s.n << "x" << s.k << " precision " << static_cast<int>(precision);
      }
    }
  }
}

TEST(Multiply, GroupsShareTheirInputAndResidualMayBeTheOutput) {
  std::mt19937 random(8);
  ThreadPool pool(2);
  const int64_t m = 5, k = 256;
  const PackedType types[] = {DType::kQ4_1, DType::kF32, DType::kQ6_K, kInt8, kInt4G64};
  const int64_t rows[] = {48, 20, 33, 40, 17};
  const auto x = RandomFloats(m * k, random);
  std::vector<std::unique_ptr<Matrix>> w;
  std::vector<std::vector<float>> y, start, plain;
  std::vector<Product> products;
  for (size_t i = 0; i < std::size(types); ++i) {
    w.push_back(Create(types[i], rows[i], k, RandomWeights(types[i], rows[i], k, random), Precision::kFast, pool));
    plain.push_back(Product1(*w[i], x, m, pool));
    start.push_back(RandomFloats(m * (rows[i] + 3), random));  // rows with a gap between them
    y.push_back(start[i]);
  }
  for (size_t i = 0; i < std::size(types); ++i)
    products.push_back({.weights = w[i].get(), .y = y[i].data(), .y_stride = rows[i] + 3, .residual = y[i].data()});
  Activations activations;
  activations.Set(x.data(), m, k);
  Multiply(products, activations, pool);
  for (size_t i = 0; i < std::size(types); ++i) {
    for (int64_t r = 0; r < m; ++r) {
      for (int64_t c = 0; c < rows[i] + 3; ++c) {
        const int64_t at = r * (rows[i] + 3) + c;
        const float expected = start[i][at] + (c < rows[i] ? plain[i][r * rows[i] + c] : 0);
        EXPECT_NEAR(y[i][at], expected, 2e-6 * (1 + std::abs(expected)));
      }
    }
  }
}

TEST(Multiply, AGateOfAnyTypeIsAppliedSliceBySlice) {
  std::mt19937 random(9);
  const int64_t n = 300, k = 256;
  using Types = std::pair<PackedType, PackedType>;
  for (const auto& [up_type, gate_type] : {Types{DType::kQ4_0, DType::kQ4_0}, Types{DType::kQ6_K, DType::kF16},
                                           Types{kInt8, kInt8}, Types{kInt4G64, kInt8}}) {
    ThreadPool pool(2);
    const auto up = Create(up_type, n, k, RandomWeights(up_type, n, k, random), Precision::kFast, pool),
               gate = Create(gate_type, n, k, RandomWeights(gate_type, n, k, random), Precision::kFast, pool);
    const auto bias = RandomFloats(n, random);
    for (const int64_t m : {1, 40}) {
      const auto x = RandomFloats(m * k, random);
      const auto up_of = Product1(*up, x, m, pool, bias.data()), gate_of = Product1(*gate, x, m, pool);
      for (const bool reference : {false, true}) {
        std::vector<float> y(static_cast<size_t>(m * (n + 1)), -1.0f);
        Activations activations;
        activations.Set(x.data(), m, k);
        const Product product = {.weights = up.get(),
                                 .y = y.data(),
                                 .y_stride = n + 1,
                                 .bias = bias.data(),
                                 .activation = ActivationKind::kSilu,
                                 .gate = gate.get(),
                                 .gate_bias = bias.data(),
                                 .reference = reference};
        Multiply({&product, 1}, activations, pool);
        for (int64_t r = 0; r < m; ++r) {
          for (int64_t c = 0; c < n; ++c) {
            const double z = gate_of[r * n + c] + bias[c], expected = z / (1 + std::exp(-z)) * up_of[r * n + c];
            ASSERT_NEAR(y[r * (n + 1) + c], expected, 4e-6 * (1 + std::abs(expected))) << r << ", " << c;
          }
          EXPECT_EQ(y[r * (n + 1) + n], -1.0f) << "the gap between rows";
        }
      }
    }
  }
}

TEST(MatrixCreate, RefusesImpossibleShapes) {
  ThreadPool pool(1);
  for (const auto& [type, rows, cols] :
       {std::tuple{DType::kQ4_0, 1, 33}, {DType::kQ4_K, 1, 128}, {DType::kF32, 0, 8}, {DType::kF32, 8, -1}}) {
    EXPECT_EQ(Matrix::Create({.type = type, .rows = rows, .cols = cols}, Precision::kFast, pool).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(
      Matrix::Create({.type = DType::kF32, .rows = int64_t{1} << 40, .cols = int64_t{1} << 40}, Precision::kFast, pool)
          .status()
          .code(),
      absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace linnet::kernels
