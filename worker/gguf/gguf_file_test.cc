#include "worker/gguf/gguf_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>

#include "base/error.h"
#include "worker/gguf/gguf_test_writer.h"

namespace linnet::worker {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Every kind of value, two tensors, and nothing behind the last one.
GgufTestWriter TinyWriter() {
  GgufTestWriter w;
  w.String("general.architecture", "llama");
  w.U32("llama.block_count", 2);
  w.I32("int", -7);
  w.U64("big", 1ull << 62);
  w.F32("eps", 0.5f);
  w.Bool("flag", 1);
  w.Strings("tokenizer.ggml.tokens", {"a", "", "ccc"});
  w.I32s("tokenizer.ggml.token_type", {1, -3, 2});
  w.Numbers<float>("floats", 6, {1.5f, -2.0f});
  w.Numbers<uint8_t>("bools", 7, {1, 0, 1});
  w.Tensor("one", {4, 2}, /*F32*/ 0, 0);
  w.Tensor("two", {32}, /*Q4_1*/ 3, 32);
  return w;
}

std::string TinyFile() {
  std::string data(32 + 20, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i);
  return TinyWriter().Build(data);
}

absl::StatusOr<std::unique_ptr<GgufFile>> ParseText(const std::string& text) {
  return GgufFile::Parse(BytesOf(text), "x.gguf");
}

// The error of a file that must be refused, with the reason that clients see.
std::string Refusal(const std::string& text) {
  const auto file = ParseText(text);
  EXPECT_FALSE(file.ok());
  if (file.ok()) return "";
  EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(base::ErrorReason(file.status()), "INVALID_MODEL_FILE");
  const std::string message(file.status().message());
  EXPECT_THAT(message, HasSubstr("x.gguf"));
  return message;
}

std::string U64(uint64_t n) { return std::string(reinterpret_cast<const char*>(&n), 8); }
std::string U32(uint32_t n) { return std::string(reinterpret_cast<const char*>(&n), 4); }

std::string TensorRefusal(const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset) {
  GgufTestWriter w;
  w.Tensor("w", dims, type, offset);
  return Refusal(w.Build(std::string(256, 'x')));
}

std::string ValueRefusal(uint32_t type, const std::string& bytes) {
  GgufTestWriter w;
  w.Raw("key.of.it", type, bytes);
  return Refusal(w.Build());
}

TEST(GgufFileTest, ReadsEveryKindOfValue) {
  const std::string text = TinyFile();
  const auto parsed = ParseText(text);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const GgufFile& file = **parsed;
  EXPECT_EQ(*file.GetString("general.architecture"), "llama");
  EXPECT_EQ(*file.GetInt("llama.block_count"), 2);
  EXPECT_EQ(*file.GetInt("int"), -7);
  EXPECT_EQ(*file.GetInt("big"), int64_t{1} << 62);
  EXPECT_EQ(*file.GetDouble("eps"), 0.5);
  EXPECT_EQ(*file.GetDouble("int"), -7);
  EXPECT_TRUE(*file.GetBoolOr("flag", false));
  EXPECT_THAT(**file.FindStrings("tokenizer.ggml.tokens"), ElementsAre("a", "", "ccc"));
  EXPECT_THAT(**file.FindInts("tokenizer.ggml.token_type"), ElementsAre(1, -3, 2));
  EXPECT_THAT(**file.FindDoubles("floats"), ElementsAre(1.5, -2.0));
  EXPECT_THAT(std::get<std::vector<bool>>(std::get<GgufArray>(file.metadata().at("bools"))),
              ElementsAre(true, false, true));
}

TEST(GgufFileTest, FindsTensorsWithTheirBytes) {
  const std::string text = TinyFile();
  const auto file = ParseText(text);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ((*file)->tensors().size(), 2u);
  const GgufTensor* two = (*file)->FindTensor("two");
  ASSERT_NE(two, nullptr);
  EXPECT_EQ(two->type, kernels::DType::kQ4_1);
  EXPECT_THAT(two->dims, ElementsAre(32));
  EXPECT_EQ(two->elements(), 32);
  ASSERT_EQ(two->data.size(), 20u);
  EXPECT_EQ(std::to_integer<int>(two->data[0]), 32);
  EXPECT_EQ(std::to_integer<int>(two->data[19]), 51);
  EXPECT_EQ((*file)->FindTensor("one")->elements(), 8);
  EXPECT_EQ((*file)->FindTensor("three"), nullptr);
}

TEST(GgufFileTest, MissingAndMistypedKeysAreNamed) {
  const std::string text = TinyFile();
  const auto file = ParseText(text);
  ASSERT_TRUE(file.ok());
  EXPECT_THAT(std::string((*file)->GetInt("absent").status().message()),
              AllOf(HasSubstr("absent"), HasSubstr("missing")));
  EXPECT_THAT(std::string((*file)->GetInt("general.architecture").status().message()),
              AllOf(HasSubstr("general.architecture"), HasSubstr("is a string"), HasSubstr("an integer")));
  EXPECT_EQ(*(*file)->GetIntOr("absent", 9), 9);
  EXPECT_FALSE((*file)->GetIntOr("flag", 9).ok());
  EXPECT_EQ(*(*file)->GetStringOr("absent", "x"), "x");
  EXPECT_EQ(*(*file)->FindInts("absent"), nullptr);
  EXPECT_FALSE((*file)->FindInts("tokenizer.ggml.tokens").ok());
  EXPECT_FALSE((*file)->FindStrings("int").ok());
}

TEST(GgufFileTest, Version2IsRead) {
  GgufTestWriter w = TinyWriter();
  w.version = 2;
  EXPECT_TRUE(ParseText(w.Build(std::string(52, 'x'))).ok());
}

TEST(GgufFileTest, TruncatedAnywhereIsAnError) {
  const std::string text = TinyFile();
  for (size_t n = 0; n < text.size(); ++n) {
    const std::string cut = text.substr(0, n);  // a buffer of its own: sanitizers see the least overrun
    EXPECT_FALSE(ParseText(cut).ok()) << "cut to " << n << " of " << text.size() << " bytes";
  }
}

TEST(GgufFileTest, FlippedBitsNeverCrash) {
  const std::string text = TinyFile();
  int refused = 0;
  for (size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string flipped = text;
    flipped[bit / 8] ^= static_cast<char>(1 << bit % 8);
    const auto file = ParseText(flipped);
    if (!file.ok()) {
      ++refused;
      EXPECT_EQ(base::ErrorReason(file.status()), "INVALID_MODEL_FILE");
    }
  }
  EXPECT_GT(refused, 500);  // lengths, types, counts, offsets
}

TEST(GgufFileTest, OtherFilesAreRefused) {
  EXPECT_THAT(Refusal("PK\x03\x04 a zip archive"), AllOf(HasSubstr("not a GGUF file"), HasSubstr("PK")));
  EXPECT_THAT(Refusal(""), HasSubstr("cut short"));
  EXPECT_THAT(Refusal("GGUF" + U32(1) + U64(0) + U64(0)), HasSubstr("version 1"));
  EXPECT_THAT(Refusal("GGUF" + U32(4) + U64(0) + U64(0)), HasSubstr("version 4"));
  EXPECT_THAT(Refusal("GGUF" + U32(3 << 24) + U64(0) + U64(0)), HasSubstr("big-endian"));
}

TEST(GgufFileTest, HostileCountsAreRefusedBeforeAllocation) {
  for (uint64_t count : {uint64_t{1} << 17, uint64_t{1} << 32, std::numeric_limits<uint64_t>::max()}) {
    EXPECT_THAT(Refusal("GGUF" + U32(3) + U64(count) + U64(0)), HasSubstr("tensors"));
    EXPECT_THAT(Refusal("GGUF" + U32(3) + U64(0) + U64(count)), HasSubstr("entries"));
    EXPECT_THAT(ValueRefusal(8, U64(count)), AllOf(HasSubstr("key.of.it"), HasSubstr("needs")));
    for (uint32_t type = 0; type <= 12; ++type) {
      EXPECT_THAT(ValueRefusal(9, U32(type) + U64(count)), HasSubstr("key.of.it")) << type;
    }
  }
  // Counts that fit the limits and not the file.
  EXPECT_THAT(ValueRefusal(9, U32(0) + U64(1000)), HasSubstr("1000 elements"));
  EXPECT_THAT(ValueRefusal(9, U32(8) + U64(1000)), HasSubstr("1000 strings"));
}

TEST(GgufFileTest, BadValuesAreRefused) {
  EXPECT_THAT(ValueRefusal(13, U64(0)), HasSubstr("unknown value type 13"));
  EXPECT_THAT(ValueRefusal(7, "\x02"), HasSubstr("no bool"));
  EXPECT_THAT(ValueRefusal(10, U64(1ull << 63)), HasSubstr("2^63"));
  EXPECT_THAT(ValueRefusal(9, U32(10) + U64(1) + U64(1ull << 63)), HasSubstr("2^63"));
  EXPECT_THAT(ValueRefusal(9, U32(9) + U64(1) + U32(0) + U64(0)), HasSubstr("arrays inside arrays"));
  EXPECT_THAT(ValueRefusal(9, U32(77) + U64(0)), HasSubstr("element type 77"));
  EXPECT_THAT(ValueRefusal(9, U32(7) + U64(1) + "\x05"), HasSubstr("no bool"));
}

TEST(GgufFileTest, KeysAreCheckedAndShownEscaped) {
  GgufTestWriter twice;
  twice.U32("same", 1);
  twice.U32("same", 2);
  EXPECT_THAT(Refusal(twice.Build()), AllOf(HasSubstr("same"), HasSubstr("twice")));
  GgufTestWriter empty;
  empty.U32("", 1);
  EXPECT_THAT(Refusal(empty.Build()), HasSubstr("empty"));
  GgufTestWriter odd;
  odd.Bool("k\xff\n", 2);
  EXPECT_THAT(Refusal(odd.Build()), HasSubstr("k\\xff\\n"));
  GgufTestWriter lengthy;
  lengthy.U32(std::string(70000, 'k'), 1);
  EXPECT_THAT(Refusal(lengthy.Build()), HasSubstr("65535"));
}

TEST(GgufFileTest, AlignmentIsChecked) {
  for (uint32_t alignment : {0u, 1u, 4u, 33u, 48u, 1u << 21}) {
    GgufTestWriter w;
    w.U32("general.alignment", alignment);
    EXPECT_THAT(Refusal(w.Build()), HasSubstr("alignment")) << alignment;
  }
  GgufTestWriter text;
  text.String("general.alignment", "32");
  EXPECT_THAT(Refusal(text.Build()), HasSubstr("general.alignment"));
  GgufTestWriter good;
  good.U32("general.alignment", 64);
  EXPECT_TRUE(ParseText(good.Build()).ok());
}

TEST(GgufFileTest, TensorShapesAreChecked) {
  EXPECT_THAT(TensorRefusal({}, 0, 0), HasSubstr("0 dimensions"));
  EXPECT_THAT(TensorRefusal({1, 1, 1, 1, 1}, 0, 0), HasSubstr("5 dimensions"));
  EXPECT_THAT(TensorRefusal({4, 0}, 0, 0), HasSubstr("dimension 1 is 0"));
  EXPECT_THAT(TensorRefusal({1ull << 63}, 0, 0), HasSubstr("2^48"));
  EXPECT_THAT(TensorRefusal({1ull << 40, 1ull << 40}, 0, 0), HasSubstr("2^48"));
  EXPECT_THAT(TensorRefusal({1ull << 32, 1ull << 32, 1ull << 32, 1ull << 32}, 0, 0), HasSubstr("2^48"));
  EXPECT_THAT(TensorRefusal({33}, 3, 0), HasSubstr("Q4_1"));
}

TEST(GgufFileTest, UnsupportedTypesAreNamed) {
  EXPECT_THAT(TensorRefusal({256}, 10, 0), AllOf(HasSubstr("Q2_K (10)"), HasSubstr("quantize")));
  EXPECT_THAT(TensorRefusal({256}, 23, 0), HasSubstr("IQ4_XS (23)"));
  EXPECT_THAT(TensorRefusal({256}, 39, 0), HasSubstr("MXFP4 (39)"));
  EXPECT_THAT(TensorRefusal({256}, 4711, 0), HasSubstr("4711"));
}

TEST(GgufFileTest, TensorPlacesAreChecked) {
  EXPECT_THAT(TensorRefusal({4}, 0, 16), HasSubstr("not a multiple of the alignment"));
  EXPECT_THAT(TensorRefusal({4}, 0, 256), HasSubstr("cut short"));
  EXPECT_THAT(TensorRefusal({65}, 0, 0), HasSubstr("cut short"));
  EXPECT_THAT(TensorRefusal({4}, 0, std::numeric_limits<uint64_t>::max() - 31), HasSubstr("cut short"));
  EXPECT_THAT(TensorRefusal({1ull << 47}, 0, 0), HasSubstr("cut short"));

  GgufTestWriter overlap;
  overlap.Tensor("late", {16}, 0, 32);
  overlap.Tensor("early", {9}, 0, 0);
  EXPECT_THAT(Refusal(overlap.Build(std::string(256, 'x'))),
              AllOf(HasSubstr("late"), HasSubstr("overlaps tensor early")));
  GgufTestWriter twice;
  twice.Tensor("same", {8}, 0, 0);
  twice.Tensor("same", {8}, 0, 32);
  EXPECT_THAT(Refusal(twice.Build(std::string(64, 'x'))), AllOf(HasSubstr("same"), HasSubstr("twice")));
  GgufTestWriter name;
  name.Tensor(std::string(300, 'n'), {8}, 0, 0);
  EXPECT_THAT(Refusal(name.Build(std::string(64, 'x'))), HasSubstr("256"));
}

class GgufOpenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/linnet_gguf_XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string Write(const std::string& name, const std::string& content) {
    std::ofstream(dir_ / name, std::ios::binary) << content;
    return dir_ / name;
  }
  std::filesystem::path dir_;
};

TEST_F(GgufOpenTest, MapsAFile) {
  const std::string text = TinyFile();
  const std::string path = Write("tiny.gguf", text);
  const auto file = GgufFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->path(), path);
  EXPECT_EQ((*file)->file_bytes(), text.size());
  const GgufTensor* two = (*file)->FindTensor("two");
  (*file)->WillNeed(two->data);
  (*file)->Release(*two);
  EXPECT_EQ(std::to_integer<int>(two->data[1]), 33);
}

TEST_F(GgufOpenTest, WhatIsNoFileIsExplained) {
  const auto message = [](const std::string& path) {
    const auto file = GgufFile::Open(path);
    EXPECT_FALSE(file.ok()) << path;
    return std::string(file.status().message());
  };
  EXPECT_EQ(GgufFile::Open(dir_ / "absent.gguf").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(message(dir_ / "absent.gguf"), HasSubstr("absent.gguf"));
  EXPECT_THAT(message(dir_), HasSubstr("directory"));
  Write("config.json", "{}");
  EXPECT_THAT(message(dir_), AllOf(HasSubstr("Hugging Face"), HasSubstr("linnet model convert")));
  EXPECT_THAT(message(Write("empty.gguf", "")), HasSubstr("empty"));
  EXPECT_THAT(message("/dev/null"), HasSubstr("no regular file"));
  EXPECT_THAT(message(Write("text.gguf", "Hello")), HasSubstr("not a GGUF file"));
}

TEST(GgufModelTest, ReadsSmolLM2) {
  const char* env = std::getenv("LINNET_TEST_MODEL");
  const std::string path =
      env != nullptr ? env : std::string(std::getenv("HOME")) + "/.cache/linnet/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  const auto file = GgufFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(*(*file)->GetString("general.architecture"), "llama");
  EXPECT_EQ((*file)->tensors().size(), 272u);
  EXPECT_EQ((*(*file)->FindStrings("tokenizer.ggml.tokens"))->size(), 49152u);
  const GgufTensor* q = (*file)->FindTensor("blk.0.attn_q.weight");
  ASSERT_NE(q, nullptr);
  EXPECT_THAT(q->dims, ElementsAre(576, 576));
  EXPECT_EQ(q->data.size(), 576u * 576 / 32 * 20);
}

}  // namespace
}  // namespace linnet::worker
