// Structured pruning: what is scored, what is kept, and what the smaller file computes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "base/testing.h"
#include "tools/linnet/prune_file.h"
#include "tools/linnet/prune_plan.h"
#include "tools/linnet/prune_scores.h"
#include "tools/linnet/quantize_file.h"
#include "tools/linnet/score.h"
#include "worker/gguf/gguf_writer.h"
#include "worker/model/family.h"
#include "worker/model/model.h"

namespace linnet::cli {
namespace {

using kernels::DType;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using worker::GgufFile;
using worker::ModelDescription;

constexpr char kText[] = "tests/golden/text_ordinary.txt";
constexpr int kWidth = 64, kFfn = 128, kHeads = 8, kKvHeads = 4, kHeadDim = 32, kLayers = 2;

// Which neurons and key/value heads of the model below do nothing.
bool DeadNeuron(int layer, int neuron) { return neuron % 4 == (layer + 1) % 4; }
bool DeadHead(int layer, int kv_head) { return kv_head == layer || kv_head == 3; }

// A tiny file's tokenizer with weights of a shape that blocks divide into, random but for what is dead.
class PruneTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto tiny = *GgufFile::Open("tests/golden/tiny/llama.gguf");
    const int64_t vocab = tiny->FindTensor("token_embd.weight")->dims[1];
    worker::GgufMetadata metadata = worker::GgufMetadata::CopyOf(*tiny);
    metadata.Remove("llama.rope.dimension_count");
    metadata.Remove("llama.rope.scaling.type");
    metadata.Remove("llama.rope.scaling.factor");
    metadata.SetU32("llama.block_count", kLayers);
    metadata.SetU32("llama.embedding_length", kWidth);
    metadata.SetU32("llama.feed_forward_length", kFfn);
    metadata.SetU32("llama.attention.head_count", kHeads);
    metadata.SetU32("llama.attention.head_count_kv", kKvHeads);
    metadata.SetU32("llama.attention.key_length", kHeadDim);
    metadata.SetU32("llama.attention.value_length", kHeadDim);
    metadata.SetString("general.size_label", "1M");
    std::vector<worker::GgufTensorPlan> plans = {{"token_embd.weight", DType::kF32, {kWidth, vocab}},
                                                 {"output_norm.weight", DType::kF32, {kWidth}}};
    for (int l = 0; l < kLayers; ++l) {
      const auto add = [&](const char* name, std::vector<int64_t> dims) {
        plans.push_back({"blk." + std::to_string(l) + "." + name, DType::kF32, std::move(dims)});
      };
      add("attn_norm.weight", {kWidth});
      add("attn_q.weight", {kWidth, kHeads * kHeadDim});
      add("attn_k.weight", {kWidth, kKvHeads * kHeadDim});
      add("attn_v.weight", {kWidth, kKvHeads * kHeadDim});
      add("attn_output.weight", {kHeads * kHeadDim, kWidth});
      add("ffn_norm.weight", {kWidth});
      add("ffn_gate.weight", {kWidth, kFfn});
      add("ffn_up.weight", {kWidth, kFfn});
      add("ffn_down.weight", {kFfn, kWidth});
    }
    auto writer = *worker::GgufWriter::Create(source_, metadata, plans);
    std::mt19937 random(7);
    for (const worker::GgufTensorPlan& plan : plans) {
      std::vector<float> x(static_cast<size_t>(plan.elements()));
      for (float& v : x) v = static_cast<float>(random() % 2001) / 1000.0f - 1;
      if (plan.name.ends_with("norm.weight")) std::fill(x.begin(), x.end(), 1.0f);
      const int layer = plan.name.starts_with("blk.1") ? 1 : 0;
      for (size_t i = 0; i < x.size(); ++i) {
        const int row = static_cast<int>(i) / kWidth;
        if (plan.name.ends_with("ffn_up.weight") && DeadNeuron(layer, row)) x[i] = 0;
        if (plan.name.ends_with("attn_v.weight") && DeadHead(layer, row / kHeadDim)) x[i] = 0;
      }
      ASSERT_TRUE(writer->Append(std::as_bytes(std::span(x))).ok());
    }
    ASSERT_TRUE(writer->Finish().ok());
    text_ = *base::ReadFile(kText);
  }

  std::string As(const std::string& format) {
    if (format == "f32") return source_;
    const std::string path = files_.Path(format + ".gguf");
    QuantizeJob job;
    job.format = FindQuantizeFormat(format);
    EXPECT_TRUE(QuantizeFile(**GgufFile::Open(source_), path, job, pool_).ok());
    return path;
  }

  absl::StatusOr<PruneReport> Prune(const std::string& source, const PruneShares& shares, bool by_chance = false) {
    LINNET_ASSIGN_OR_RETURN(const auto file, GgufFile::Open(source));
    LINNET_ASSIGN_OR_RETURN(const ModelDescription model, worker::DescribeModel(*file));
    PruneScores scores = ScoreByChance(model, 1);
    if (!by_chance) {
      LINNET_ASSIGN_OR_RETURN(scores, ScoreByActivations(*file, model, {.text = text_}, pool_));
    }
    LINNET_ASSIGN_OR_RETURN(cuts_, PlanPruning(*file, model, scores, shares));
    return PruneFile(*file, model, out_, {.cuts = cuts_, .method = "activations", .source_name = "tiny"}, pool_);
  }

  std::vector<double> Score(const std::string& path) {
    const auto model = worker::Model::Load(path, {.precision = kernels::Precision::kReference}, &pool_);
    EXPECT_TRUE(model.ok()) << model.status();
    auto tokens = (*model)->tokenizer().Encode(text_, {});
    tokens.resize(std::min<size_t>(tokens.size(), 64));
    return *LogProbs(**model, tokens);
  }

  double Difference(const std::string& a, const std::string& b) {
    const std::vector<double> x = Score(a), y = Score(b);
    double most = 0;
    for (size_t i = 0; i < x.size(); ++i) most = std::max(most, std::abs(x[i] - y[i]));
    return most;
  }

  base::FileTree files_;
  kernels::ThreadPool pool_{2};
  const std::string source_ = files_.Path("source.gguf"), out_ = files_.Path("out.gguf");
  std::string text_;
  std::vector<BlockCut> cuts_;
};

TEST_F(PruneTest, WhatDoesNothingGoesAndNothingIsLost) {
  const auto report = Prune(source_, {.ffn_keep = 0.75, .heads_keep = 0.5});
  ASSERT_TRUE(report.ok()) << report.status();
  for (int l = 0; l < kLayers; ++l) {
    EXPECT_EQ(cuts_[static_cast<size_t>(l)].ffn.size(), 96);
    for (const int32_t neuron : cuts_[static_cast<size_t>(l)].ffn) EXPECT_FALSE(DeadNeuron(l, neuron)) << l;
    for (const int32_t head : cuts_[static_cast<size_t>(l)].kv_heads) EXPECT_FALSE(DeadHead(l, head)) << l;
  }
  EXPECT_THAT(cuts_[1].kv_heads, ElementsAre(0, 2));
  EXPECT_LE(Difference(source_, out_), 1e-4);
  // A choice by chance of the same size loses.
  ASSERT_TRUE(Prune(source_, {.ffn_keep = 0.75, .heads_keep = 0.5}, /*by_chance=*/true).ok());
  EXPECT_GT(Difference(source_, out_), 0.1);
}

TEST_F(PruneTest, TheFileSaysWhatItIs) {
  ASSERT_TRUE(Prune(source_, {.ffn_keep = 0.75, .heads_keep = 0.5}).ok());
  const auto file = *GgufFile::Open(out_);
  const auto model = worker::DescribeModel(*file);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->layers[1].ffn.width, 96);
  EXPECT_EQ(model->layers[1].attention.kv_heads, 2);
  EXPECT_EQ(model->layers[1].attention.q_heads, 4);
  EXPECT_EQ(model->layers[1].attention.head_dim, kHeadDim);
  EXPECT_EQ(*file->GetInt("llama.feed_forward_length"), 96) << "one number, which every reader takes";
  EXPECT_EQ(*file->GetString("linnet.prune.source"), "tiny");
  EXPECT_EQ(*file->GetString("linnet.prune.method"), "activations");
  EXPECT_EQ(**file->FindInts("linnet.prune.kv_heads"), (std::vector<int64_t>{2, 2}));
  EXPECT_FALSE(file->metadata().contains("general.size_label"));
  EXPECT_EQ(**file->FindStrings("tokenizer.ggml.tokens"),
            **(*GgufFile::Open(source_))->FindStrings("tokenizer.ggml.tokens"));
}

TEST_F(PruneTest, RowsAreCopiedAndColumnsInsideOfBlocksAreQuantizedAgain) {
  for (const std::string format : {"f16", "q8_0", "q4_0"}) {
    const std::string source = As(format);
    const auto report = Prune(source, {.ffn_keep = 0.75, .heads_keep = 0.5});
    ASSERT_TRUE(report.ok()) << format << ": " << report.status();
    // Heads are whole blocks; neurons are not.
    EXPECT_EQ(report->requantized_tensors, format == "f16" ? 0 : kLayers) << format;
    EXPECT_EQ(report->copied_tensors, (format == "f16" ? 7 : 6) * kLayers) << format;
    const auto before = *GgufFile::Open(source), after = *GgufFile::Open(out_);
    const worker::GgufTensor* q = after->FindTensor("blk.1.attn_q.weight");
    EXPECT_EQ(q->type, before->FindTensor(q->name)->type);
    // Its second kept head is the third: rows 4 * 32 ... of the source.
    const auto row_bytes = static_cast<size_t>(kernels::BytesFor(q->type, kWidth));
    EXPECT_EQ(std::memcmp(q->data.data() + 2 * kHeadDim * row_bytes,
                          before->FindTensor(q->name)->data.data() + 4 * kHeadDim * row_bytes, row_bytes),
              0)
        << format;
    // Hardly worse than what the format costs by itself.
    EXPECT_LE(Difference(source_, out_), 1.5 * Difference(source_, source) + 1e-4) << format;
  }
}

TEST_F(PruneTest, FusedTensorsArePrunedPartByPart) {
  const std::string phi3 = "tests/golden/tiny/phi3.gguf";
  const auto report = Prune(phi3, {.ffn_keep = 0.5, .heads_keep = 0.5, .ffn_multiple = 8});
  ASSERT_TRUE(report.ok()) << report.status();
  const auto before = *worker::DescribeModel(**GgufFile::Open(phi3));
  const auto file = *GgufFile::Open(out_);
  const auto after = *worker::DescribeModel(*file);
  const int kept = after.layers[0].ffn.width;
  EXPECT_LT(kept, before.layers[0].ffn.width);
  EXPECT_EQ(after.layers[0].attention.kv_heads * 2, before.layers[0].attention.kv_heads);
  EXPECT_EQ(file->FindTensor("blk.0.ffn_up.weight")->dims[1], 2 * kept);
  EXPECT_TRUE(worker::BindTensors(*file, after).ok());
  // The up projections of the kept neurons follow their gates.
  const auto source = *GgufFile::Open(phi3);
  const auto row = [](const GgufFile& f, int64_t r) {
    const worker::GgufTensor* t = f.FindTensor("blk.0.ffn_up.weight");
    return t->data.subspan(static_cast<size_t>(kernels::BytesFor(t->type, r * t->dims[0])),
                           static_cast<size_t>(kernels::BytesFor(t->type, t->dims[0])));
  };
  const int32_t first = cuts_[0].ffn[0];
  EXPECT_TRUE(std::ranges::equal(row(*file, 0), row(*source, first)));
  EXPECT_TRUE(std::ranges::equal(row(*file, kept), row(*source, before.layers[0].ffn.width + first)));
}

TEST_F(PruneTest, EveryTinyModelIsPruned) {
  std::vector<std::string> names = {"stablelm_parallel"};  // where a tensor's rows are vectors
  for (const worker::Family& family : worker::Families()) names.emplace_back(family.architecture);
  for (const std::string& name : names) {
    const std::string tiny = "tests/golden/tiny/" + name + ".gguf";
    const auto report = Prune(tiny, {.ffn_keep = 0.5, .ffn_multiple = 8});
    ASSERT_TRUE(report.ok()) << tiny << ": " << report.status();
    const ModelDescription before = *worker::DescribeModel(**GgufFile::Open(tiny));
    const ModelDescription after = *worker::DescribeModel(**GgufFile::Open(out_));
    for (size_t l = 0; l < before.layers.size(); ++l) {
      EXPECT_LT(after.layers[l].ffn.width, before.layers[l].ffn.width) << tiny;
      EXPECT_EQ(after.layers[l].attention.q_heads, before.layers[l].attention.q_heads) << tiny;
    }
    const auto scores = Score(out_);
    EXPECT_GT(scores.size(), 1) << tiny;
    EXPECT_TRUE(std::isfinite(scores.back())) << tiny;
  }
}

TEST_F(PruneTest, OneOutcomeForAnyNumberOfThreads) {
  ASSERT_TRUE(Prune(source_, {.ffn_keep = 0.5}).ok());
  const std::string two = *base::ReadFile(out_);
  const auto file = *GgufFile::Open(source_);
  const auto model = *worker::DescribeModel(*file);
  kernels::ThreadPool one(1);
  ASSERT_TRUE(PruneFile(*file, model, out_, {.cuts = cuts_, .method = "activations", .source_name = "tiny"}, one).ok());
  EXPECT_EQ(two, *base::ReadFile(out_));
}

TEST_F(PruneTest, SharesAndModelsThatDoNotDoAreRefused) {
  for (const PruneShares shares :
       {PruneShares{.ffn_keep = 0}, PruneShares{.ffn_keep = 1.5}, PruneShares{}, PruneShares{.heads_keep = -1}}) {
    EXPECT_EQ(base::ErrorReason(Prune(source_, shares, true).status()), "INVALID_FIELD");
  }
  for (const auto& [tiny, why] : {std::pair("bloom", "ALiBi"),
                                  {"olmo2", "normed over all"},
                                  {"recurrentgemma", "recurrent layers"},
                                  {"stablelm_parallel", "norms of their own"},
                                  {"minicpm3", "latent attention"}}) {
    EXPECT_THAT(
        std::string(
            Prune(base::StrCat("tests/golden/tiny/", tiny, ".gguf"), {.heads_keep = 0.5}, true).status().message()),
        HasSubstr(why));
  }
  EXPECT_FALSE(base::ReadFile(out_).ok()) << "nothing is left behind";
}

// A neuron has a scale and a bias in each term of a series: those that are kept keep theirs.
TEST_F(PruneTest, SeriesKeepTheirNeuronsTerms) {
  const std::string pangu = "tests/golden/tiny/pangu_pi.gguf";
  ASSERT_TRUE(Prune(pangu, {.ffn_keep = 0.5, .ffn_multiple = 8}).ok());
  const auto source = *GgufFile::Open(pangu), pruned = *GgufFile::Open(out_);
  const auto series = static_cast<size_t>(worker::DescribeModel(*source)->layers[0].ffn.series);
  const auto floats = [](const GgufFile& file) {
    const worker::GgufTensor* t = file.FindTensor("blk.0.ffn_series.scale");
    EXPECT_EQ(t->type, DType::kF32);
    std::vector<float> x(static_cast<size_t>(t->elements()));
    std::memcpy(x.data(), t->data.data(), t->data.size());
    return x;
  };
  const std::vector<float> before = floats(*source), after = floats(*pruned);
  const std::vector<int32_t>& kept = cuts_[0].ffn;
  ASSERT_EQ(after.size(), series * kept.size());
  for (size_t i = 0; i < after.size(); ++i) {
    const size_t width = before.size() / series;
    EXPECT_EQ(after[i], before[i / kept.size() * width + static_cast<size_t>(kept[i % kept.size()])]) << i;
  }
}

TEST(PrunePlan, WidthsAreMultiplesAndAtLeastOneHeadStays) {
  const auto file = *GgufFile::Open("tests/golden/tiny/llama.gguf");
  ModelDescription model = *worker::DescribeModel(*file);
  model.layers.resize(1);
  model.layers[0].ffn.width = 160;
  model.layers[0].attention.kv_heads = 3;
  model.layers[0].attention.q_heads = 9;
  PruneScores scores = {.blocks = {{std::vector<double>(160, 1.0), {0.1, 0.3, 0.2}}}};
  scores.blocks[0].ffn[159] = 2;
  const auto plan = [&](const PruneShares& shares) { return *PlanPruning(*file, model, scores, shares); };
  EXPECT_EQ(plan({.ffn_keep = 0.5})[0].ffn.size(), 96);
  EXPECT_EQ(plan({.ffn_keep = 0.01})[0].ffn.size(), 32);
  EXPECT_EQ(plan({.ffn_keep = 0.99})[0].ffn.size(), 160);
  EXPECT_EQ(plan({.ffn_keep = 0.5, .ffn_multiple = 256})[0].ffn.size(), 160) << "no multiple fits";
  EXPECT_EQ(plan({.ffn_keep = 0.5})[0].ffn.back(), 159);
  EXPECT_EQ(plan({.ffn_keep = 0.5})[0].ffn[94], 94) << "of equal ones the first";
  EXPECT_THAT(plan({.heads_keep = 0.1})[0].kv_heads, ElementsAre(1));
  EXPECT_THAT(plan({.heads_keep = 0.6})[0].kv_heads, ElementsAre(1, 2));
}

TEST(PruneScores, ChanceIsTheSameForASeed) {
  const ModelDescription model = *worker::DescribeModel(**GgufFile::Open("tests/golden/tiny/openelm.gguf"));
  const PruneScores a = ScoreByChance(model, 1), b = ScoreByChance(model, 1), c = ScoreByChance(model, 2);
  EXPECT_EQ(a.blocks[2].ffn, b.blocks[2].ffn);
  EXPECT_NE(a.blocks[2].ffn, c.blocks[2].ffn);
  EXPECT_EQ(a.blocks[2].ffn.size(), 104) << "layers have widths of their own";
  EXPECT_THAT(a.blocks[2].ffn, Each(testing::AllOf(testing::Ge(0), testing::Lt(1))));
}

}  // namespace
}  // namespace linnet::cli
