#include "kernels/recurrence.h"

#include <cmath>
#include <vector>

#include "kernels/kernel_test_util.h"

namespace linnet::kernels {
namespace {

using testing::RandomFloats;
using testing::ScopedIsa;

constexpr int64_t kTokens = 29, kWidth = 37;
constexpr int kTaps = 4;

class Recurrence : public ::testing::TestWithParam<Isa> {
 protected:
  Recurrence() : isa_(GetParam()) {}
  const ScopedIsa isa_;
  std::mt19937 random_{3};
  const std::vector<float> x_ = RandomFloats(kTokens * kWidth, random_),
                           weights_ = RandomFloats(kTaps * kWidth, random_), bias_ = RandomFloats(kWidth, random_),
                           input_gate_ = RandomFloats(kTokens * kWidth, random_, 3),
                           recurrence_gate_ = RandomFloats(kTokens * kWidth, random_, 3),
                           multiplier_ = RandomFloats(kTokens * kWidth, random_);

  // In chunks of so many tokens, each in two parts of the channels.
  std::vector<float> Convolve(int64_t chunk) const {
    std::vector<float> y(kTokens * kWidth), history((kTaps - 1) * kWidth, 0.0f);
    const ConvolutionWeights conv = {.taps = kTaps, .width = kWidth, .weights = weights_.data(), .bias = bias_.data()};
    for (int64_t t = 0; t < kTokens; t += chunk) {
      const ConvolutionSpan span = {.x = x_.data() + t * kWidth,
                                    .y = y.data() + t * kWidth,
                                    .tokens = std::min(chunk, kTokens - t),
                                    .history = history.data()};
      ShortConvolution(conv, span, 0, 20);
      ShortConvolution(conv, span, 20, kWidth);
    }
    return y;
  }
  std::vector<float> RunRgLru(const std::vector<float>& decay, int64_t chunk, bool reference) const {
    std::vector<float> out(kTokens * kWidth), state(kWidth, 1000.0f);
    for (int64_t t = 0; t < kTokens; t += chunk) {
      const int64_t at = t * kWidth;
      const RgLruSpan span = {.x = x_.data() + at,
                              .input_gate = input_gate_.data() + at,
                              .recurrence_gate = recurrence_gate_.data() + at,
                              .multiplier = multiplier_.data() + at,
                              .out = out.data() + at,
                              .tokens = std::min(chunk, kTokens - t),
                              .begins = t == 0,
                              .state = state.data()};
      RgLru(decay.data(), kWidth, span, 0, 20, reference);
      RgLru(decay.data(), kWidth, span, 20, kWidth, reference);
    }
    return out;
  }
};
INSTANTIATE_TEST_SUITE_P(Isas, Recurrence, ::testing::ValuesIn(SupportedIsas()),
                         [](const auto& info) { return std::string(IsaName(info.param)); });

TEST_P(Recurrence, ConvolutionSeesTheTokensBefore) {
  const std::vector<float> y = Convolve(kTokens);
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t c = 0; c < kWidth; ++c) {
      double expected = bias_[c];
      for (int64_t k = 0; k < kTaps; ++k) {
        const int64_t from = t - kTaps + 1 + k;
        if (from >= 0) expected += double{weights_[k * kWidth + c]} * x_[from * kWidth + c];
      }
      EXPECT_NEAR(y[t * kWidth + c], expected, 1e-5);
    }
  }
  for (const int64_t chunk : {1, 2, 3, 7}) EXPECT_EQ(Convolve(chunk), y) << chunk;
}

TEST_P(Recurrence, RgLruIsTheRecurrenceHoweverItIsChunked) {
  std::vector<float> decay = RandomFloats(kWidth, random_);
  for (float& d : decay) d = -8 * std::log1p(std::exp(3 * d));
  for (const bool reference : {false, true}) {
    const std::vector<float> out = RunRgLru(decay, kTokens, reference);
    const auto sigmoid = [](double z) { return 1 / (1 + std::exp(-z)); };
    for (int64_t c = 0; c < kWidth; ++c) {
      double state = 0;
      for (int64_t t = 0; t < kTokens; ++t) {
        const int64_t at = t * kWidth + c;
        const double a = std::exp(decay[c] * sigmoid(recurrence_gate_[at])), gated = x_[at] * sigmoid(input_gate_[at]);
        state = t == 0 ? gated : a * state + std::sqrt(1 - a * a) * gated;
        EXPECT_NEAR(out[at], state * multiplier_[at], 2e-5);
      }
    }
    for (const int64_t chunk : {1, 5}) EXPECT_EQ(RunRgLru(decay, chunk, reference), out) << chunk;
  }
}

}  // namespace
}  // namespace linnet::kernels
