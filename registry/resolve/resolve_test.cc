#include "registry/resolve/resolve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace linnet::registry {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kGiB = 1 << 30;

class ResolveTest : public testing::Test {
 protected:
  ResolveTest() {
    architecture_.set_family("llama");
    architecture_.set_layers(2);
    architecture_.set_model_dim(1024);
    architecture_.set_vocab_size(32000);
    architecture_.set_context_tokens(8192);
    architecture_.set_parameters(1'000'000'000);
    for (int i = 0; i < 2; ++i) {
      v1::LayerShape* layer = architecture_.add_layer_shapes();
      layer->set_kv_heads(2);
      layer->set_head_dim(64);
      layer->set_ffn_dim(4096);
    }
    profile_.set_name("deviceProfiles/test");
    profile_.add_isa_features("avx2");
    profile_.set_memory_bytes(8 * kGiB);
    profile_.set_memory_bandwidth_bytes_per_second(20e9);
    profile_.set_int8_ops_per_second(4e11);
  }
  static v1::Variant Variant(const std::string& id, uint64_t weight_bytes) {
    v1::Variant variant;
    variant.set_name("models/m/variants/" + id);
    variant.set_quantization(id);
    variant.set_weight_bytes(weight_bytes);
    variant.set_bytes_per_token(weight_bytes);
    variant.set_kv_bytes_per_token(1024);  // 2 layers × 2 heads × 64 × (K and V) × 2 bytes
    variant.mutable_requirements()->set_scratch_bytes(100 * kMiB);
    return variant;
  }
  v1::ResolveResponse Run(const std::vector<v1::Variant>& variants, uint64_t available = 0) {
    return Resolve(architecture_, variants, profile_, constraints_, available);
  }

  v1::Architecture architecture_;
  v1::DeviceProfile profile_;
  v1::Constraints constraints_;
};

TEST_F(ResolveTest, MoreBitsComeFirst) {
  const v1::ResolveResponse response =
      Run({Variant("q4_0", 600 * kMiB), Variant("f16", 2000 * kMiB), Variant("q8_0", 1100 * kMiB)});
  ASSERT_EQ(response.fits_size(), 3);
  EXPECT_EQ(response.fits(0).variant().quantization(), "f16");
  EXPECT_EQ(response.fits(1).variant().quantization(), "q8_0");
  EXPECT_EQ(response.fits(2).variant().quantization(), "q4_0");
  EXPECT_EQ(response.refusals_size(), 0);
}

TEST_F(ResolveTest, MemoryIsWeightsPlusCachePlusScratchAndTheRefusalSaysSo) {
  const v1::Variant variant = Variant("q8_0", 1024 * kMiB);
  // 1024 MiB + 4096 tokens × 1 KiB + 100 MiB
  constexpr uint64_t kNeeded = 1128 * kMiB;
  v1::ResolveResponse response = Run({variant}, kNeeded);
  ASSERT_EQ(response.fits_size(), 1);
  EXPECT_EQ(response.fits(0).memory_bytes(), kNeeded);
  EXPECT_EQ(response.fits(0).kv_bytes(), 4 * kMiB);
  EXPECT_FALSE(response.fits(0).measured());

  response = Run({variant}, kNeeded - 1);
  ASSERT_EQ(response.refusals_size(), 1);
  EXPECT_EQ(response.refusals(0).needed_bytes(), kNeeded);
  EXPECT_EQ(response.refusals(0).available_bytes(), kNeeded - 1);
  EXPECT_THAT(response.refusals(0).reason(), HasSubstr("needs 1.1 GiB"));
  EXPECT_THAT(response.refusals(0).reason(), HasSubstr("KV cache 4.0 MiB"));
  EXPECT_THAT(response.refusals(0).reason(), HasSubstr("available"));
}

TEST_F(ResolveTest, ContextScalesTheCacheAndCannotExceedTheModels) {
  constraints_.set_context_tokens(8192);
  EXPECT_EQ(Run({Variant("q4_0", kMiB)}).fits(0).kv_bytes(), 8 * kMiB);
  constraints_.set_context_tokens(8193);
  EXPECT_THAT(Run({Variant("q4_0", kMiB)}).refusals(0).reason(), HasSubstr("8193"));
  constraints_.clear_context_tokens();
  architecture_.set_context_tokens(2048);
  EXPECT_EQ(Run({Variant("q4_0", kMiB)}).fits(0).kv_bytes(), 2 * kMiB);
}

TEST_F(ResolveTest, MaxMemoryConstraintBoundsWhatIsAvailable) {
  constraints_.set_max_memory_bytes(500 * kMiB);
  const v1::ResolveResponse response = Run({Variant("q8_0", 1024 * kMiB), Variant("q2", 300 * kMiB)});
  ASSERT_EQ(response.fits_size(), 1);
  EXPECT_EQ(response.fits(0).variant().quantization(), "q2");
  EXPECT_THAT(response.refusals(0).reason(), HasSubstr("max_memory_bytes"));
  EXPECT_EQ(response.refusals(0).available_bytes(), 500 * kMiB);
}

TEST_F(ResolveTest, IsaRequirementNamesWhatIsMissing) {
  v1::Variant variant = Variant("int8", kMiB);
  variant.mutable_requirements()->add_any_isa("avx512_vnni");
  variant.mutable_requirements()->add_any_isa("amx_int8");
  EXPECT_THAT(Run({variant}).refusals(0).reason(), HasSubstr("avx512_vnni, amx_int8; the device has: avx2"));
  profile_.add_isa_features("amx_int8");
  EXPECT_EQ(Run({variant}).fits_size(), 1);
}

TEST_F(ResolveTest, SpeedIsARooflineOfTheProfile) {
  const v1::ResolveResponse response = Run({Variant("q8_0", 1'000'000'000)});
  const v1::Fit& fit = response.fits(0);
  EXPECT_NEAR(fit.decode_tokens_per_second(), 0.7 * 20e9 / (1e9 + 2 * kMiB), 1e-6);
  EXPECT_NEAR(fit.prefill_tokens_per_second(), 0.5 * 4e11 / 2e9, 1e-6);
}

TEST_F(ResolveTest, SpeedConstraintsRefuseWithBothFigures) {
  const std::vector<v1::Variant> variants = {Variant("f16", 2'000'000'000), Variant("q4_0", 600'000'000)};
  constraints_.set_min_decode_tokens_per_second(15);
  const v1::ResolveResponse response = Run(variants);
  ASSERT_EQ(response.fits_size(), 1);
  EXPECT_EQ(response.fits(0).variant().quantization(), "q4_0");
  EXPECT_THAT(response.refusals(0).reason(), HasSubstr("15.0 tokens/s, 7.0 predicted"));

  constraints_.Clear();
  constraints_.set_max_time_to_first_token_seconds(5);  // 512 tokens at 100 a second are 5.12 s
  EXPECT_THAT(Run(variants).refusals(0).reason(), HasSubstr("5.12 s predicted"));
}

TEST_F(ResolveTest, UnknownSpeedDoesNotSatisfyAConstraint) {
  profile_.clear_memory_bandwidth_bytes_per_second();
  EXPECT_EQ(Run({Variant("q4_0", kMiB)}).fits(0).decode_tokens_per_second(), 0);
  constraints_.set_min_decode_tokens_per_second(0.1);
  EXPECT_THAT(Run({Variant("q4_0", kMiB)}).refusals(0).reason(), HasSubstr("profile detect"));
}

TEST_F(ResolveTest, AbsurdFiguresDoNotWrapAround) {
  v1::Variant variant = Variant("q4_0", UINT64_MAX);
  variant.set_kv_bytes_per_token(UINT64_MAX);
  architecture_.clear_layer_shapes();
  const v1::ResolveResponse response = Run({variant});
  ASSERT_EQ(response.refusals_size(), 1);
  EXPECT_EQ(response.refusals(0).needed_bytes(), UINT64_MAX);
}

TEST_F(ResolveTest, OrderIsTheSameWhateverOrderCameIn) {
  v1::Variant a = Variant("a", 600 * kMiB), b = Variant("b", 600 * kMiB);
  EXPECT_EQ(Run({a, b}).SerializeAsString(), Run({b, a}).SerializeAsString());
  EXPECT_EQ(Run({b, a}).fits(0).variant().quantization(), "a");
}

}  // namespace
}  // namespace linnet::registry
