#include "worker/checkpoint/hf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "base/error.h"

namespace linnet::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

HfConfig Config(std::string_view text) {
  auto config = HfConfig::Parse(text, "config.json");
  EXPECT_TRUE(config.ok()) << config.status();
  return *std::move(config);
}

TEST(HfConfig, TheFirstNameThatIsThereCountsAndNullIsNone) {
  HfConfig config = Config(R"({"n_embd": 7, "hidden_size": null, "n_head": 4.0})");
  EXPECT_EQ(config.Int({"hidden_size", "n_embd"}, 1, 100), 7);
  EXPECT_EQ(config.Int({"n_head"}, 1, 100), 4);  // some write whole numbers so
  EXPECT_FALSE(config.Has({"hidden_size"}));
  EXPECT_EQ(config.IntOr({"hidden_size"}, 3, 1, 100), 3);
  EXPECT_THAT(config.problems(), IsEmpty());
}

TEST(HfConfig, EveryComplaintIsKept) {
  HfConfig config = Config(R"({"a": "x", "b": 1000, "c": -1, "d": 2.5, "e": [1, "x"], "f": {"g": 1}, "h": 1e300})");
  config.Int({"a"}, 1, 100);
  config.Int({"b"}, 1, 100);
  config.Positive({"c"});
  config.Int({"d"}, 1, 100);
  config.Numbers({"e"});
  config.StringOr({"f"}, "");
  config.BoolOr({"b"}, false);
  config.Int({"none", "other"}, 1, 100);
  config.Positive({"h"});
  EXPECT_THAT(config.problems(), ElementsAre("a is \"x\", must be a whole number", "b is 1000, must be from 1 to 100",
                                             "c is -1, must be a positive number", "d is 2.5, must be a whole number",
                                             "e has the element \"x\", which is no number",
                                             "f is a group of 1, must be text", "b is 1000, must be true or false",
                                             "none is missing", "h is 1e+300, must be a positive number"));
}

TEST(HfConfig, OneValueForAllLayersOrOneForEach) {
  HfConfig config = Config(R"({"one": 5, "each": [1, 2, 3], "few": [1, 2]})");
  EXPECT_THAT(config.IntPerLayer({"one"}, 3, 1, 9), ElementsAre(5, 5, 5));
  EXPECT_THAT(config.IntPerLayer({"each"}, 3, 1, 9), ElementsAre(1, 2, 3));
  EXPECT_THAT(config.problems(), IsEmpty());
  config.IntPerLayer({"few"}, 3, 1, 9);
  EXPECT_THAT(config.problems(), ElementsAre("few has 2 elements for 3 layers"));
}

TEST(HfConfig, TheLanguageModelOfAModelThatAlsoSees) {
  HfConfig config = Config(R"({"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
                               "text_config": {"model_type": "gemma3_text", "hidden_size": 32}})");
  EXPECT_EQ(config.Int({"hidden_size"}, 1, 100), 32);
  EXPECT_EQ(config.architecture(), "Gemma3ForConditionalGeneration");
  EXPECT_EQ(config.model_type(), "gemma3");
}

TEST(HfConfig, RopeInItsOldAndNewForms) {
  const HfRope old = Config(R"({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 4}})").Rope("");
  EXPECT_EQ(old.type, "linear");
  EXPECT_EQ(old.factor, 4);
  EXPECT_EQ(old.theta, std::nullopt);  // stands outside
  const HfRope now = Config(R"({"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8,
      "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 8192}})")
                         .Rope("full_attention");
  EXPECT_EQ(now.type, "llama3");
  EXPECT_EQ(now.theta, 5e5);
  EXPECT_EQ(now.original_context, 8192);
  EXPECT_EQ(Config("{}").Rope("").type, "default");
  EXPECT_EQ(Config(R"({"rope_scaling": null})").Rope("").type, "default");
}

TEST(HfConfig, RopeOfKindsOfLayers) {
  HfConfig config = Config(R"({"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8},
                                                   "sliding_attention": {"rope_theta": 1e4}}})");
  EXPECT_EQ(config.Rope("full_attention").type, "linear");
  EXPECT_EQ(config.Rope("sliding_attention").type, "default");
  EXPECT_EQ(config.Rope("sliding_attention").theta, 1e4);
}

TEST(HfConfig, LongRope) {
  HfConfig config = Config(R"({"original_max_position_embeddings": 4096,
      "rope_scaling": {"type": "su", "short_factor": [1, 1.5], "long_factor": [2, 3]}})");
  const HfRope rope = config.Rope("full_attention");
  EXPECT_EQ(rope.type, "longrope");
  EXPECT_EQ(rope.original_context, 4096);
  EXPECT_THAT(rope.short_factors, ElementsAre(1, 1.5));
  EXPECT_THAT(rope.long_factors, ElementsAre(2, 3));
}

TEST(HfConfig, ARopeOfAnotherShapeIsComplainedAbout) {
  HfConfig config = Config(R"({"rope_scaling": "linear"})");
  config.Rope("full_attention");
  EXPECT_THAT(config.problems(), ElementsAre(HasSubstr("rope_scaling is \"linear\", must be a group of values")));
}

TEST(HfConfig, YarnsMultipliersBecomeItsAttentionFactor) {
  const auto attention_factor = [](const char* more) {
    const std::string text = std::string(R"({"rope_scaling": {"type": "yarn", "factor": 40)") + more + "}}";
    HfConfig config = Config(text.c_str());
    const std::optional<double> factor = config.Rope("full_attention").attention_factor;
    EXPECT_THAT(config.problems(), IsEmpty()) << more;
    return factor;
  };
  const double root = 0.1 * std::log(40.0);
  EXPECT_NEAR(*attention_factor(R"(, "mscale": 0.5, "mscale_all_dim": 2)"), (0.5 * root + 1) / (2 * root + 1), 1e-12);
  EXPECT_EQ(attention_factor(R"(, "mscale": 1, "mscale_all_dim": 1, "truncate": true)"), 1);
  EXPECT_EQ(attention_factor(R"(, "mscale": 1, "mscale_all_dim": 1, "attention_factor": 1.25)"), 1.25);
  EXPECT_EQ(attention_factor(R"(, "mscale": 1, "mscale_all_dim": 0.0)"), std::nullopt);  // as if not stated
  EXPECT_EQ(attention_factor(R"(, "mscale": 1, "finetuned": true, "beta_fast": null)"), std::nullopt);
}

TEST(HfConfig, WhatMayChangeARopeIsNotPassedOver) {
  HfConfig config = Config(R"({"rope_parameters": {"rope_type": "yarn", "truncate": false, "mscale": -1, "alpha": 2,
                                                   "beta": null}})");
  config.Rope("full_attention");
  config.Rope("sliding_attention");  // the same group, and no complaint twice
  EXPECT_THAT(config.problems(),
              ElementsAre(HasSubstr("rope_parameters.factor is missing, which RoPE of type yarn needs"),
                          HasSubstr("rope_parameters.truncate is false, must be true"),
                          HasSubstr("rope_parameters.mscale is -1, must be a positive number"),
                          HasSubstr("the RoPE's \"alpha\" is not supported")));
}

TEST(HfConfig, WhatIsNoConfigIsRefused) {
  for (const char* text : {"", "[1]", "{\"a\": 1", "{\"a\": 1, \"a\": 2}"}) {
    const absl::Status status = HfConfig::Parse(text, "dir/config.json").status();
    EXPECT_EQ(base::ErrorReason(status), "INVALID_MODEL_FILE") << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("dir/config.json")) << text;
  }
}

}  // namespace
}  // namespace linnet::worker
