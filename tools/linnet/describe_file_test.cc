#include "tools/linnet/describe_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "worker/gguf/gguf_test_writer.h"

namespace linnet::cli {
namespace {

using worker::GgufFile;
using worker::GgufTestWriter;

// A file with one Q8_0 and one F32 tensor of a model of two layers.
std::string Content(const std::function<void(GgufTestWriter&)>& metadata = {}) {
  GgufTestWriter writer;
  if (metadata) metadata(writer);
  writer.Tensor("token_embd.weight", {32, 4}, 8, 0);  // Q8_0: 4 rows of 34 bytes
  writer.Tensor("output_norm.weight", {32}, 0, 160);  // F32: 128 bytes
  return writer.Build(std::string(288, '\0'));
}

worker::ModelDescription Description(bool tied) {
  worker::ModelDescription d;
  d.family = "llama";
  d.vocab_size = 4;
  d.model_dim = 32;
  d.context_tokens = 64;
  d.tied_embeddings = tied;
  for (int kv_heads : {1, 2}) {
    worker::LayerDescription layer;
    layer.attention.q_heads = 4;
    layer.attention.kv_heads = kv_heads;
    layer.attention.head_dim = layer.attention.value_dim = 8;
    layer.ffn.width = 96;
    d.layers.push_back(layer);
  }
  return d;
}

FileDescription Describe(const std::string& content, const std::string& name, bool tied = true,
                         const Naming& naming = {}) {
  const auto file = GgufFile::Parse(worker::BytesOf(content), name);
  EXPECT_TRUE(file.ok()) << file.status();
  auto described = DescribeFile(**file, Description(tied), 1000, naming);
  EXPECT_TRUE(described.ok()) << described.status();
  return *std::move(described);
}

std::string ModelOf(const std::string& name, const std::function<void(GgufTestWriter&)>& metadata = {}) {
  return Describe(Content(metadata), name).model.name();
}

TEST(IdFromTest, KeepsWhatAnIdMayHave) {
  EXPECT_EQ(IdFrom("Qwen2.5 1.5B Instruct"), "qwen2.5-1.5b-instruct");
  EXPECT_EQ(IdFrom("  ..a__b--c!! "), "a_b-c");
  EXPECT_EQ(IdFrom("日本"), "");
  EXPECT_EQ(IdFrom(std::string(100, 'x')).size(), 63);
  EXPECT_EQ(IdFrom(std::string(62, 'x') + " y"), std::string(62, 'x'));
}

TEST(DescribeFileTest, NamesTheModelAsItsMetadataDo) {
  EXPECT_EQ(ModelOf("x.gguf",
                    [](auto& w) {
                      w.String("general.name", "Smollm2 135M 8k Lc100K Mix1 Ep2");
                      w.String("general.basename", "smollm2");
                      w.String("general.size_label", "135M");
                      w.String("general.finetune", "8k-lc100k-mix1-ep2");
                    }),
            "models/smollm2-135m");
  EXPECT_EQ(ModelOf("x.gguf",
                    [](auto& w) {
                      w.String("general.basename", "Qwen2");
                      w.String("general.size_label", "1.5B");
                      w.String("general.finetune", "Instruct");
                    }),
            "models/qwen2-1.5b-instruct");
  EXPECT_EQ(ModelOf("x.gguf", [](auto& w) { w.String("general.name", "Tiny Llama"); }), "models/tiny-llama");
}

TEST(DescribeFileTest, NamesTheModelByItsFileWhereThereIsNothingElse) {
  EXPECT_EQ(ModelOf("/models/My-Model.Q8_0.gguf"), "models/my-model");
  EXPECT_EQ(ModelOf("/models/My-Model-v2.gguf"), "models/my-model-v2");
  EXPECT_EQ(ModelOf("/models/???.gguf"), "models/model");
}

TEST(DescribeFileTest, NamesGivenWinAndAreChecked) {
  const auto described = Describe(Content(), "x.gguf", true, {.model = "mine", .variant = "v1"});
  EXPECT_EQ(described.model.name(), "models/mine");
  EXPECT_EQ(described.variant.name(), "models/mine/variants/v1");
  EXPECT_EQ(described.variant.quantization(), "q8_0");
  const std::string content = Content();
  const auto file = GgufFile::Parse(worker::BytesOf(content), "x.gguf");
  const auto bad = DescribeFile(**file, Description(true), 0, {.model = "Not Valid"});
  EXPECT_EQ(bad.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(bad.status().message()), testing::HasSubstr("--name 'Not Valid'"));
}

TEST(DescribeFileTest, QuantizationIsTheFileTypesOrThatOfMostWeights) {
  EXPECT_EQ(Describe(Content([](auto& w) { w.U32("general.file_type", 15); }), "x").variant.quantization(), "q4_k_m");
  EXPECT_EQ(Describe(Content([](auto& w) { w.U32("general.file_type", 999); }), "x").variant.quantization(), "q8_0");
  EXPECT_EQ(Describe(Content(), "x").variant.quantization(), "q8_0");
}

TEST(DescribeFileTest, SaysWhatResolveNeeds) {
  const auto described = Describe(Content([](auto& w) { w.String("general.license", "mit"); }), "/m/x.gguf");
  const auto& variant = described.variant;
  EXPECT_EQ(variant.weight_bytes(), 4 * 34 + 128);
  EXPECT_EQ(variant.bytes_per_token(), 4 * 34 + 128);  // tied: the embeddings are the output matrix, too
  EXPECT_EQ(variant.kv_bytes_per_token(), (1 + 2) * 8 * 2 * 2);
  EXPECT_EQ(variant.requirements().scratch_bytes(), 1000);
  EXPECT_EQ(variant.tensor_types().at("Q8_0"), 128);
  EXPECT_EQ(variant.tensor_types().at("F32"), 32);
  EXPECT_EQ(variant.blobs(0).file_name(), "x.gguf");
  EXPECT_EQ(described.model.license(), "mit");
  const auto& architecture = described.model.architecture();
  EXPECT_EQ(architecture.parameters(), 160);
  EXPECT_EQ(architecture.layers(), 2);
  EXPECT_EQ(architecture.layer_shapes(0).kv_heads(), 1);
  EXPECT_EQ(architecture.layer_shapes(1).kv_heads(), 2);
  // Not tied: a token reads one row of the embeddings.
  EXPECT_EQ(Describe(Content(), "x", /*tied=*/false).variant.bytes_per_token(), 34 + 128);
}

TEST(DescribeFileTest, TextsOfTheFileAreBounded) {
  const auto described = Describe(Content([](auto& w) { w.String("general.license", std::string(100000, 'x')); }), "x");
  EXPECT_LE(described.model.license().size(), 256);
}

}  // namespace
}  // namespace linnet::cli
