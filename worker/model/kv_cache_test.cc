#include "worker/model/kv_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>

namespace linnet::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

ModelDescription TwoUnequalLayers() {
  ModelDescription model;
  model.layers.resize(2);
  model.layers[0].attention = {.q_heads = 4, .kv_heads = 2, .head_dim = 20, .value_dim = 20};
  model.layers[1].attention = {.q_heads = 3, .kv_heads = 1, .head_dim = 64, .value_dim = 64};
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
  EXPECT_THAT(a.blocks, ElementsAre(SizeIs(1)));
  EXPECT_TRUE(cache->Reserve(a, kBlockTokens)) << "fits the block that it has";
  EXPECT_EQ(cache->free_blocks(), 3);
  EXPECT_TRUE(cache->Reserve(a, kBlockTokens + 1));
  EXPECT_THAT(a.blocks, ElementsAre(SizeIs(2)));
  EXPECT_FALSE(cache->Reserve(b, 3 * kBlockTokens));
  EXPECT_THAT(b.blocks, ElementsAre(SizeIs(0))) << "nothing changes where it does not fit";
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

ModelDescription AlternatingWindows() {
  ModelDescription model;
  model.layers.resize(4);
  for (size_t l = 0; l < 4; ++l) {
    model.layers[l].attention = {
        .q_heads = 1, .kv_heads = 1, .head_dim = 16, .value_dim = 16, .window = l % 2 == 0 ? 100 : 0};
  }
  return model;
}

TEST(KvCache, LayersWithAWindowKeepTheWindowAndAStep) {
  constexpr int64_t kBlocks = 64, kLayerBlock = kBlockTokens * 2 * 16 * 2;
  auto cache =
      *KvCache::Create(AlternatingWindows(), kernels::DType::kF16, kBlocks, {.sequences = 3, .step_tokens = 30});
  // 129 tokens lie in at most 5 blocks.
  EXPECT_EQ(cache->bytes(), 2 * kLayerBlock * (kBlocks + 3 * 5));
  EXPECT_EQ(cache->blocks(), kBlocks);
  EXPECT_EQ(cache->BlocksHeld(1000), 32) << "the layers that keep everything count";
  KvSequence sequence;
  ASSERT_TRUE(cache->Reserve(sequence, 1000));
  EXPECT_THAT(sequence.blocks, ElementsAre(SizeIs(32), SizeIs(5)));
  cache->Release(sequence);
  EXPECT_EQ(cache->free_blocks(), kBlocks);
  // A limit that is not known makes no use of windows.
  EXPECT_EQ((*KvCache::Create(AlternatingWindows(), kernels::DType::kF16, kBlocks))->bytes(),
            4 * kLayerBlock * kBlocks);
}

TEST(KvCache, ABlockOutOfTheWindowIsWrittenAgain) {
  auto cache = *KvCache::Create(AlternatingWindows(), kernels::DType::kF32, 64, {.sequences = 3, .step_tokens = 30});
  KvSequence sequence;
  ASSERT_TRUE(cache->Reserve(sequence, 40)) << "grows block by block up to the ring";
  ASSERT_TRUE(cache->Reserve(sequence, 1000));
  std::vector<std::byte*> windowed_pointers, whole_pointers;
  const kernels::KvBlocks windowed = cache->Layer(2, sequence, windowed_pointers);
  const kernels::KvBlocks whole = cache->Layer(1, sequence, whole_pointers);
  for (int64_t position = 0; position < 1000; ++position) {
    const std::vector<float> k(16, static_cast<float>(position)), v(16, static_cast<float>(-position));
    kernels::StoreKv(windowed, position, 1, k.data(), 16, v.data(), 16);
    kernels::StoreKv(whole, position, 1, k.data(), 16, v.data(), 16);
    // A step of 30 tokens that ends here sees from 128 tokens before on.
    for (int64_t seen = std::max<int64_t>(0, position - 128); seen <= position; ++seen) {
      ASSERT_EQ(kernels::LoadKey(windowed, 0, seen, 5), static_cast<float>(seen)) << "at " << position;
      ASSERT_EQ(kernels::LoadValue(windowed, 0, seen, 5), static_cast<float>(-seen));
    }
  }
  for (int64_t position = 0; position < 1000; ++position) {
    ASSERT_EQ(kernels::LoadKey(whole, 0, position, 5), static_cast<float>(position));
  }
}

TEST(KvCache, WhereAllLayersHaveAWindowItsBlocksCount) {
  ModelDescription model = AlternatingWindows();
  for (LayerDescription& layer : model.layers) layer.attention.window = 100;
  model.layers[3].attention.window = 40;
  auto cache = *KvCache::Create(model, kernels::DType::kF16, 64, {.sequences = 3, .step_tokens = 30});
  EXPECT_EQ(cache->blocks(), 3 * 5);
  EXPECT_EQ(cache->BlocksHeld(1000), 5);
  KvSequence sequences[3], one_more;
  for (KvSequence& sequence : sequences) ASSERT_TRUE(cache->Reserve(sequence, 1000));
  EXPECT_THAT(sequences[0].blocks, ElementsAre(SizeIs(5), SizeIs(4)));
  EXPECT_FALSE(cache->Reserve(one_more, 1));
  cache->Release(sequences[1]);
  EXPECT_TRUE(cache->Reserve(one_more, 1));
}

TEST(KvCache, RecurrentLayersKeepAStateForEachSequence) {
  ModelDescription model = AlternatingWindows();
  model.layers[0].attention = model.layers[2].attention = {};
  model.layers[0].recurrent = model.layers[2].recurrent = {.width = 24, .heads = 2, .taps = 4};
  auto cache = *KvCache::Create(model, kernels::DType::kF16, 64, {.sequences = 3, .step_tokens = 30});
  constexpr int64_t kLayerBlock = kBlockTokens * 2 * 16 * 2, kState = 64 + 24 * 4 * sizeof(float);
  EXPECT_EQ(cache->bytes(), 64 * 2 * kLayerBlock + 3 * 2 * kState);
  EXPECT_EQ(KvCache::BytesPerToken(model, kernels::DType::kF16), 2 * 2 * 16 * 2);
  KvSequence a, b;
  ASSERT_TRUE(cache->Reserve(a, 1000));
  ASSERT_TRUE(cache->Reserve(b, 10));
  EXPECT_THAT(a.blocks, ElementsAre(SizeIs(32), SizeIs(1)));
  float value = 0;
  for (const KvSequence* sequence : {&a, &b}) {
    for (const int layer : {0, 2}) {
      const KvCache::State state = cache->LayerState(layer, *sequence);
      *state.tokens = static_cast<int64_t>(++value);
      std::fill_n(state.values, 24 * 4, value);
    }
  }
  value = 0;
  for (const KvSequence* sequence : {&a, &b}) {
    for (const int layer : {0, 2}) {
      const KvCache::State state = cache->LayerState(layer, *sequence);
      EXPECT_EQ(*state.tokens, static_cast<int64_t>(++value));
      for (int i = 0; i < 24 * 4; ++i) ASSERT_EQ(state.values[i], value);
    }
  }
}

TEST(KvCache, RefusesTypesAndSizes) {
  EXPECT_FALSE(KvCache::Create(TwoUnequalLayers(), kernels::DType::kQ4_0, 4).ok());
  EXPECT_FALSE(KvCache::Create(TwoUnequalLayers(), kernels::DType::kF16, 0).ok());
}

}  // namespace
}  // namespace linnet::worker
