#include "tools/linnet/quantize_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "worker/gguf/gguf_test_writer.h"

namespace linnet::cli {
namespace {

using kernels::DType;
using ::testing::ElementsAre;

// A model of `layers` layers, f32, with rows of `cols` (and of twice that in ffn_down).
std::string Model(int layers, uint64_t cols, bool output) {
  worker::GgufTestWriter writer;
  uint64_t offset = 0;
  const auto add = [&](const std::string& name, const std::vector<uint64_t>& dims) {
    writer.Tensor(name, dims, 0, offset);
    uint64_t bytes = 4;
    for (const uint64_t d : dims) bytes *= d;
    offset += (bytes + 31) / 32 * 32;
  };
  add("token_embd.weight", {cols, 2});
  for (int l = 0; l < layers; ++l) {
    const std::string block = "blk." + std::to_string(l) + ".";
    add(block + "attn_norm.weight", {cols});
    add(block + "attn_q.bias", {cols});
    add(block + "attn_q.weight", {cols, 1});
    add(block + "attn_v.weight", {cols, 1});
    add(block + "attn_qkv.weight", {cols, 3});  // no model has both
    add(block + "ffn_down.weight", {2 * cols, 1});
  }
  add("output_norm.weight", {cols});
  if (output) add("output.weight", {cols, 2});
  return writer.Build(std::string(offset, '\0'));
}

std::map<std::string, DType> Types(const std::string& content, std::string_view format) {
  const auto file = worker::GgufFile::Parse(worker::BytesOf(content), "m.gguf");
  EXPECT_TRUE(file.ok()) << file.status();
  const QuantizeFormat* found = FindQuantizeFormat(format);
  EXPECT_NE(found, nullptr) << format;
  const std::vector<DType> types = PlanTypes(**file, *found);
  std::map<std::string, DType> by_name;
  for (size_t i = 0; i < types.size(); ++i) by_name[(*file)->tensors()[i].name] = types[i];
  return by_name;
}

TEST(QuantizePlan, KnowsItsFormats) {
  EXPECT_THAT(QuantizeFormatNames(),
              ElementsAre("f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0", "int8", "int4-g64"));
  EXPECT_EQ(FindQuantizeFormat("q3_k_m"), nullptr);
  EXPECT_EQ(FindQuantizeFormat(""), nullptr);
  EXPECT_TRUE(FindQuantizeFormat("q4_0")->quantized());
  EXPECT_FALSE(FindQuantizeFormat("bf16")->quantized());
}

TEST(QuantizePlan, VectorsStay) {
  const std::string model = Model(2, 256, true);
  for (const std::string& format : QuantizeFormatNames()) {
    const auto types = Types(model, format);
    EXPECT_EQ(types.at("blk.0.attn_norm.weight"), DType::kF32);
    EXPECT_EQ(types.at("blk.1.attn_q.bias"), DType::kF32);
    EXPECT_EQ(types.at("output_norm.weight"), DType::kF32);
  }
}

TEST(QuantizePlan, TheOutputMatrixGetsMoreBits) {
  const auto own = Types(Model(2, 256, true), "q4_0"), tied = Types(Model(2, 256, false), "q4_0");
  EXPECT_EQ(own.at("token_embd.weight"), DType::kQ4_0);
  EXPECT_EQ(own.at("output.weight"), DType::kQ6_K);
  EXPECT_EQ(tied.at("token_embd.weight"), DType::kQ6_K);
  EXPECT_EQ(Types(Model(2, 96, false), "q4_0").at("token_embd.weight"), DType::kQ8_0);
  EXPECT_EQ(Types(Model(2, 256, true), "q8_0").at("output.weight"), DType::kQ8_0);
  EXPECT_EQ(Types(Model(2, 256, true), "f16").at("output.weight"), DType::kF16);
}

TEST(QuantizePlan, MixesGiveSomeLayersMoreBits) {
  for (const auto& [format, base] : {std::pair("q4_k_m", DType::kQ4_K), std::pair("q5_k_m", DType::kQ5_K)}) {
    const auto types = Types(Model(16, 256, true), format);
    std::vector<int> more;
    for (int l = 0; l < 16; ++l) {
      const std::string block = "blk." + std::to_string(l) + ".";
      EXPECT_EQ(types.at(block + "attn_q.weight"), base);
      EXPECT_EQ(types.at(block + "attn_v.weight"), types.at(block + "ffn_down.weight"));
      EXPECT_EQ(types.at(block + "attn_v.weight"), types.at(block + "attn_qkv.weight"));
      if (types.at(block + "attn_v.weight") == DType::kQ6_K) more.push_back(l);
    }
    EXPECT_THAT(more, ElementsAre(0, 1, 4, 7, 10, 13, 14, 15)) << format;
  }
  EXPECT_EQ(Types(Model(16, 256, true), "q6_k").at("blk.3.attn_v.weight"), DType::kQ6_K);
}

TEST(QuantizePlan, RowsThatDoNotDivideFallBack) {
  const std::string model = Model(8, 96, true);  // ffn_down has 192
  EXPECT_EQ(Types(model, "q4_k_m").at("blk.3.attn_q.weight"), DType::kQ5_0);
  EXPECT_EQ(Types(model, "q5_k_m").at("blk.3.attn_q.weight"), DType::kQ5_1);
  EXPECT_EQ(Types(model, "q6_k").at("blk.3.ffn_down.weight"), DType::kQ8_0);
  EXPECT_EQ(Types(model, "q4_k_m").at("blk.0.ffn_down.weight"), DType::kQ8_0);
  EXPECT_EQ(Types(model, "q4_0").at("blk.3.ffn_down.weight"), DType::kQ4_0);
  EXPECT_EQ(Types(model, "int4-g64").at("blk.3.attn_q.weight"), DType::kQ4_0);
  EXPECT_EQ(Types(model, "int4-g64").at("output.weight"), DType::kQ8_0);
  EXPECT_EQ(Types(model, "int8").at("blk.3.attn_q.weight"), DType::kQ8_0);
  const std::string odd = Model(8, 81, true);
  for (const std::string_view format : {"q8_0", "q6_k", "q4_k_m", "q4_0"}) {
    EXPECT_EQ(Types(odd, format).at("blk.3.attn_q.weight"), DType::kF16);
  }
}

}  // namespace
}  // namespace linnet::cli
