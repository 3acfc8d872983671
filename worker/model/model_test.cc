// Loading: what is described, what is refused and how it is said.
#include "worker/model/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/testing.h"
#include "kernels/thread_pool.h"
#include "worker/gguf/gguf_file.h"
#include "worker/gguf/gguf_writer.h"
#include "worker/model/family.h"
#include "worker/model/memory_plan.h"
#include "worker/model/weights.h"

namespace linnet::worker {
namespace {

using ::testing::HasSubstr;

// Tests run in the checkout's top folder.
constexpr char kTinyLlama[] = "tests/golden/tiny/llama.gguf";
constexpr char kTinyQwen2[] = "tests/golden/tiny/qwen2.gguf";

// The bytes of a model file, changed in places.
class Bytes {
 public:
  explicit Bytes(const std::string& path) : bytes_(*base::ReadFile(path)) {}
  // Every occurrence; of equal length, so that the file's structure stays.
  Bytes& Replace(const std::string& from, const std::string& to) {
    EXPECT_EQ(from.size(), to.size());
    size_t found = 0;
    for (size_t at = bytes_.find(from); at != std::string::npos; at = bytes_.find(from, at + 1), ++found) {
      bytes_.replace(at, from.size(), to);
    }
    EXPECT_GT(found, 0u) << from;
    return *this;
  }
  // The 32-bit value of a metadata key.
  Bytes& SetU32(const std::string& key, uint32_t value) {
    const size_t at = bytes_.find(key);
    EXPECT_NE(at, std::string::npos) << key;
    bytes_.replace(at + key.size() + 4, 4, std::string(reinterpret_cast<const char*>(&value), 4));
    return *this;
  }
  // Two bytes of the tensor's last element.
  Bytes& SetLast(const std::string& tensor, uint16_t bits) {
    const auto file = Parse();
    const GgufTensor* const found = file->FindTensor(tensor);
    EXPECT_NE(found, nullptr) << tensor;
    const auto end = static_cast<size_t>(found->data.data() - file->bytes().data()) + found->data.size();
    bytes_.replace(end - 2, 2, std::string(reinterpret_cast<const char*>(&bits), 2));
    return *this;
  }
  const std::string& get() const { return bytes_; }
  // The object must outlive the file.
  std::unique_ptr<GgufFile> Parse() const {
    auto file = GgufFile::Parse({reinterpret_cast<const std::byte*>(bytes_.data()), bytes_.size()}, "test.gguf");
    EXPECT_TRUE(file.ok()) << file.status();
    return *std::move(file);
  }

 private:
  std::string bytes_;
};

absl::Status Check(const Bytes& bytes) {
  const auto file = bytes.Parse();
  const auto model = DescribeModel(*file);
  if (!model.ok()) return model.status();
  return BindTensors(*file, *model).status();
}

TEST(Family, DescribesLlama) {
  const ModelDescription model = *DescribeModel(*Bytes(kTinyLlama).Parse());
  EXPECT_EQ(model.family, "llama");
  EXPECT_EQ(model.model_dim, 96);
  EXPECT_EQ(model.vocab_size, 288);
  EXPECT_EQ(model.context_tokens, 512);
  ASSERT_EQ(model.layers.size(), 3u);
  const LayerDescription& layer = model.layers[2];
  EXPECT_EQ(layer.weights_of_layer, 2);
  EXPECT_EQ(layer.attention.q_heads, 6);
  EXPECT_EQ(layer.attention.kv_heads, 2);
  EXPECT_EQ(layer.attention.head_dim, 16);
  EXPECT_FLOAT_EQ(layer.attention.scale, 0.25f);
  EXPECT_FALSE(layer.attention.qkv_bias);
  EXPECT_EQ(layer.ffn.width, 151);
  EXPECT_FLOAT_EQ(layer.ffn_norm.eps, 1e-5f);
  EXPECT_TRUE(layer.rope.interleaved);
  EXPECT_EQ(layer.rope.scaling, RopeScaling::kFactors);
  EXPECT_EQ(layer.rope.factors.size(), 8u);
  EXPECT_FALSE(model.tied_embeddings);
}

TEST(Family, DescribesQwen2) {
  const ModelDescription model = *DescribeModel(*Bytes(kTinyQwen2).Parse());
  EXPECT_TRUE(model.tied_embeddings);
  EXPECT_TRUE(model.layers[0].attention.qkv_bias);
  EXPECT_FALSE(model.layers[0].rope.interleaved);
  EXPECT_EQ(model.layers[0].attention.head_dim, 20) << "from the width, where the file does not say";
  EXPECT_DOUBLE_EQ(model.layers[0].rope.theta, 1e6);
}

TEST(BindTensors, AcceptsTheFilesAsTheyAre) {
  EXPECT_TRUE(Check(Bytes(kTinyLlama)).ok());
  EXPECT_TRUE(Check(Bytes(kTinyQwen2)).ok());
}

TEST(BindTensors, ListsEverythingThatIsWrong) {
  const absl::Status status = Check(
      Bytes(kTinyLlama).Replace("blk.1.attn_k.weight", "blk.1.attn_z.weight").SetU32("llama.feed_forward_length", 152));
  EXPECT_EQ(base::ErrorReason(status), "INVALID_MODEL_FILE");
  EXPECT_EQ(base::ErrorMetadata(status, "file"), "test.gguf");
  const std::string message(status.message());
  EXPECT_THAT(message, HasSubstr("blk.1.attn_k.weight is missing"));
  EXPECT_THAT(message, HasSubstr("blk.1.attn_z.weight is unexpected"));
  EXPECT_THAT(message, HasSubstr("blk.2.ffn_down.weight has shape [151, 96], should have [152, 96]"));
}

TEST(BindTensors, AMissingBiasIsNamed) {
  const absl::Status status = Check(Bytes(kTinyQwen2).Replace("blk.2.attn_q.bias", "blk.2.attn_q.boas"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("blk.2.attn_q.bias is missing"));
}

TEST(Family, RefusesValuesOutOfRange) {
  const auto message = [](const Bytes& bytes) { return std::string(Check(bytes).message()); };
  EXPECT_THAT(message(Bytes(kTinyLlama).SetU32("llama.block_count", 0)), HasSubstr("llama.block_count is 0"));
  EXPECT_THAT(message(Bytes(kTinyLlama).SetU32("llama.block_count", 0xffffffff)), HasSubstr("llama.block_count"));
  EXPECT_THAT(message(Bytes(kTinyLlama).SetU32("llama.attention.head_count_kv", 4)), HasSubstr("not a multiple"));
  EXPECT_THAT(message(Bytes(kTinyLlama).SetU32("llama.rope.dimension_count", 15)), HasSubstr("must be even"));
  EXPECT_THAT(message(Bytes(kTinyLlama).SetU32("llama.rope.dimension_count", 14)), HasSubstr("rope_freqs.weight"));
  EXPECT_THAT(message(Bytes(kTinyLlama).SetU32("llama.vocab_size", 289)), HasSubstr("288 rows"));
  // 0x7fc00000: NaN
  EXPECT_THAT(message(Bytes(kTinyLlama).SetU32("llama.attention.layer_norm_rms_epsilon", 0x7fc00000)),
              HasSubstr("positive and finite"));
  // Two complaints in one error.
  const std::string both =
      message(Bytes(kTinyLlama).SetU32("llama.block_count", 0).SetU32("llama.embedding_length", 0));
  EXPECT_THAT(both, HasSubstr("block_count"));
  EXPECT_THAT(both, HasSubstr("embedding_length"));
}

TEST(Family, AnUnknownArchitectureIsAnsweredWithTheNearest) {
  const std::string message(Check(Bytes(kTinyLlama).Replace("llama", "llame")).message());
  EXPECT_THAT(message, HasSubstr("architecture \"llame\" is not supported (bloom, "));
  EXPECT_THAT(message, HasSubstr("nearest: llama)"));
}

TEST(Model, RefusesWeightsThatAreNoNumbers) {
  kernels::ThreadPool pool(2);
  base::FileTree tree;
  constexpr uint16_t kInfiniteF32 = 0x7F80, kNanF16 = 0x7E00;
  const auto refused = [&](const char* model, const std::string& tensor, uint16_t bits) {
    tree.Write("model.gguf", Bytes(model).SetLast(tensor, bits).get());
    for (const kernels::Precision precision : {kernels::Precision::kFast, kernels::Precision::kReference}) {
      const absl::Status status = Model::Load(tree.Path("model.gguf"), {.precision = precision}, &pool).status();
      EXPECT_EQ(base::ErrorReason(status), "INVALID_MODEL_FILE") << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr("model.gguf"));
      EXPECT_THAT(std::string(status.message()), HasSubstr("tensor " + tensor + ": a weight, or the scale"));
    }
  };
  refused(kTinyLlama, "blk.1.ffn_down.weight", kInfiniteF32);
  refused(kTinyLlama, "blk.2.attn_norm.weight", kInfiniteF32);
  refused(kTinyQwen2, "token_embd.weight", kNanF16);
  refused("tests/golden/tiny/minicpm3.gguf", "blk.0.attn_kv_b.weight", kNanF16);
}

TEST(Model, RefusesAVocabularyLargerThanTheEmbeddings) {
  const auto tiny = *GgufFile::Open(kTinyQwen2);
  GgufMetadata metadata = GgufMetadata::CopyOf(*tiny);
  std::vector<std::string> tokens;
  for (const std::string_view token : **tiny->FindStrings("tokenizer.ggml.tokens")) tokens.emplace_back(token);
  tokens.emplace_back("one too many");
  metadata.SetStrings("tokenizer.ggml.tokens", tokens);
  metadata.Remove("tokenizer.ggml.token_type");
  std::vector<GgufTensorPlan> plans;
  for (const GgufTensor& tensor : tiny->tensors()) plans.push_back({tensor.name, tensor.type, tensor.dims});
  base::FileTree tree;
  const auto writer = *GgufWriter::Create(tree.Path("model.gguf"), metadata, plans);
  for (const GgufTensor& tensor : tiny->tensors()) ASSERT_TRUE(writer->Append(tensor.data).ok());
  ASSERT_TRUE(writer->Finish().ok());
  kernels::ThreadPool pool(1);
  const absl::Status status = Model::Load(tree.Path("model.gguf"), {}, &pool).status();
  EXPECT_EQ(base::ErrorReason(status), "INVALID_MODEL_FILE");
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("the tokenizer has 289 tokens, token_embd.weight only 288 rows"));
}

TEST(Model, LoadsAndReportsProgress) {
  kernels::ThreadPool pool(1);
  uint64_t last = 0, total = 0;
  const auto model = Model::Load(kTinyQwen2,
                                 {.progress =
                                      [&](uint64_t done, uint64_t all) {
                                        EXPECT_GE(done, last);
                                        last = done;
                                        total = all;
                                      }},
                                 &pool);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(last, total);
  EXPECT_GT(total, 300'000u);
  EXPECT_EQ((*model)->tokenizer().vocab_size(), 288);
  EXPECT_EQ((*model)->chat_template(), nullptr);
  EXPECT_THAT((*model)->numerics_id(), HasSubstr("kvf16"));
  EXPECT_EQ((*model)->kv_type(), kernels::DType::kF16);
  EXPECT_EQ((*model)->weight_bytes(), (*model)->weight_bytes_per_token()) << "tied: the embedding is read";
}

TEST(Model, NamesAMissingFile) {
  kernels::ThreadPool pool(1);
  const absl::Status status = Model::Load("tests/golden/none.gguf", {}, &pool).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tests/golden/none.gguf"));
}

TEST(MemoryPlan, RefusesWithItsNumbers) {
  const Bytes llama_bytes(kTinyLlama), qwen2_bytes(kTinyQwen2);
  const auto file = llama_bytes.Parse();
  const ModelDescription model = *DescribeModel(*file);
  const auto bindings = *BindTensors(*file, model);
  const MemoryPlan fast = PlanMemory(model, bindings, kernels::Precision::kFast, 64);
  const auto half = qwen2_bytes.Parse();
  const ModelDescription qwen2 = *DescribeModel(*half);
  const auto half_bindings = *BindTensors(*half, qwen2);
  EXPECT_GT(PlanMemory(qwen2, half_bindings, kernels::Precision::kReference, 64).weights_bytes,
            1.9 * static_cast<double>(PlanMemory(qwen2, half_bindings, kernels::Precision::kFast, 64).weights_bytes))
      << "f16 weights become f32";

  EXPECT_TRUE(CheckFits(fast, {.total_bytes = 1 << 30, .available_bytes = fast.total()}, "m.gguf").ok());
  const absl::Status status = CheckFits(fast, {.total_bytes = 1 << 30, .available_bytes = fast.total() - 1}, "m.gguf");
  EXPECT_EQ(base::ErrorReason(status), "OUT_OF_MEMORY");
  EXPECT_EQ(base::ErrorMetadata(status, "needed_bytes"), std::to_string(fast.total()));
  EXPECT_THAT(std::string(status.message()), HasSubstr("m.gguf"));
}

}  // namespace
}  // namespace linnet::worker
