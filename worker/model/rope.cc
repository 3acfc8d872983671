#include "worker/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace linnet::worker {
namespace {

std::vector<float> BaseFrequencies(const RopeDescription& rope, double theta) {
  std::vector<float> inv_freq(static_cast<size_t>(rope.rotary_dim / 2));
  for (size_t i = 0; i < inv_freq.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rope.rotary_dim);
    inv_freq[i] = 1.0f / std::pow(static_cast<float>(theta), exponent);
  }
  return inv_freq;
}

// Theta for a sequence of `length` tokens: what NTK-aware scaling by `stretch` makes of it.
double ThetaForLength(const RopeDescription& rope, int64_t length) {
  const bool doubling = rope.scaling == RopeScaling::kDynamicDoubling;
  if (!doubling && rope.scaling != RopeScaling::kDynamicNtk) return rope.theta;
  if (length <= rope.original_context_tokens) return rope.theta;
  const double contexts = static_cast<double>(length) / static_cast<double>(rope.original_context_tokens);
  const double stretch =
      doubling ? std::exp2(std::ceil(std::log2(contexts) + 1)) - 1 : rope.factor * contexts - (rope.factor - 1);
  const double dim = rope.rotary_dim;
  return rope.theta * std::pow(stretch, dim / (dim - 2));
}

// What YaRN divides frequencies by: `factor` where a wavelength fits less than beta_slow times into the original
// context, 1 where it fits more than beta_fast times, and in between a mean that goes with the dimension.
std::vector<float> YarnFactors(const RopeDescription& rope) {
  const double dim = rope.rotary_dim;
  const auto dimension_of = [&](double rotations) {
    const double original = static_cast<double>(rope.original_context_tokens);
    return dim * std::log(original / (rotations * 2 * std::numbers::pi)) / (2 * std::log(rope.theta));
  };
  const double low = std::max(0.0, std::floor(dimension_of(rope.beta_fast)));
  double high = std::min(dim - 1, std::ceil(dimension_of(rope.beta_slow)));
  if (low == high) high += 0.001;
  std::vector<float> factors;
  for (int i = 0; i < rope.rotary_dim / 2; ++i) {
    const double interpolated = std::clamp((i - low) / (high - low), 0.0, 1.0);
    factors.push_back(static_cast<float>(1 / (interpolated / rope.factor + (1 - interpolated))));
  }
  return factors;
}

}  // namespace

kernels::RopeTable MakeRopeTable(const RopeDescription& rope, int64_t length) {
  kernels::RopeTable table = {.rotary_dim = rope.rotary_dim,
                              .interleaved = rope.interleaved,
                              .inv_freq = BaseFrequencies(rope, ThetaForLength(rope, length)),
                              .magnitude = rope.magnitude};
  std::vector<float> factors;
  switch (rope.scaling) {
    case RopeScaling::kNone:
    case RopeScaling::kDynamicNtk:
    case RopeScaling::kDynamicDoubling:
      break;
    case RopeScaling::kLinear:
      factors.assign(table.inv_freq.size(), static_cast<float>(rope.factor));
      break;
    case RopeScaling::kFactors:
      factors = rope.factors;
      break;
    case RopeScaling::kYarn:
      factors = YarnFactors(rope);
      break;
    case RopeScaling::kLongRope:
      factors = length > rope.original_context_tokens ? rope.long_factors : rope.factors;
      break;
  }
  for (size_t i = 0; i < factors.size(); ++i) table.inv_freq[i] /= factors[i];
  return table;
}

}  // namespace linnet::worker
