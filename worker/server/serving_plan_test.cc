#include "worker/server/serving_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace linnet::worker {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kMiB = 1 << 20;

// A registry with two models: "big" with two variants, "small" with one.
class ServingPlanTest : public ::testing::Test {
 protected:
  ServingPlanTest() {
    AddModel("big", 8192);
    AddVariant("big", "q4", 400 * kMiB, 1024);
    AddVariant("big", "q8", 800 * kMiB, 1024);
    AddModel("small", 2048);
    AddVariant("small", "q4", 100 * kMiB, 512);
    snapshot_.models["models/big"].mutable_aliases()->insert({"stable", "q4"});
    inputs_.snapshot = &snapshot_;
    inputs_.memory_bytes = 4096 * kMiB;
    inputs_.isa_features = {"avx2"};
  }

  void AddModel(const std::string& model, uint32_t context) {
    auto& m = snapshot_.models["models/" + model];
    m.set_name("models/" + model);
    m.mutable_architecture()->set_context_tokens(context);
  }
  registry::v1::Variant& AddVariant(const std::string& model, const std::string& id, uint64_t bytes, uint64_t kv) {
    const std::string name = "models/" + model + "/variants/" + id;
    auto& v = snapshot_.variants[name];
    v.set_name(name);
    v.set_weight_bytes(bytes);
    v.set_kv_bytes_per_token(kv);
    auto* blob = v.add_blobs();
    blob->set_role("main");
    blob->set_digest("sha256:" + model + id);
    blob->set_size_bytes(bytes);
    return v;
  }
  std::vector<std::string> Served() {
    std::vector<std::string> names;
    for (const auto& [name, choice] : PlanServing(inputs_).serve) names.push_back(name);
    return names;
  }

  registry::RegistrySnapshot snapshot_;
  ServingInputs inputs_;
};

TEST_F(ServingPlanTest, EveryModelOnceWithItsLargestVariantThatFits) {
  EXPECT_THAT(Served(), ::testing::ElementsAre("models/big/variants/q8", "models/small/variants/q4"));
  inputs_.memory_bytes = 700 * kMiB;
  EXPECT_THAT(Served(), ::testing::ElementsAre("models/big/variants/q4", "models/small/variants/q4"));
}

TEST_F(ServingPlanTest, RegistrysRankingGoesFirst) {
  inputs_.ranking["big"] = {"models/big/variants/q4", "models/big/variants/q8"};
  EXPECT_THAT(Served(), ::testing::Contains("models/big/variants/q4"));
}

TEST_F(ServingPlanTest, AliasAndExplicitVariantAreTakenAtTheirWord) {
  inputs_.wanted = {"big@stable"};
  EXPECT_THAT(Served(), ::testing::ElementsAre("models/big/variants/q4"));
  inputs_.wanted = {"big/q8", "big@stable"};
  EXPECT_THAT(Served(), SizeIs(2));
  inputs_.wanted = {"big/q8", "big"};  // the same one twice
  EXPECT_THAT(Served(), ::testing::ElementsAre("models/big/variants/q8"));
}

TEST_F(ServingPlanTest, RefusesWithTheNumbers) {
  inputs_.wanted = {"big/q8"};
  inputs_.memory_bytes = 500 * kMiB;
  const ServingPlan plan = PlanServing(inputs_);
  EXPECT_THAT(plan.serve, IsEmpty());
  ASSERT_THAT(plan.refused, SizeIs(1));
  const absl::Status& why = plan.refused[0].why;
  EXPECT_EQ(base::ErrorReason(why), "OUT_OF_MEMORY");
  EXPECT_THAT(std::string(why.message()), HasSubstr("models/big/variants/q8: needs 868.0 MiB (weights 800.0 MiB + KV "
                                                    "cache 4.0 MiB + scratch 64.0 MiB), 500.0 MiB available"));
  EXPECT_EQ(base::ErrorMetadata(why, "available_bytes"), std::to_string(500 * kMiB));
}

TEST_F(ServingPlanTest, KvCacheShrinksToWhatIsLeftButNotBelowOneContext) {
  inputs_.wanted = {"big/q4"};
  inputs_.memory_bytes = 2048 * kMiB;
  const auto ample = PlanServing(inputs_).serve.at("models/big/variants/q4");
  EXPECT_EQ(ample.context_tokens, 4096u);
  EXPECT_EQ(ample.kv_cache_tokens, 4u * 4096);
  inputs_.memory_bytes = (400 + 64 + 6) * kMiB;  // 6 MiB are 6144 tokens
  EXPECT_EQ(PlanServing(inputs_).serve.at("models/big/variants/q4").kv_cache_tokens, 6144u);
  inputs_.memory_bytes = (400 + 64 + 4) * kMiB;
  EXPECT_EQ(PlanServing(inputs_).serve.at("models/big/variants/q4").kv_cache_tokens, 4096u);
  inputs_.memory_bytes -= 1;
  EXPECT_THAT(PlanServing(inputs_).serve, IsEmpty());
}

TEST_F(ServingPlanTest, AKvCacheInQ8TakesItsShareOfF16) {
  inputs_.wanted = {"big/q4"};
  inputs_.memory_bytes = 2048 * kMiB;
  const uint64_t f16 = PlanServing(inputs_).serve.at("models/big/variants/q4").memory.kv_bytes;
  inputs_.kv_type = kernels::DType::kQ8_0;
  EXPECT_EQ(PlanServing(inputs_).serve.at("models/big/variants/q4").memory.kv_bytes, f16 / 32 * 17);
}

TEST_F(ServingPlanTest, LayersWithWindowsTakeNoMoreThanTheirRequestsWindows) {
  auto& model = snapshot_.models["models/big"];
  for (const uint64_t window : {0, 64}) {
    auto* layer = model.mutable_architecture()->add_layer_shapes();
    layer->set_kv_heads(1);
    layer->set_head_dim(128);
    layer->set_window(window);
  }
  inputs_.wanted = {"big/q4"};
  inputs_.max_running_requests = 2;
  inputs_.step_token_budget = 128;
  constexpr uint64_t kToken = 512;  // of one layer
  const auto ample = PlanServing(inputs_).serve.at("models/big/variants/q4");
  EXPECT_EQ(ample.kv_cache_tokens, 4u * 4096);
  constexpr uint64_t kWindows = 2 * (64 + 128 + 64) * kToken;
  EXPECT_EQ(ample.memory.kv_bytes, 4 * 4096 * kToken + kWindows);
  // What windows leave is room for whole contexts.
  inputs_.memory_bytes = (400 + 64 + 4) * kMiB + kWindows;
  EXPECT_EQ(PlanServing(inputs_).serve.at("models/big/variants/q4").kv_cache_tokens, 4 * kMiB / kToken);
}

TEST_F(ServingPlanTest, ContextIsTheModelsOrTheOneAskedFor) {
  inputs_.wanted = {"small"};
  EXPECT_EQ(PlanServing(inputs_).serve.begin()->second.context_tokens, 2048u);
  inputs_.context_tokens = 1000;
  EXPECT_EQ(PlanServing(inputs_).serve.begin()->second.context_tokens, 1000u);
  inputs_.context_tokens = 100000;
  EXPECT_EQ(PlanServing(inputs_).serve.begin()->second.context_tokens, 2048u);
}

TEST_F(ServingPlanTest, WhatIsServedStaysThoughAnotherWouldFitBetter) {
  ServingChoice served;
  served.variant = "models/big/variants/q4";
  served.digest = "sha256:bigq4";
  served.memory.weight_bytes = 400 * kMiB;
  inputs_.serving[served.variant] = served;
  EXPECT_THAT(Served(), ::testing::Contains("models/big/variants/q4"));
  // ... unless its bytes are others now.
  snapshot_.variants[served.variant].mutable_blobs(0)->set_digest("sha256:new");
  EXPECT_THAT(Served(), ::testing::Contains("models/big/variants/q8"));
}

TEST_F(ServingPlanTest, NewcomerDoesNotPushOutWhatIsServed) {
  ServingChoice served;
  served.variant = "models/small/variants/q4";
  served.digest = "sha256:smallq4";
  served.memory.weight_bytes = 100 * kMiB;
  inputs_.serving[served.variant] = served;
  inputs_.memory_bytes = 500 * kMiB;  // "big" comes first by name, and would fit alone
  const ServingPlan plan = PlanServing(inputs_);
  EXPECT_TRUE(plan.serve.contains("models/small/variants/q4"));
  EXPECT_FALSE(plan.serve.contains("models/big/variants/q4"));
}

TEST_F(ServingPlanTest, RefusesOtherCpusAndUnknownNames) {
  AddVariant("small", "vnni", 50 * kMiB, 512).mutable_requirements()->add_any_isa("avx512_vnni");
  inputs_.wanted = {"small/vnni", "nobody", "small@canary"};
  const ServingPlan plan = PlanServing(inputs_);
  EXPECT_THAT(plan.serve, IsEmpty());
  ASSERT_THAT(plan.refused, SizeIs(3));
  EXPECT_THAT(std::string(plan.refused[0].why.message()), HasSubstr("needs one of avx512_vnni; this CPU has avx2"));
  EXPECT_EQ(plan.refused[1].why.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(plan.refused[2].why.code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace linnet::worker
