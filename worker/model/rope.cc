#include "worker/model/rope.h"

#include <cmath>
#include <numbers>

namespace linnet::worker {
namespace {

std::vector<float> BaseFrequencies(const RopeDescription& rope) {
  std::vector<float> inv_freq(static_cast<size_t>(rope.rotary_dim / 2));
  for (size_t i = 0; i < inv_freq.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rope.rotary_dim);
    inv_freq[i] = 1.0f / std::pow(static_cast<float>(rope.theta), exponent);
  }
  return inv_freq;
}

}  // namespace

std::vector<float> Llama3RopeFactors(const RopeDescription& rope) {
  const double original = static_cast<double>(rope.original_context_tokens);
  std::vector<float> factors;
  for (float frequency : BaseFrequencies(rope)) {
    const double wavelength = 2 * std::numbers::pi / frequency;
    if (wavelength < original / rope.high_freq_factor) {
      factors.push_back(1.0f);
    } else if (wavelength > original / rope.low_freq_factor) {
      factors.push_back(static_cast<float>(rope.factor));
    } else {
      const double smooth =
          (original / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
      factors.push_back(static_cast<float>(1.0 / ((1.0 - smooth) / rope.factor + smooth)));
    }
  }
  return factors;
}

kernels::RopeTable MakeRopeTable(const RopeDescription& rope) {
  kernels::RopeTable table = {.rotary_dim = rope.rotary_dim,
                              .interleaved = rope.interleaved,
                              .inv_freq = BaseFrequencies(rope),
                              .magnitude = 1};
  std::vector<float> factors;
  switch (rope.scaling) {
    case RopeScaling::kNone:
      break;
    case RopeScaling::kLinear:
      factors.assign(table.inv_freq.size(), static_cast<float>(rope.factor));
      break;
    case RopeScaling::kLlama3:
      factors = Llama3RopeFactors(rope);
      break;
    case RopeScaling::kFactors:
      factors = rope.factors;
      break;
  }
  for (size_t i = 0; i < factors.size(); ++i) table.inv_freq[i] /= factors[i];
  return table;
}

}  // namespace linnet::worker
