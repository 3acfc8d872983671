#include "worker/model/kv_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

namespace linnet::worker {
namespace {

ModelDescription TwoUnequalLayers() {
  ModelDescription model;
  model.layers.resize(2);
  model.layers[0].attention = {.q_heads = 4, .kv_heads = 2, .head_dim = 20};
  model.layers[1].attention = {.q_heads = 3, .kv_heads = 1, .head_dim = 64};
  return model;
}

TEST(KvCache, CountsBytesExactly) {
  // 2 (keys and values) * (2 * 20 + 64) elements
  EXPECT_EQ(KvCache::BytesPerToken(TwoUnequalLayers(), kernels::DType::kF16), 2 * 104 * 2);
  EXPECT_EQ(KvCache::BytesPerToken(TwoUnequalLayers(), kernels::DType::kF32), 2 * 104 * 4);
  // Heads padded to groups of 32, whose integers take 32 bytes and whose scale 2; a tile of 16 keys of one group takes
  // 576 bytes instead of 544: it ends at a cache line.
  EXPECT_EQ(KvCache::BytesPerToken(TwoUnequalLayers(), kernels::DType::kQ8_0), 2 * (576 / 16 + 34) + 2 * 68);
  auto cache = *KvCache::Create(TwoUnequalLayers(), kernels::DType::kF16, 10);
  EXPECT_EQ(cache->bytes(), 10 * kBlockTokens * 2 * 104 * 2);
}

TEST(KvCache, ReservesByTheBlockAndReleases) {
  auto cache = *KvCache::Create(TwoUnequalLayers(), kernels::DType::kF16, 4);
  KvSequence a, b;
  EXPECT_TRUE(cache->Reserve(a, 1));
  EXPECT_EQ(a.blocks.size(), 1u);
  EXPECT_TRUE(cache->Reserve(a, kBlockTokens)) << "fits the block that it has";
  EXPECT_EQ(cache->free_blocks(), 3);
  EXPECT_TRUE(cache->Reserve(a, kBlockTokens + 1));
  EXPECT_EQ(a.blocks.size(), 2u);
  EXPECT_FALSE(cache->Reserve(b, 3 * kBlockTokens));
  EXPECT_TRUE(b.blocks.empty()) << "nothing changes where it does not fit";
  EXPECT_EQ(cache->free_blocks(), 2);
  EXPECT_TRUE(cache->Reserve(b, 2 * kBlockTokens));
  cache->Release(a);
  EXPECT_TRUE(a.blocks.empty());
  EXPECT_EQ(cache->free_blocks(), 2);
  cache->Release(b);
  EXPECT_EQ(cache->free_blocks(), 4);
}

TEST(KvCache, LayersAndBlocksDoNotOverlap) {
  const ModelDescription model = TwoUnequalLayers();
  auto cache = *KvCache::Create(model, kernels::DType::kF32, 3);
  KvSequence sequence;
  ASSERT_TRUE(cache->Reserve(sequence, 3 * kBlockTokens));
  // Fills every part with a value of its own, then looks that all are still there.
  std::vector<std::byte*> pointers[2];
  kernels::KvBlocks layers[2];
  for (int l = 0; l < 2; ++l) layers[l] = cache->Layer(l, sequence, pointers[l]);
  for (int l = 0; l < 2; ++l) {
    for (size_t b = 0; b < 3; ++b) {
      std::memset(layers[l].blocks[b], static_cast<int>(10 * l + b + 1),
                  static_cast<size_t>(layers[l].BytesPerBlock()));
    }
  }
  for (int l = 0; l < 2; ++l) {
    for (size_t b = 0; b < 3; ++b) {
      const std::byte want{static_cast<unsigned char>(10 * l + b + 1)};
      for (int64_t i = 0; i < layers[l].BytesPerBlock(); ++i) ASSERT_EQ(layers[l].blocks[b][i], want);
    }
  }
}

TEST(KvCache, RefusesTypesAndSizes) {
  EXPECT_FALSE(KvCache::Create(TwoUnequalLayers(), kernels::DType::kQ4_0, 4).ok());
  EXPECT_FALSE(KvCache::Create(TwoUnequalLayers(), kernels::DType::kF16, 0).ok());
}

}  // namespace
}  // namespace linnet::worker
