// On the real SmolLM2, and a tiny model of f32 weights: weights read from the packed cache compute the very same bits
// as weights packed anew.
#include "worker/model/packed_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/log/check.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/testing.h"
#include "kernels/rows.h"
#include "kernels/thread_pool.h"
#include "tests/accuracy/golden.h"
#include "worker/model/kv_cache.h"
#include "worker/model/model.h"

namespace linnet::accuracy {
namespace {

using worker::Model;
using worker::PackedLoad;
using worker::TokenId;

constexpr int kGreedyTokens = 16;

class PackedModel : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Model>> Load(worker::PackedCache* cache) {
    return Model::Load(model_path_,
                       {.packed_cache = cache,
                        .packed_key = key_,
                        .verify =
                            [this] {
                              ++verified_;
                              return verdict_;
                            }},
                       &pool_);
  }
  std::unique_ptr<worker::PackedCache> Open() { return worker::PackedCache::Open({.dir = files_.root()}); }
  std::string path() const { return files_.Path(worker::PackedCache::FileName(key_)); }

  // Logits of a prompt's tokens, then of greedy ones, all in a row.
  std::vector<float> Logits(Model& model) {
    std::vector<TokenId> tokens = model.tokenizer().Encode("The capital of France is Paris, and that of Italy", {});
    auto cache = worker::KvCache::Create(model.description(), model.kv_type(), 8);
    CHECK_OK(cache.status());
    worker::KvSequence sequence;
    CHECK((*cache)->Reserve(sequence, static_cast<int64_t>(tokens.size()) + kGreedyTokens));
    std::vector<float> all;
    int64_t position = 0;
    for (int i = 0; i <= kGreedyTokens; ++i) {
      const worker::BatchSpan span = {
          .tokens = tokens, .first_position = position, .kv = &sequence, .logits = worker::BatchSpan::Logits::kLast};
      const std::span<const float> logits = model.Forward({&span, 1}, **cache).logits;
      all.insert(all.end(), logits.begin(), logits.end());
      position += static_cast<int64_t>(tokens.size());
      tokens = {static_cast<TokenId>(kernels::ArgMax(logits.data(), static_cast<int64_t>(logits.size())))};
    }
    (*cache)->Release(sequence);
    return all;
  }

  std::string model_path_ = SmolLm2Path();
  const std::string key_ = "sha256:" + std::string(64, 'c');
  base::FileTree files_;
  kernels::ThreadPool pool_{2};
  absl::Status verdict_;
  int verified_ = 0;
};

class PackedModelOfType : public PackedModel, public ::testing::WithParamInterface<std::string> {
 protected:
  PackedModelOfType() {
    if (GetParam() == "F32") model_path_ = GoldenPath("tiny/llama.gguf");
  }
};
INSTANTIATE_TEST_SUITE_P(Types, PackedModelOfType, ::testing::Values("Q4_1", "F32"),
                         [](const auto& info) { return info.param; });

TEST_P(PackedModelOfType, SecondLoadReadsWhatTheFirstPackedBitForBit) {
  const auto uncached = Load(nullptr);
  ASSERT_TRUE(uncached.ok()) << uncached.status();
  EXPECT_EQ((*uncached)->packed_load(), PackedLoad::kOff);
  const std::vector<float> expected = Logits(**uncached);
  const auto cache = Open();
  {
    const auto first = Load(cache.get());
    ASSERT_TRUE(first.ok()) << first.status();
    EXPECT_EQ((*first)->packed_load(), PackedLoad::kMiss);
    EXPECT_EQ((*first)->weight_bytes(), (*uncached)->weight_bytes());
    (*first)->SavePacked([] { return false; });
    EXPECT_EQ(cache->Reclaim(1), 0u) << "in use";
    EXPECT_EQ(Logits(**first), expected);
  }
  EXPECT_EQ(verified_, 2);
  const auto second = Load(cache.get());
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ((*second)->packed_load(), PackedLoad::kHit);
  EXPECT_EQ((*second)->weight_bytes(), (*uncached)->weight_bytes());
  EXPECT_EQ(verified_, 2) << "the packed weights vouch for all that was read";
  EXPECT_EQ(cache->Reclaim(1), 0u) << "in use";
  EXPECT_EQ(Logits(**second), expected);
  EXPECT_EQ(cache->stats().hits, 1u);
  EXPECT_EQ(cache->stats().misses, 1u);
}

TEST_F(PackedModel, DamagedImageIsPackedAnewFromAVerifiedFile) {
  const auto cache = Open();
  std::vector<float> expected;
  {
    const auto first = Load(cache.get());
    ASSERT_TRUE(first.ok()) << first.status();
    (*first)->SavePacked([] { return false; });
    expected = Logits(**first);
  }
  const auto damage = [&] {
    std::fstream file(path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1'000'000, std::ios::end);
    file.write("damaged", 7);
    ASSERT_TRUE(file.good());
  };
  damage();
  verified_ = 0;
  {
    const auto second = Load(cache.get());
    ASSERT_TRUE(second.ok()) << second.status();
    EXPECT_EQ((*second)->packed_load(), PackedLoad::kMiss);
    EXPECT_EQ(verified_, 1);
    EXPECT_FALSE(std::filesystem::exists(path()));
    EXPECT_EQ(Logits(**second), expected);
    (*second)->SavePacked([] { return false; });
  }
  damage();
  verdict_ = absl::DataLossError("the model file is damaged too");
  EXPECT_EQ(Load(cache.get()).status(), verdict_);
}

TEST_F(PackedModel, ReferencePrecisionPacksNothing) {
  const auto cache = Open();
  const auto model = Model::Load(
      "tests/golden/tiny/llama.gguf",
      {.precision = kernels::Precision::kReference, .packed_cache = cache.get(), .packed_key = key_}, &pool_);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->packed_load(), PackedLoad::kOff);
  (*model)->SavePacked([] { return false; });
  EXPECT_FALSE(std::filesystem::exists(path()));
}

}  // namespace
}  // namespace linnet::accuracy
