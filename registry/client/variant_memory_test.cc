#include "registry/client/variant_memory.h"

#include <gtest/gtest.h>

namespace linnet::registry {
namespace {

v1::LayerShape Layer(uint32_t kv_heads, uint32_t head_dim) {
  v1::LayerShape layer;
  layer.set_kv_heads(kv_heads);
  layer.set_head_dim(head_dim);
  return layer;
}

TEST(VariantMemory, TheCacheIsThatOfTheLayersElseOfWhatTheVariantSays) {
  v1::Architecture architecture;
  v1::Variant variant;
  variant.set_kv_bytes_per_token(1000);
  EXPECT_EQ(KvBytes(architecture, variant, {.tokens = 4096}), 4096u * 1000);
  *architecture.add_layer_shapes() = Layer(4, 64);
  *architecture.add_layer_shapes() = Layer(2, 64);
  EXPECT_EQ(KvBytes(architecture, variant, {.tokens = 4096}), 4096u * (4 + 2) * 64 * 2 * 2);
  // One latent vector of 256, and 32 more dimensions of the key.
  architecture.mutable_layer_shapes(1)->set_head_dim(288);
  architecture.mutable_layer_shapes(1)->set_value_dim(256);
  EXPECT_EQ(KvBytes(architecture, variant, {.tokens = 1}), 4u * 64 * 2 * 2 + 2 * (288 + 256) * 2);
}

TEST(VariantMemory, WindowsEndTheGrowthAndStatesDoNotGrow) {
  v1::Architecture architecture;
  *architecture.add_layer_shapes() = Layer(1, 64);
  architecture.mutable_layer_shapes(0)->set_window(1024);
  architecture.add_layer_shapes()->set_state_floats(1000);
  constexpr uint64_t kToken = 64 * 2 * 2, kState = 4000;
  EXPECT_EQ(KvBytes(architecture, {}, {.tokens = 1000}), 1000 * kToken + kState);
  const uint64_t most = KvBytes(architecture, {}, {.tokens = 1 << 20});
  EXPECT_GE(most, (1024 + 512) * kToken + kState);
  EXPECT_LE(most, (1024 + 512 + 64) * kToken + kState);
  EXPECT_EQ(KvBytes(architecture, {}, {.tokens = 1 << 20, .sequences = 3}), 3 * most);
  EXPECT_EQ(KvBytes(architecture, {}, {.tokens = 1 << 20, .step_tokens = 1}), most - 511 * kToken);
}

TEST(VariantMemory, AbsurdFiguresDoNotWrapAround) {
  v1::Architecture architecture;
  v1::LayerShape* layer = architecture.add_layer_shapes();
  *layer = Layer(UINT32_MAX, UINT32_MAX);
  EXPECT_EQ(KvBytes(architecture, {}, {.tokens = UINT64_MAX}), UINT64_MAX);
  layer->set_window(UINT64_MAX);
  layer->set_state_floats(UINT64_MAX);
  EXPECT_EQ(KvBytes(architecture, {}, {.tokens = UINT64_MAX}), UINT64_MAX);
}

TEST(VariantMemory, ScratchIsWhatWasPlannedAtTheImport) {
  v1::Variant variant;
  EXPECT_EQ(ScratchBytes(variant), 64u << 20);
  variant.mutable_requirements()->set_scratch_bytes(100);
  EXPECT_EQ(ScratchBytes(variant), 100u);
}

}  // namespace
}  // namespace linnet::registry
