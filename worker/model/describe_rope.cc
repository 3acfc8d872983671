#include "worker/model/describe_rope.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "base/strings.h"

namespace linnet::worker {
namespace {

struct ScalingName {
  std::string_view name;
  RopeScaling scaling;
};
constexpr ScalingName kScalings[] = {
    {"none", RopeScaling::kNone},          {"linear", RopeScaling::kLinear},
    {"yarn", RopeScaling::kYarn},          {"longrope", RopeScaling::kLongRope},
    {"dynamic", RopeScaling::kDynamicNtk}, {"dynamic_doubling", RopeScaling::kDynamicDoubling},
};

// A tensor of divisors; empty: it is missing, or was complained about.
std::vector<float> ReadFactors(GgufKeys& keys, std::string_view name, int64_t count) {
  const GgufTensor* const tensor = keys.file().FindTensor(name);
  if (tensor == nullptr) return {};
  if (tensor->type != kernels::DType::kF32 || tensor->elements() != count) {
    keys.Complain(base::StrCat(std::string(name), " must be F32 [", count, "], is ", kernels::Info(tensor->type).name,
                               " of ", tensor->elements(), " elements"));
    return {};
  }
  std::vector<float> factors(static_cast<size_t>(count));
  std::memcpy(factors.data(), tensor->data.data(), factors.size() * sizeof(float));
  if (std::any_of(factors.begin(), factors.end(), [](float f) { return !(f > 0) || !std::isfinite(f); })) {
    keys.Complain(base::StrCat(std::string(name), " has a factor that is not positive and finite"));
    return {};
  }
  return factors;
}

RopeScaling ReadScaling(GgufKeys& keys) {
  const std::string name = keys.StringOr("rope.scaling.type", "none");
  const auto* const known =
      std::find_if(std::begin(kScalings), std::end(kScalings), [&](const ScalingName& s) { return s.name == name; });
  if (known != std::end(kScalings)) return known->scaling;
  std::string names;
  for (const ScalingName& s : kScalings) base::StrAppend(&names, names.empty() ? "" : ", ", std::string(s.name));
  keys.Complain(base::StrCat(keys.Name("rope.scaling.type"), " \"", name, "\" is not supported (", names,
                             " are, and a rope_freqs.weight tensor)"));
  return RopeScaling::kNone;
}

void ReadYarn(GgufKeys& keys, RopeDescription& rope) {
  rope.beta_fast = keys.PositiveOr("rope.scaling.yarn_beta_fast", rope.beta_fast);
  rope.beta_slow = keys.PositiveOr("rope.scaling.yarn_beta_slow", rope.beta_slow);
  const double by_factor = rope.factor > 1 ? 1 + 0.1 * std::log(rope.factor) : 1;
  rope.magnitude *= static_cast<float>(keys.PositiveOr("rope.scaling.yarn_attn_factor", by_factor));
  // Variants of some mixtures of experts.
  for (const std::string_view key :
       {"rope.scaling.yarn_log_multiplier", "rope.scaling.yarn_ext_factor", "rope.scaling.yarn_truncate"}) {
    if (keys.Has(key)) keys.Complain(base::StrCat(keys.Name(key), " is not supported"));
  }
}

// Factors by the length come as two tensors, whatever the keys say.
void ReadLongRope(GgufKeys& keys, RopeDescription& rope) {
  rope.scaling = RopeScaling::kLongRope;
  rope.factors = ReadFactors(keys, "rope_factors_short.weight", rope.rotary_dim / 2);
  rope.long_factors = ReadFactors(keys, "rope_factors_long.weight", rope.rotary_dim / 2);
  if (rope.factors.empty() || rope.long_factors.empty()) {
    keys.Complain("RoPE by length needs the tensors rope_factors_short.weight and rope_factors_long.weight");
    rope.scaling = RopeScaling::kNone;
  }
}

}  // namespace

RopeDescription ReadRope(GgufKeys& keys, int most_dims, bool interleaved, int64_t context_tokens) {
  RopeDescription rope;
  rope.interleaved = interleaved;
  rope.theta = keys.PositiveOr("rope.freq_base", 10000.0);
  rope.rotary_dim = static_cast<int>(keys.IntOr("rope.dimension_count", most_dims, 2, most_dims));
  if (rope.rotary_dim % 2 != 0) {
    keys.Complain(base::StrCat(keys.Name("rope.dimension_count"), " is ", rope.rotary_dim, ", must be even"));
  }
  rope.scaling = ReadScaling(keys);
  if (rope.scaling == RopeScaling::kNone && keys.file().FindTensor("rope_freqs.weight") != nullptr) {
    // Llama 3's scaling comes as a tensor of divisors.
    rope.factors = ReadFactors(keys, "rope_freqs.weight", rope.rotary_dim / 2);
    if (!rope.factors.empty()) rope.scaling = RopeScaling::kFactors;
    return rope;
  }
  if (keys.file().FindTensor("rope_freqs.weight") != nullptr) {
    keys.Complain(base::StrCat("both rope_freqs.weight and ", keys.Name("rope.scaling.type"), " are given"));
  }
  if (rope.scaling == RopeScaling::kLinear || rope.scaling == RopeScaling::kYarn ||
      rope.scaling == RopeScaling::kDynamicNtk) {
    rope.factor = keys.Positive("rope.scaling.factor");
  }
  rope.original_context_tokens =
      keys.IntOr("rope.scaling.original_context_length", context_tokens, 2, int64_t{1} << 40);
  rope.magnitude = static_cast<float>(keys.PositiveOr("rope.scaling.attn_factor", 1));
  if (rope.scaling == RopeScaling::kYarn) ReadYarn(keys, rope);
  if (rope.scaling == RopeScaling::kLongRope || keys.file().FindTensor("rope_factors_long.weight") != nullptr) {
    ReadLongRope(keys, rope);
  }
  if (rope.DependsOnLength() && rope.scaling != RopeScaling::kLongRope && rope.rotary_dim < 4) {
    keys.Complain(base::StrCat(keys.Name("rope.dimension_count"), " is ", rope.rotary_dim,
                               ", must be at least 4 where theta depends on the length"));
  }
  return rope;
}

}  // namespace linnet::worker
