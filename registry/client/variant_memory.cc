#include "registry/client/variant_memory.h"

#include <algorithm>

#include "base/saturating.h"

namespace linnet::registry {
namespace {

using base::SaturatingAdd;
using base::SaturatingMultiply;

constexpr uint64_t kUnstatedScratchBytes = 64 << 20;
// Tokens by which a window is longer at most once it is made of blocks.
constexpr uint64_t kBlockRounding = 64;

uint64_t LayerBytes(const v1::LayerShape& layer, const KvUse& use) {
  constexpr uint64_t kF16 = 2;
  const uint64_t value_dim = layer.value_dim() > 0 ? layer.value_dim() : layer.head_dim();
  const uint64_t per_token = SaturatingMultiply(uint64_t{layer.kv_heads()} * kF16, layer.head_dim() + value_dim);
  uint64_t tokens = use.tokens;
  if (layer.window() > 0) {
    const uint64_t ring = SaturatingAdd(layer.window(), use.step_tokens + kBlockRounding);
    tokens = std::min(tokens, SaturatingMultiply(use.sequences, ring));
  }
  const uint64_t states = SaturatingMultiply(layer.state_floats(), use.sequences * sizeof(float));
  return SaturatingAdd(SaturatingMultiply(per_token, tokens), states);
}

}  // namespace

uint64_t KvBytes(const v1::Architecture& architecture, const v1::Variant& variant, const KvUse& use) {
  uint64_t bytes = 0;
  for (const v1::LayerShape& layer : architecture.layer_shapes()) bytes = SaturatingAdd(bytes, LayerBytes(layer, use));
  return bytes > 0 ? bytes : SaturatingMultiply(variant.kv_bytes_per_token(), use.tokens);
}

uint64_t ScratchBytes(const v1::Variant& variant) {
  const uint64_t stated = variant.requirements().scratch_bytes();
  return stated > 0 ? stated : kUnstatedScratchBytes;
}

}  // namespace linnet::registry
