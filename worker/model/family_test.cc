// Families and what is read for them from a file's metadata; their mathematics is tested in tests/accuracy.
#include "worker/model/family.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>

#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/file.h"
#include "base/strings.h"
#include "kernels/thread_pool.h"
#include "worker/gguf/gguf_file.h"
#include "worker/model/kv_cache.h"
#include "worker/model/memory_plan.h"
#include "worker/model/weights.h"

namespace linnet::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::unique_ptr<GgufFile> Tiny(const std::string& architecture) {
  auto file = GgufFile::Open(base::StrCat("tests/golden/tiny/", architecture, ".gguf"));
  EXPECT_TRUE(file.ok()) << file.status();
  return *std::move(file);
}

template <class F>
std::vector<int64_t> PerLayer(const ModelDescription& model, F f) {
  std::vector<int64_t> values;
  for (const LayerDescription& layer : model.layers) values.push_back(f(layer));
  return values;
}

TEST(Family, LayersMayHaveTheirOwnWidths) {
  const ModelDescription model = *DescribeModel(*Tiny("openelm"));
  EXPECT_THAT(PerLayer(model, [](auto& l) { return l.attention.q_heads; }), ElementsAre(2, 4, 6));
  EXPECT_THAT(PerLayer(model, [](auto& l) { return l.attention.kv_heads; }), ElementsAre(1, 2, 3));
  EXPECT_THAT(PerLayer(model, [](auto& l) { return l.ffn.width; }), ElementsAre(40, 72, 104));
}

TEST(Family, WindowsOfLayers) {
  const auto window = [](auto& l) { return l.attention.window; };
  EXPECT_THAT(PerLayer(*DescribeModel(*Tiny("gemma2")), window), ElementsAre(24, 0, 24, 0));
  EXPECT_THAT(PerLayer(*DescribeModel(*Tiny("gemma3")), window), ElementsAre(24, 24, 24, 24, 24, 0, 24));
  EXPECT_THAT(PerLayer(*DescribeModel(*Tiny("mistral")), window), ElementsAre(24, 24, 24));
  EXPECT_THAT(PerLayer(*DescribeModel(*Tiny("llama")), window), ElementsAre(0, 0, 0));
}

// A tiny model's file with another number of layers: what is described of it, which no tensor is asked for.
ModelDescription WithLayers(const std::string& name, uint32_t layers) {
  std::string bytes = *base::ReadFile(base::StrCat("tests/golden/tiny/", name, ".gguf"));
  const std::string key = name + ".block_count";
  std::memcpy(&bytes[bytes.find(key) + key.size() + 4], &layers, sizeof(layers));  // behind the value's type
  const auto file = *GgufFile::Parse({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()}, "test.gguf");
  return *DescribeModel(*file);
}

TEST(Family, GemmasOf27BScaleScoresByTheWidthOverTheHeads) {
  for (const auto& [name, layers] : {std::pair("gemma2", 46), std::pair("gemma3", 62)}) {
    const ModelDescription large = WithLayers(name, layers), other = WithLayers(name, layers - 1);
    ASSERT_EQ(large.layers.size(), static_cast<size_t>(layers));
    const auto& attention = large.layers[1].attention;
    const int over_heads = large.model_dim / attention.q_heads;
    ASSERT_NE(over_heads, attention.head_dim);
    EXPECT_FLOAT_EQ(attention.scale, 1 / std::sqrt(static_cast<float>(over_heads))) << name;
    EXPECT_FLOAT_EQ(other.layers[1].attention.scale, 1 / std::sqrt(static_cast<float>(attention.head_dim))) << name;
  }
}

// Files of sequential models may claim otherwise; the FFN's norm tells.
TEST(Family, StableLmsResidual) {
  const ModelDescription parallel = *DescribeModel(*Tiny("stablelm_parallel"));
  EXPECT_EQ(parallel.layers[0].residual, Residual::kParallelOfOneNorm);
  EXPECT_TRUE(parallel.layers[0].attention.qk_norm_of_each_head);
  std::string bytes = *base::ReadFile("tests/golden/tiny/stablelm.gguf");
  const std::string key = "stablelm.use_parallel_residual";
  char& claimed = bytes[bytes.find(key) + key.size() + 4];  // behind the value's type
  ASSERT_EQ(claimed, 0);
  claimed = 1;
  const auto file = *GgufFile::Parse({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()}, "test.gguf");
  const ModelDescription sequential = *DescribeModel(*file);
  EXPECT_EQ(sequential.layers[0].residual, Residual::kSequential);
  EXPECT_EQ(sequential.layers[0].ffn_norm.kind, NormKind::kLayer);
}

TEST(Family, SlopesOfAHeadCountThatIsNoPowerOfTwo) {
  const ModelDescription model = *DescribeModel(*Tiny("bloom"));
  // 6 heads: those of 4, then every other one of 8.
  EXPECT_THAT(model.layers[0].attention.slopes,
              ElementsAre(1.0f / 4, 1.0f / 16, 1.0f / 64, 1.0f / 256, 1.0f / 2, 1.0f / 8));
}

TEST(Family, BlocksAreRepeatedInSuccession) {
  const ModelDescription model = *DescribeModel(*Tiny("mobilellm"));
  EXPECT_THAT(PerLayer(model, [](auto& l) { return l.weights_of_layer; }), ElementsAre(0, 0, 1, 1, 2, 2));
  EXPECT_THAT(PerLayer(model, [](auto& l) { return l.ffn_weights_of_layer; }), ElementsAre(0, 0, 1, 1, 2, 2));
  // Keys and values of each pass: 6 layers of 2 heads of 8.
  EXPECT_EQ(KvCache::BytesPerToken(model, kernels::DType::kF16), 6 * 2 * 2 * 8 * 2);
}

TEST(Family, OneFfnServesAllLayers) {
  const ModelDescription model = *DescribeModel(*Tiny("mobillama"));
  EXPECT_THAT(PerLayer(model, [](auto& l) { return l.weights_of_layer; }), ElementsAre(0, 1, 2));
  EXPECT_THAT(PerLayer(model, [](auto& l) { return l.ffn_weights_of_layer; }), ElementsAre(0, 0, 0));
}

// Weights that layers share are bound, planned for and loaded once, however often they run.
TEST(BindTensors, SharedWeightsAreResidentOnce) {
  kernels::ThreadPool pool(1);
  for (const std::string name : {"mobilellm", "mobillama"}) {
    const auto file = Tiny(name);
    const ModelDescription model = *DescribeModel(*file);
    const auto bindings = *BindTensors(*file, model);
    uint64_t elements = 0;
    for (const GgufTensor& tensor : file->tensors()) elements += static_cast<uint64_t>(tensor.elements());
    const auto precision = kernels::Precision::kReference;
    EXPECT_EQ(PlanMemory(model, bindings, precision, 1).weights_bytes, elements * sizeof(float));
    const Weights weights = *LoadWeights(*file, model, bindings, {.precision = precision, .pool = &pool});
    EXPECT_EQ(weights.bytes, elements * sizeof(float));
    // 3 blocks are stored, of a Llama that has as many layers as run: 6 of MobileLLM's, of MobiLlama one FFN of 3.
    const uint64_t attention = 2 * 32 * 32 + 2 * 16 * 32 + 2 * 32, ffn = 3 * 48 * 32;
    EXPECT_EQ(elements, 288 * 32 + 32 + 3 * attention + (name == "mobilellm" ? 3 : 1) * ffn);
  }
}

TEST(BindTensors, RolesShareAFusedTensor) {
  const auto file = Tiny("phi3");
  const ModelDescription model = *DescribeModel(*file);
  const auto bindings = *BindTensors(*file, model);
  int64_t rows = 0;
  const std::byte* next = file->FindTensor("blk.1.attn_qkv.weight")->data.data();
  for (const TensorBinding& binding : bindings) {
    if (binding.tensor->name != "blk.1.attn_qkv.weight") continue;
    EXPECT_EQ(binding.data.data(), next);
    next += binding.data.size();
    rows += binding.rows;
  }
  EXPECT_EQ(rows, (4 + 2 + 2) * 16);
}

TEST(BindTensors, AFusedTensorOfTooFewRowsIsRefused) {
  const auto file = Tiny("phi3");
  ModelDescription model = *DescribeModel(*file);
  model.layers[2].attention.kv_heads = 4;
  const absl::Status status = BindTensors(*file, model).status();
  EXPECT_EQ(base::ErrorReason(status), "INVALID_MODEL_FILE");
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("blk.2.attn_qkv.weight has shape [64, 128], should have [64, 192]"));
}

// What is said of a tiny model's file in which the last `from` is `to`, as long.
std::string Complaint(const std::string& name, std::string_view from, std::string_view to) {
  std::string bytes = *base::ReadFile(base::StrCat("tests/golden/tiny/", name, ".gguf"));
  bytes.replace(bytes.rfind(from), from.size(), to);
  const auto file = *GgufFile::Parse({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()}, "test.gguf");
  return std::string(DescribeModel(*file).status().message());
}

TEST(DescribeModel, MissingPositionsAreNamed) {
  EXPECT_THAT(Complaint("gpt2", "position_embd.weight", "position_embx.weight"),
              HasSubstr("tensor position_embd.weight is missing"));
}

TEST(DescribeModel, AFileMayNameItsActivation) {
  EXPECT_EQ(DescribeModel(*Tiny("gpt2"))->layers[0].ffn.activation, kernels::ActivationKind::kGeluTanh);
  EXPECT_EQ(DescribeModel(*Tiny("gpt2_gelu"))->layers[0].ffn.activation, kernels::ActivationKind::kGelu);
}

TEST(DescribeModel, WhatIsNotSupportedIsNamed) {
  EXPECT_THAT(Complaint("gpt2_gelu", "gelu", "mish"),
              HasSubstr("gpt2.hidden_activation \"mish\" is not supported (gelu, gelu_quick, gelu_tanh, relu,"));
  EXPECT_THAT(Complaint("llama_yarn", "yarn\x19", "yard\x19"),
              HasSubstr("llama.rope.scaling.type \"yard\" is not supported (none, linear, yarn, longrope, dynamic, "));
  EXPECT_THAT(Complaint("phi3_long", "rope_factors_short.weight", "rope_factors_shirt.weight"),
              HasSubstr("RoPE by length needs the tensors rope_factors_short.weight and rope_factors_long.weight"));
  EXPECT_THAT(Complaint("recurrentgemma", "rglru.head_count", "rglru.head_caunt"),
              HasSubstr("recurrentgemma.rglru.head_count"));
}

TEST(DescribeModel, AnUnknownArchitectureIsNamedWithThoseThatAreKnown) {
  std::string bytes = *base::ReadFile("tests/golden/tiny/bloom.gguf");
  const size_t at = bytes.find("bloom", bytes.find("general.architecture"));
  bytes.replace(at, 5, "mamba");
  const auto file = *GgufFile::Parse({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()}, "test.gguf");
  const absl::Status status = DescribeModel(*file).status();
  EXPECT_EQ(base::ErrorReason(status), "INVALID_MODEL_FILE");
  EXPECT_THAT(std::string(status.message()), HasSubstr("architecture \"mamba\" is not supported (bloom, gemma, "));
}

std::string Row(const Family& f) {
  const ModelDescription model = *DescribeModel(*Tiny(std::string(f.architecture)));
  // Where there are recurrent layers too, one that is not.
  const LayerDescription& layer =
      *std::find_if(model.layers.begin(), model.layers.end(), [](auto& l) { return l.recurrent.width == 0; });
  const auto some = [&](auto has) { return std::ranges::any_of(model.layers, has); };
  std::vector<std::string> attention, other;
  const auto add = [](std::vector<std::string>& to, bool has, const char* what) {
    if (has) to.emplace_back(what);
  };
  add(attention, f.positions == Positions::kRopeHalves, "RoPE over halves");
  add(attention, f.positions == Positions::kRopeNeighbours, "RoPE over neighbours");
  add(attention, f.positions == Positions::kLearned, "learned positions");
  add(attention, f.positions == Positions::kAlibi, "ALiBi");
  add(attention, f.qk_norm == QkNorm::kPerHead, "queries and keys normed per head");
  add(attention, f.qk_norm == QkNorm::kOverHeads, "queries and keys normed over heads");
  add(attention, layer.attention.latent.kv_rank > 0, "latent keys and values");
  add(attention,
      some([&](auto& l) { return l.rope.rotary_dim == 0 && layer.rope.rotary_dim > 0 && !l.recurrent.width; }),
      "layers without positions");
  add(attention, some([&](auto& l) { return l.rope.rotary_dim > 0 && l.rope.theta != layer.rope.theta; }),
      "theta by layer");
  add(attention, layer.attention.window > 0, "windows");
  add(attention, layer.attention.softcap > 0, "soft cap");
  add(attention, layer.attention.clip > 0, "clipping");
  add(attention, f.qkv_bias == Biases::kAll, "biases");
  const LayerDescription& second = model.layers[1];
  const char* const activations[] = {"", "SiLU", "GELU", "GELU by tanh", "quick GELU", "ReLU", "squared ReLU"};
  const std::string ffn =
      base::StrCat(f.ffn == FfnKind::kGated ? "gated " : "plain ", activations[static_cast<size_t>(f.activation)]);
  add(other, f.norm == NormKind::kLayer,
      f.norm_weight ? f.norm_bias ? "LayerNorm" : "LayerNorm without biases" : "LayerNorm without weights");
  add(other, f.post_norms, f.pre_norms ? "norms before and after" : "norms after");
  add(other, f.embedding_norm, "embeddings normed");
  add(other, f.residual == Residual::kParallel, "parallel residual of two norms");
  add(other, f.residual == Residual::kParallelOfOneNorm, "parallel residual of one norm");
  add(other, f.recurrent_layers, "recurrent layers");
  add(other, some([&](auto& l) { return l.ffn.width != layer.ffn.width; }), "heads and FFN widths by layer");
  add(other, layer.shortcut_width > 0, "augmented shortcuts");
  add(other, layer.ffn.series > 0, "series activation");
  add(other, second.weights_of_layer == 0, "blocks repeated");
  add(other, second.weights_of_layer != 0 && second.ffn_weights_of_layer == 0, "one FFN for all layers");
  add(other, model.embedding_scale != 1, "scaled embeddings");
  add(other, layer.residual_scale != 1, "scaled residuals");
  add(other, model.output_scale != 1, "scaled logits");
  add(other, model.output_softcap > 0, "soft cap of logits");
  return base::StrCat("| `", std::string(f.architecture), "` | ", std::string(f.models), " | ",
                      absl::StrJoin(attention, ", "), " | ", ffn, " | ", absl::StrJoin(other, ", "), " |\n");
}

TEST(Families, AreInTheDocumentation) {
  const std::string document = *base::ReadFile("docs/models.md");
  for (const Family& family : Families()) {
    EXPECT_THAT(document, HasSubstr(Row(family))) << "docs/models.md should have this row:\n" << Row(family);
  }
}

}  // namespace
}  // namespace linnet::worker
