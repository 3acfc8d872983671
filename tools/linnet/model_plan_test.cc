// What is planned from shapes alone, beside figures that others published and beside what loading a file takes.
#include "tools/linnet/model_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "base/testing.h"
#include "registry/catalog/device_catalog.h"
#include "registry/catalog/model_catalog.h"
#include "registry/client/variant_memory.h"
#include "tools/linnet/model_outline.h"
#include "tools/linnet/quantize_file.h"
#include "worker/model/family.h"
#include "worker/model/kv_cache.h"
#include "worker/model/model.h"

namespace linnet::cli {
namespace {

using ::testing::HasSubstr;

const catalog::v1::Catalog& Models() {
  static const auto* const catalog = new catalog::v1::Catalog(*registry::BuiltinModels());
  return *catalog;
}

std::unique_ptr<worker::GgufOutline> Outline(const std::string& id) {
  const catalog::v1::Model* model = registry::FindModel(Models(), id);
  EXPECT_NE(model, nullptr) << id;
  auto outline = OutlineOf(*model);
  EXPECT_TRUE(outline.ok()) << outline.status();
  return *std::move(outline);
}

ModelPlan Plan(const std::string& id, const std::string& format, const PlanOptions& options = {}) {
  const auto plan = PlanQuantized(Outline(id)->file(), *FindQuantizeFormat(format), options);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *plan;
}

// Of a Jetson run with llama.cpp, 4-bit weights (Q4_K_M) and a context of 2,048 tokens (Lu et al., arXiv 2409.15790,
// figures 7 and 11).
struct SurveyRow {
  std::string model;
  double parameters_millions;
  double kv_mib;
  double weights_mib;  // printed with two digits from 1 GiB on
  double kv_tolerance = 0.02;
};
const SurveyRow kSurvey[] = {
    {"openelm-270m", 271.53, 31.5, 167, 0},
    {"openelm-450m", 457.18, 45.5, 275, 0},
    {"openelm-1.1b", 1080, 84.5, 641, 0},
    {"openelm-3b", 3040, 164, 1.76 * 1024, 0},
    {"smollm-135m", 134.52, 45, 99},
    {"smollm-360m", 361.82, 80, 256},
    {"smollm-1.7b", 1710, 384, 1005},
    {"pythia-160m", 162.32, 72, 103},
    {"pythia-1.4b", 1410, 384, 872},
    {"pythia-2.8b", 2780, 640, 1.66 * 1024},
    {"qwen2-0.5b", 494.03, 24, 374},
    {"qwen2-1.5b", 1540, 56, 935},
    {"qwen1.5-0.5b", 619.57, 192, 383},
    {"qwen1.5-1.8b", 1840, 384, 1.13 * 1024},
    {"bloom-560m", 816.12, 192, 523},  // its output matrix twice, as files have it
    {"bloom-1b1", 1450, 288, 923},
    {"phi-1", 1420, 384, 850},
    {"phi-1.5", 1420, 384, 850},
    {"phi-2", 2780, 640, 1.62 * 1024},
    {"gemma-2b", 2510, 36, 1.51 * 1024},
};

TEST(SurveyFigures, TheKeyValueCacheOf2048Tokens) {
  for (const SurveyRow& row : kSurvey) {
    const double mib = static_cast<double>(Plan(row.model, "q4_k_m", {.context_tokens = 2048}).kv_bytes) / (1 << 20);
    EXPECT_LE(std::abs(mib / row.kv_mib - 1), row.kv_tolerance) << row.model << ": " << mib;
  }
}

TEST(SurveyFigures, WeightsOfFourBits) {
  for (const SurveyRow& row : kSurvey) {
    const double mib = static_cast<double>(Plan(row.model, "q4_k_m").weights_bytes) / (1 << 20);
    EXPECT_NEAR(mib / row.weights_mib, 1, 0.05) << row.model << ": " << mib;
  }
}

TEST(SurveyFigures, ParametersAsLlamaCppCountsThem) {
  for (const SurveyRow& row : kSurvey) {
    const double millions = static_cast<double>(Plan(row.model, "f16").architecture.parameters()) / 1e6;
    const double rounding = row.parameters_millions < 1000 ? 0.005 : 5.01;  // three digits, printed
    EXPECT_NEAR(millions, row.parameters_millions, rounding) << row.model;
  }
}

TEST(ModelCatalog, ParametersAreThePublishedOnes) {
  int checked = 0;
  for (const catalog::v1::Model& model : Models().models()) {
    if (model.parameters() == 0) continue;
    const ModelPlan plan = Plan(model.id(), "f16");
    uint64_t copied = 0, left_out = 0;
    if (model.output_copied()) copied = uint64_t{model.vocab_size()} * model.model_dim();
    if (model.architecture() == "opt") left_out = 2 * model.model_dim();  // positions in front of the first token
    EXPECT_EQ(plan.architecture.parameters(), model.parameters() + copied - left_out) << model.id();
    ++checked;
  }
  EXPECT_GE(checked, 60);
}

TEST(ModelCatalog, EveryModelIsDescribedAndPlanned) {
  for (const catalog::v1::Model& model : Models().models()) {
    const auto outline = Outline(model.id());
    const auto description = worker::DescribeModel(outline->file());
    ASSERT_TRUE(description.ok()) << model.id() << ": " << description.status();
    const bool gated = description->layers[0].ffn.kind == worker::FfnKind::kGated;
    EXPECT_EQ(gated, model.ffn() == catalog::v1::FFN_KIND_GATED) << model.id();
    EXPECT_EQ(description->layers.back().ffn.width, *model.ffn_dim().rbegin()) << model.id();
    EXPECT_EQ(description->context_tokens, model.context_tokens()) << model.id();
    for (const std::string& format : QuantizeFormatNames()) {
      EXPECT_GT(Plan(model.id(), format).total_bytes(), uint64_t{64} << 20) << model.id() << " " << format;
    }
  }
}

struct CacheCase {
  std::string model;
  int64_t context_tokens;
  int whole_layers = 0;  // that keep the whole context
  int window_layers = 0;
  int64_t window = 0;
  int64_t token_bytes = 0;   // of a layer
  int64_t state_floats = 0;  // of all recurrent layers
};
// From the published configurations.
const CacheCase kCaches[] = {
    {"gemma-2-2b", 8192, 13, 13, 4096, 4 * 256 * 2 * 2},
    {"gemma-3-1b", 32768, 4, 22, 512, 1 * 256 * 2 * 2},
    {"phi-3-mini-4k-instruct", 4096, 0, 32, 2047, 32 * 96 * 2 * 2},
    {"recurrentgemma-2b", 8192, 0, 8, 2048, 1 * 256 * 2 * 2, 18 * 4 * 2560},
    {"minicpm3-4b", 32768, 62, 0, 0, (256 + 32 + 256) * 2},
    {"mobilellm-125m", 2048, 30, 0, 0, 3 * 64 * 2 * 2},
    {"mobilellm-ls-125m", 2048, 60, 0, 0, 3 * 64 * 2 * 2},
    {"mobillama-0.5b", 2048, 22, 0, 0, 32 * 64 * 2 * 2},
};

TEST(ModelPlan, AWindowKeepsItselfAndAStepAndAStateNothingElse) {
  for (const CacheCase& c : kCaches) {
    const auto kept = static_cast<double>(Plan(c.model, "q4_0", {.context_tokens = c.context_tokens}).kv_bytes);
    const int64_t least = c.token_bytes * (c.whole_layers * c.context_tokens +
                                           c.window_layers * std::min(c.context_tokens, c.window + 512)) +
                          4 * c.state_floats;
    EXPECT_GE(kept, least) << c.model;
    // A ring is made of blocks.
    EXPECT_LE(kept, least + 64 * c.window_layers * c.token_bytes + (c.state_floats > 0 ? 18 * 128 : 0)) << c.model;
  }
}

TEST(ModelCatalog, AModelOfAnArchitectureThatIsNotRunSaysSo) {
  catalog::v1::Model model = *registry::FindModel(Models(), "smollm-135m");
  model.set_architecture("mamba");
  const absl::Status status = OutlineOf(model).status();
  EXPECT_EQ(base::ErrorReason(status), "NOT_SUPPORTED");
  EXPECT_THAT(std::string(status.message()), HasSubstr("smollm-135m is of the architecture mamba"));
}

TEST(ModelPlan, TheTypeOfTheCacheAndTheContextCount) {
  const ModelPlan f16 = Plan("qwen2-1.5b", "q4_0", {.context_tokens = 2048});
  const ModelPlan q8 = Plan("qwen2-1.5b", "q4_0", {.context_tokens = 2048, .kv_type = kernels::DType::kQ8_0});
  EXPECT_EQ(q8.kv_bytes * 32, f16.kv_bytes / 2 * 34);
  EXPECT_EQ(Plan("qwen2-1.5b", "q4_0", {.context_tokens = 4096}).kv_bytes, 2 * f16.kv_bytes);
  EXPECT_EQ(Plan("qwen2-1.5b", "q4_0").context_tokens, 4096);
  EXPECT_EQ(Plan("gpt2", "q4_0").context_tokens, 1024);
  const auto too_long = PlanQuantized(Outline("gpt2")->file(), *FindQuantizeFormat("q4_0"), {.context_tokens = 2048});
  EXPECT_EQ(base::ErrorReason(too_long.status()), "INVALID_FIELD");
  EXPECT_THAT(std::string(too_long.status().message()), HasSubstr("the model's context is 1024"));
}

TEST(ModelPlan, AVariantOfTheRegistryIsPlannedAsItsFileIs) {
  const ModelPlan file = Plan("smollm2-360m", "q4_0", {.context_tokens = 2048});
  const auto variant = PlanVariant(file.architecture, file.variant, {.context_tokens = 2048});
  ASSERT_TRUE(variant.ok()) << variant.status();
  EXPECT_EQ(variant->weights_bytes, file.weights_bytes);
  EXPECT_EQ(variant->kv_bytes, file.kv_bytes);
  EXPECT_EQ(variant->scratch_bytes, file.scratch_bytes);
  EXPECT_EQ(PlanVariant({}, file.variant, {}).status().code(), absl::StatusCode::kFailedPrecondition);
  registry::v1::Variant unstated = file.variant;
  unstated.clear_requirements();
  EXPECT_EQ(base::ErrorReason(PlanVariant(file.architecture, unstated, {}).status()), "STATE_CONFLICT");
}

TEST(ModelPlan, TheRegistryKnowsWhatEveryTinyModelKeepsOfItsContext) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator("tests/golden/tiny")) {
    if (entry.path().extension() != ".gguf") continue;
    const auto file = *worker::GgufFile::Open(entry.path());
    const ModelPlan longest = *PlanFile(*file, {});
    for (const kernels::DType type : {kernels::DType::kF16, kernels::DType::kQ8_0}) {
      for (const int64_t context : {int64_t{1}, longest.context_tokens / 2 + 1, longest.context_tokens}) {
        const PlanOptions options = {.context_tokens = context, .kv_type = type};
        const auto of_file = PlanFile(*file, options);
        ASSERT_TRUE(of_file.ok()) << entry.path() << of_file.status();
        const auto of_variant = PlanVariant(of_file->architecture, of_file->variant, options);
        ASSERT_TRUE(of_variant.ok()) << entry.path() << of_variant.status();
        EXPECT_EQ(of_variant->kv_bytes, of_file->kv_bytes) << entry.path() << " " << context;
        EXPECT_EQ(of_variant->scratch_bytes, of_file->scratch_bytes) << entry.path();
      }
    }
    ++files;
  }
  EXPECT_GE(files, 35);
}

TEST(ModelPlan, ResolveCountsWindowsAndStatesAsThePlanDoes) {
  for (const CacheCase& c : kCaches) {
    const ModelPlan plan = Plan(c.model, "q4_0", {.context_tokens = c.context_tokens});
    const uint64_t resolved =
        registry::KvBytes(plan.architecture, plan.variant, {.tokens = static_cast<uint64_t>(c.context_tokens)});
    EXPECT_NEAR(static_cast<double>(resolved) / static_cast<double>(plan.kv_bytes), 1, 0.02) << c.model;
  }
}

TEST(ModelPlan, SaysWhetherADeviceHasTheMemory) {
  registry::v1::DeviceProfile small;
  small.set_name("deviceProfiles/small");
  small.set_memory_bytes(uint64_t{1} << 30);
  small.set_memory_bandwidth_bytes_per_second(20e9);
  const auto fits = FitDevice(Plan("smollm2-360m", "q4_0"), small);
  ASSERT_EQ(fits.fits_size(), 1);
  EXPECT_GT(fits.fits(0).decode_tokens_per_second(), 10);
  const ModelPlan large = Plan("llama-3.1-8b", "q4_0");
  const auto refused = FitDevice(large, small);
  ASSERT_EQ(refused.refusals_size(), 1);
  EXPECT_EQ(refused.refusals(0).needed_bytes(), large.total_bytes());
}

// Every tiny model, and each as the quantizer writes it.
TEST(ModelPlan, IsWhatLoadingTakes) {
  base::FileTree files;
  kernels::ThreadPool pool(2);
  int files_checked = 0;
  for (const auto& entry : std::filesystem::directory_iterator("tests/golden/tiny")) {
    if (entry.path().extension() != ".gguf") continue;
    const std::string source = entry.path();
    const auto file = *worker::GgufFile::Open(source);
    for (const std::string format : {"f32", "q4_0", "q8_0", "q4_k_m"}) {
      QuantizeJob job;
      job.format = FindQuantizeFormat(format);
      const std::string path = files.Path(format + ".gguf");
      const auto written = QuantizeFile(*file, path, job, pool);
      ASSERT_TRUE(written.ok()) << source << ": " << written.status();

      const auto outline = *QuantizedOutline(*file, *job.format);
      // But for a few words on how it was made.
      EXPECT_NEAR(static_cast<double>(outline->file().file_bytes()), static_cast<double>(written->file_bytes), 256);
      const auto planned = PlanQuantized(*file, *job.format, {.context_tokens = 32});
      ASSERT_TRUE(planned.ok()) << source << ": " << planned.status();
      const auto of_file = PlanFile(*worker::GgufFile::Open(path).value(), {.context_tokens = 32});
      ASSERT_TRUE(of_file.ok()) << of_file.status();
      EXPECT_EQ(planned->total_bytes(), of_file->total_bytes()) << source << " " << format;
      EXPECT_EQ(planned->variant.weight_bytes(), of_file->variant.weight_bytes());

      const auto model = worker::Model::Load(path, {}, &pool);
      ASSERT_TRUE(model.ok()) << source << ": " << model.status();
      EXPECT_EQ(planned->weights_bytes, (*model)->weight_bytes()) << source << " " << format;
      const auto cache = *worker::KvCache::Create((*model)->description(), kernels::DType::kF16, 1);
      EXPECT_EQ(planned->kv_bytes, static_cast<uint64_t>(cache->bytes())) << source;
      ++files_checked;
    }
  }
  EXPECT_GE(files_checked, 4 * 35);
}

}  // namespace
}  // namespace linnet::cli
