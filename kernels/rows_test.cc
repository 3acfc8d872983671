#include "kernels/rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "kernels/kernel_test_util.h"

namespace linnet::kernels {
namespace {

using testing::RandomFloats;
using testing::ScopedIsa;

constexpr int64_t kLengths[] = {1, 7, 8, 16, 31, 64, 576, 1537};

class Rows : public ::testing::TestWithParam<Isa> {
 protected:
  Rows() : isa_(GetParam()) {}
  const ScopedIsa isa_;
  std::mt19937 random_{21};
};
INSTANTIATE_TEST_SUITE_P(Isas, Rows, ::testing::ValuesIn(SupportedIsas()),
                         [](const auto& info) { return std::string(IsaName(info.param)); });

TEST_P(Rows, RmsNorm) {
  for (const int64_t n : kLengths) {
    const auto x = RandomFloats(n, random_, 3), weight = RandomFloats(n, random_);
    double squares = 0;
    for (const float v : x) squares += double{v} * v;
    const double factor = 1 / std::sqrt(squares / n + 1e-5);
    for (const bool reference : {false, true}) {
      std::vector<float> y(n), in_place = x;
      RmsNorm(x.data(), weight.data(), 1e-5f, n, y.data(), reference);
      RmsNorm(in_place.data(), nullptr, 1e-5f, n, in_place.data(), reference);
      for (int64_t i = 0; i < n; ++i) {
        EXPECT_NEAR(y[i], x[i] * factor * weight[i], 2e-6 * std::abs(y[i]) + 1e-12);
        EXPECT_NEAR(in_place[i], x[i] * factor, 2e-6 * std::abs(in_place[i]) + 1e-12);
      }
    }
  }
}

TEST_P(Rows, LayerNorm) {
  for (const int64_t n : kLengths) {
    auto x = RandomFloats(n, random_);
    for (float& v : x) v += 10;
    const auto weight = RandomFloats(n, random_), bias = RandomFloats(n, random_);
    double mean = 0, variance = 0;
    for (const float v : x) mean += double{v} / n;
    for (const float v : x) variance += (v - mean) * (v - mean) / n;
    for (const bool reference : {false, true}) {
      std::vector<float> y(n);
      LayerNorm(x.data(), weight.data(), bias.data(), 1e-5f, n, y.data(), reference);
      for (int64_t i = 0; i < n; ++i) {
        EXPECT_NEAR(y[i], (x[i] - mean) / std::sqrt(variance + 1e-5) * weight[i] + bias[i], n == 1 ? 1e-3 : 1e-5);
      }
    }
  }
}

double ExactActivation(ActivationKind kind, double z) {
  switch (kind) {
    case ActivationKind::kNone:
      return z;
    case ActivationKind::kSilu:
      return z / (1 + std::exp(-z));
    case ActivationKind::kGelu:
      return 0.5 * z * std::erfc(-z / std::sqrt(2.0));
    case ActivationKind::kGeluTanh:
      return 0.5 * z * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (z + 0.044715 * z * z * z)));
    case ActivationKind::kGeluQuick:
      return z / (1 + std::exp(-1.702 * z));
    case ActivationKind::kRelu:
      return std::max(z, 0.0);
    case ActivationKind::kReluSquared:
      return std::max(z, 0.0) * std::max(z, 0.0);
  }
  return NAN;
}

TEST_P(Rows, ActivationsAndGates) {
  for (const ActivationKind kind :
       {ActivationKind::kNone, ActivationKind::kSilu, ActivationKind::kGelu, ActivationKind::kGeluTanh,
        ActivationKind::kGeluQuick, ActivationKind::kRelu, ActivationKind::kReluSquared}) {
    for (const int64_t n : kLengths) {
      auto gate = RandomFloats(n, random_, 6), up = RandomFloats(n, random_);
      if (n >= 8) gate[0] = 100, gate[1] = -100, gate[2] = 0, gate[3] = -87.5f, gate[4] = 1e12f, gate[5] = -1e12f;
      for (const bool reference : {false, true}) {
        auto z = gate, y = gate;
        Activate(kind, z.data(), n, reference);
        GateMul(kind, y.data(), up.data(), n, reference);
        for (int64_t i = 0; i < n; ++i) {
          const double expected = ExactActivation(kind, gate[i]);
          // 1 - Φ cancels where z is negative: the plain loops keep what f32 keeps.
          const double tolerance = 2e-6 * std::abs(expected) +
                                   1e-6 * std::min(1.0, std::abs(double{gate[i]})) *
                                       (kind == ActivationKind::kGelu || kind == ActivationKind::kGeluTanh) +
                                   1e-30;
          EXPECT_NEAR(z[i], expected, tolerance) << static_cast<int>(kind) << " of " << gate[i] << reference;
          EXPECT_EQ(y[i], z[i] * up[i]);
        }
      }
    }
  }
}

TEST_P(Rows, SeriesOfActivations) {
  for (const int64_t n : kLengths) {
    const auto z = RandomFloats(n, random_, 3), scale = RandomFloats(2 * n, random_, 2),
               bias = RandomFloats(2 * n, random_, 2);
    for (const bool reference : {false, true}) {
      auto y = z;
      ActivateSeries(ActivationKind::kSilu, 2, scale.data(), bias.data(), y.data(), n, reference);
      for (int64_t i = 0; i < n; ++i) {
        double expected = 0;
        for (const int64_t at : {i, n + i}) {
          expected += ExactActivation(ActivationKind::kSilu, double{scale[at]} * z[i] + double{bias[at]});
        }
        EXPECT_NEAR(y[i], expected, 1e-5);
      }
    }
  }
}

TEST_P(Rows, SoftCap) {
  for (const int64_t n : kLengths) {
    auto x = RandomFloats(n, random_, 60);
    if (n >= 2) x[0] = 1e30f, x[1] = -1e30f;
    for (const bool reference : {false, true}) {
      auto y = x;
      SoftCap(30, y.data(), n, reference);
      for (int64_t i = 0; i < n; ++i) EXPECT_NEAR(y[i], 30 * std::tanh(double{x[i]} / 30), 9e-6) << x[i];
    }
  }
}

TEST_P(Rows, Adds) {
  for (const int64_t n : kLengths) {
    const auto x = RandomFloats(n, random_), y = RandomFloats(n, random_);
    auto sum = x;
    AddInPlace(sum.data(), y.data(), n);
    for (int64_t i = 0; i < n; ++i) EXPECT_EQ(sum[i], x[i] + y[i]);
    AddInPlace(sum.data(), y.data(), n, -0.5f);
    for (int64_t i = 0; i < n; ++i) EXPECT_NEAR(sum[i], x[i] + 0.5 * y[i], 1e-6);
    ScaleInPlace(sum.data(), 3, n);
    for (int64_t i = 0; i < n; ++i) EXPECT_NEAR(sum[i], 3 * (x[i] + 0.5 * y[i]), 3e-6);
  }
}

TEST_P(Rows, RopeRotatesPairsAndLeavesTheRest) {
  for (const bool interleaved : {false, true}) {
    for (const auto& [rotary, head_dim] : {std::pair{64, 64}, {32, 80}, {6, 10}, {128, 128}}) {
      RopeTable table{.rotary_dim = rotary, .interleaved = interleaved, .magnitude = 1.25f};
      for (int i = 0; i < rotary / 2; ++i) table.inv_freq.push_back(std::pow(10000.0f, -2.0f * i / rotary));
      const int heads = 3;
      const auto x = RandomFloats(heads * head_dim, random_);
      for (const int64_t position : {0, 1, 513, 8191}) {
        auto y = x;
        Rope(table, position, heads, head_dim, y.data());
        for (int h = 0; h < heads; ++h) {
          for (int i = 0; i < rotary / 2; ++i) {
            const int a = h * head_dim + (interleaved ? 2 * i : i),
                      b = h * head_dim + (interleaved ? 2 * i + 1 : i + rotary / 2);
            const double angle = static_cast<float>(position) * table.inv_freq[i];
            EXPECT_NEAR(y[a], 1.25 * (x[a] * std::cos(angle) - x[b] * std::sin(angle)), 1e-5);
            EXPECT_NEAR(y[b], 1.25 * (x[b] * std::cos(angle) + x[a] * std::sin(angle)), 1e-5);
          }
          for (int d = rotary; d < head_dim; ++d) EXPECT_EQ(y[h * head_dim + d], x[h * head_dim + d]);
        }
      }
    }
  }
}

TEST_P(Rows, ExponentialsAndTheirSum) {
  for (const int64_t n : {1, 5, 16, 333, 49152}) {
    auto x = RandomFloats(n, random_, 5);
    for (float& v : x) v += 500;                                // would overflow without the maximum taken off
    if (n > 5) x[3] = -std::numeric_limits<float>::infinity();  // a token that is ruled out
    double sum = 0;
    for (const float v : x) sum += std::exp(double{v} - 500);
    EXPECT_NEAR(LogSumExp(x.data(), n), 500 + std::log(sum), 1e-4);
    auto y = x;
    EXPECT_EQ(MaxOf(x.data(), n), *std::max_element(x.begin(), x.end()));
    EXPECT_NEAR(ExpInPlace(y.data(), 525, n), sum * std::exp(-25.0), 1e-6 * sum * std::exp(-25.0));
    for (int64_t i = 0; i < n; ++i) {
      const double expected = std::exp(double{x[i]} - 525);
      EXPECT_NEAR(y[i], expected, 2e-6 * expected + 1e-37);
    }
  }
}

TEST_P(Rows, FirstAboveALimit) {
  for (const int64_t n : {1, 7, 16, 100}) {
    std::vector<float> x(static_cast<size_t>(n), 1.0f);
    EXPECT_EQ(FirstAbove(x.data(), n, 1.0f), n);
    x[static_cast<size_t>(n - 1)] = 2;
    EXPECT_EQ(FirstAbove(x.data(), n, 1.0f), n - 1);
    x[static_cast<size_t>(n / 2)] = 3;
    x[0] = NAN;
    EXPECT_EQ(FirstAbove(x.data(), n, 1.0f), n == 1 ? 1 : n / 2) << "a NaN is above nothing";
  }
}

TEST_P(Rows, ArgMaxTakesTheFirstOfEquals) {
  for (const int64_t n : {1, 7, 16, 49152}) {
    auto x = RandomFloats(n, random_);
    const int64_t at = n / 2;
    x[at] = 100;
    x[n - 1] = 100;
    EXPECT_EQ(ArgMax(x.data(), n), std::min(at, n - 1));
  }
}

}  // namespace
}  // namespace linnet::kernels
