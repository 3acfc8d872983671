// A small model's folder, made by hand, and the GGUF file that it becomes.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/testing.h"
#include "worker/checkpoint/checkpoint_test_writer.h"
#include "worker/checkpoint/convert.h"
#include "worker/gguf/gguf_file.h"

namespace linnet::worker {

using nlohmann::json;

// A tokenizer of `count` tokens, the last one special.
inline json SmallTokenizer(int count) {
  json vocab = json::object();
  for (int i = 0; i + 1 < count; ++i) vocab[std::string(1, static_cast<char>('a' + i))] = i;
  return {{"added_tokens", {{{"id", count - 1}, {"content", "<end>"}, {"special", true}}}},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", json::array()}}}};
}

class ConvertTest : public ::testing::Test {
 protected:
  static constexpr int kVocab = 5;

  // 0, 1, 2, ... in the tensor's order, from `first`: what becomes of them shows where each went.
  void Counting(const std::string& name, const std::vector<int64_t>& shape, float first = 0) {
    int64_t count = 1;
    for (const int64_t d : shape) count *= d;
    std::vector<float> values(static_cast<size_t>(count));
    std::iota(values.begin(), values.end(), first);
    writer_.Add(name, shape, values);
  }

  // Width 4, one layer, 1 query head of 4, FFN of 3.
  void Llama(const char* embeddings = "model.embed_tokens.weight", bool ffn_norm = true) {
    config_ = {{"architectures", {"LlamaForCausalLM"}},
               {"hidden_size", 4},
               {"num_hidden_layers", 1},
               {"num_attention_heads", 1},
               {"intermediate_size", 3},
               {"vocab_size", kVocab},
               {"rms_norm_eps", 1e-6},
               {"max_position_embeddings", 16}};
    Counting(embeddings, {kVocab, 4}, 100);
    Counting("model.norm.weight", {4});
    const std::string layer = "model.layers.0.";
    Counting(layer + "input_layernorm.weight", {4});
    if (ffn_norm) Counting(layer + "post_attention_layernorm.weight", {4});
    Counting(layer + "self_attn.q_proj.weight", {4, 4});
    Counting(layer + "self_attn.k_proj.weight", {4, 4});
    Counting(layer + "self_attn.v_proj.weight", {4, 4});
    Counting(layer + "self_attn.o_proj.weight", {4, 4});
    Counting(layer + "mlp.gate_proj.weight", {3, 4});
    Counting(layer + "mlp.up_proj.weight", {3, 4});
    Counting(layer + "mlp.down_proj.weight", {4, 3});
  }
  // As wide as this Llama, 2 heads, with LayerNorms.
  void StableLm(bool parallel = false) {
    Llama("model.embed_tokens.weight", /*ffn_norm=*/!parallel);
    config_.update({{"architectures", {"StableLmForCausalLM"}},
                    {"num_attention_heads", 2},
                    {"layer_norm_eps", 1e-5},
                    {"partial_rotary_factor", 1.0},
                    {"use_parallel_residual", parallel},
                    {"tie_word_embeddings", true}});
    Counting("model.norm.bias", {4});
    Counting("model.layers.0.input_layernorm.bias", {4});
    if (!parallel) Counting("model.layers.0.post_attention_layernorm.bias", {4});
  }
  void WriteFolder() {
    tree_.Write("config.json", config_.dump());
    tree_.Write("tokenizer.json", tokenizer_.dump());
    tree_.Write("model.safetensors", writer_.Build());
  }
  absl::StatusOr<ConvertReport> TryConvert() {
    WriteFolder();
    return ConvertCheckpoint(tree_.root(), out_.Path("out.gguf"), {});
  }
  const GgufFile& Convert() {
    auto report = TryConvert();
    EXPECT_TRUE(report.ok()) << report.status();
    if (report.ok()) notes_ = report->notes;
    file_ = *GgufFile::Open(out_.Path("out.gguf"));
    return *file_;
  }
  std::string Complaint() {
    const absl::Status status = TryConvert().status();
    EXPECT_EQ(base::ErrorReason(status), "INVALID_MODEL_FILE") << status;
    EXPECT_TRUE(std::filesystem::is_empty(out_.root()));
    return std::string(status.message());
  }
  std::vector<float> Values(const char* name) {
    const GgufTensor* tensor = file_->FindTensor(name);
    if (tensor == nullptr) return {};
    std::vector<float> values(static_cast<size_t>(tensor->elements()));
    kernels::Dequantize(tensor->type, tensor->data.data(), tensor->elements(), values.data());
    return values;
  }
  std::vector<int64_t> Dims(const char* name) { return file_->FindTensor(name)->dims; }

  base::FileTree tree_, out_;
  json config_, tokenizer_ = SmallTokenizer(kVocab);
  SafetensorsTestWriter writer_;
  std::unique_ptr<GgufFile> file_;
  std::vector<std::string> notes_;
};

}  // namespace linnet::worker
