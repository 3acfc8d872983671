#include "worker/checkpoint/safetensors_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/testing.h"
#include "worker/checkpoint/checkpoint_test_writer.h"
#include "worker/checkpoint/json_text.h"

namespace linnet::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<std::unique_ptr<SafetensorsFile>> Parse(std::string_view bytes) {
  return SafetensorsFile::Parse(std::as_bytes(std::span<const char>(bytes.data(), bytes.size())), "x.safetensors");
}

// What is said against a file with this header and 16 bytes of data.
std::string Complaint(std::string_view header) {
  const std::string bytes = SafetensorsBytes(header, std::string(16, '\1'));
  const absl::Status status = Parse(bytes).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << header;
  EXPECT_EQ(base::ErrorReason(status), "INVALID_MODEL_FILE") << header;
  EXPECT_THAT(std::string(status.message()), HasSubstr("x.safetensors")) << header;
  return std::string(status.message());
}

TEST(SafetensorsFile, ReadsTensorsInTheOrderOfTheirData) {
  base::FileTree tree;
  SafetensorsTestWriter writer;
  writer.Add("z", {2, 3}, {1, 2, 3, 4, 5, 6});
  writer.AddBf16("a", {2}, {0.5f, -2});
  writer.Raw("mask", "BOOL", {}, "\1");
  const auto file = SafetensorsFile::Open(tree.Write("x.safetensors", writer.Build()));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ((*file)->tensors().size(), 3u);
  const SafetensorsTensor& z = (*file)->tensors()[0];
  EXPECT_EQ(z.name, "z");
  EXPECT_THAT(z.shape, ElementsAre(2, 3));
  EXPECT_EQ(z.elements(), 6);
  EXPECT_EQ(z.dtype(), kernels::DType::kF32);
  float last;
  std::memcpy(&last, z.data.data() + 20, 4);
  EXPECT_EQ(last, 6);
  EXPECT_EQ((*file)->FindTensor("a")->dtype(), kernels::DType::kBF16);
  EXPECT_EQ((*file)->FindTensor("mask")->dtype(), std::nullopt);
  EXPECT_EQ((*file)->FindTensor("mask")->elements(), 1);
  EXPECT_EQ((*file)->FindTensor("none"), nullptr);
}

TEST(SafetensorsFile, EmptyTensorsTakeNoPlace) {
  const std::string bytes = SafetensorsBytes(R"({"b":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},
      "a":{"dtype":"F32","shape":[0,7],"data_offsets":[16,16]},"c":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})",
                                             std::string(16, '\1'));
  const auto file = Parse(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->FindTensor("a")->elements(), 0);
}

TEST(SafetensorsFile, ATruncatedFileIsNamed) {
  EXPECT_THAT(std::string(Parse("").status().message()), HasSubstr("it has 0 bytes; fetch the file again"));
  SafetensorsTestWriter writer;
  writer.Add("z", {2}, {1, 2});
  const std::string whole = writer.Build();
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(Parse(whole.substr(0, size)).ok()) << size;
  }
  EXPECT_TRUE(Parse(whole).ok());
  EXPECT_THAT(std::string(Parse(whole.substr(0, whole.size() - 1)).status().message()),
              HasSubstr("tensor \"z\": its data lie from 0 to 8, and the file holds 7 bytes of data"));
}

TEST(SafetensorsFile, AHeaderLargerThanAnyIsRefusedBeforeItIsRead) {
  const std::string pickle = "PK\3\4\0\0\10\10" + std::string(100, '\0');
  EXPECT_THAT(std::string(Parse(pickle).status().message()), HasSubstr("at most 16777216 are supported"));
  EXPECT_THAT(std::string(Parse(std::string("\xff\0\0\0\0\0\0\0{}", 10)).status().message()),
              HasSubstr("claims a header of 255 bytes, and only 2 are left"));
}

TEST(SafetensorsFile, EveryFieldIsChecked) {
  const auto tensor = [](std::string_view fields) { return std::string(R"({"t":{)") + std::string(fields) + "}}"; };
  EXPECT_THAT(Complaint("[]"), HasSubstr("no JSON object"));
  EXPECT_THAT(Complaint("{"), HasSubstr("no valid JSON"));
  EXPECT_THAT(Complaint("{}"), HasSubstr("16 bytes at the end belong to no tensor"));
  EXPECT_THAT(Complaint(R"({"t":7})"), HasSubstr("must have dtype, shape and data_offsets"));
  EXPECT_THAT(Complaint(R"({"__metadata__":{"a":1}})"), HasSubstr("no text"));
  EXPECT_THAT(Complaint(tensor(R"("dtype":"F32","shape":[4])")), HasSubstr("must have dtype, shape and data_offsets"));
  EXPECT_THAT(Complaint(tensor(R"("dtype":"F4","shape":[4],"data_offsets":[0,16])")),
              HasSubstr("the type \"F4\" is not known"));
  EXPECT_THAT(Complaint(tensor(R"("dtype":4,"shape":[4],"data_offsets":[0,16])")), HasSubstr("dtype is no text"));
  EXPECT_THAT(Complaint(tensor(R"("dtype":"F32","shape":[-4],"data_offsets":[0,16])")), HasSubstr("-4"));
  EXPECT_THAT(Complaint(tensor(R"("dtype":"F32","shape":[4.5],"data_offsets":[0,16])")), HasSubstr("4.5"));
  EXPECT_THAT(Complaint(tensor(R"("dtype":"F32","shape":4,"data_offsets":[0,16])")), HasSubstr("its shape is no list"));
  EXPECT_THAT(Complaint(tensor(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16])")),
              HasSubstr("more elements than any tensor"));
  EXPECT_THAT(Complaint(tensor(R"("dtype":"F32","shape":[3],"data_offsets":[0,16])")),
              HasSubstr("its shape and type take 12 bytes, its data_offsets 16"));
  EXPECT_THAT(Complaint(tensor(R"("dtype":"F32","shape":[4],"data_offsets":[16,0])")), HasSubstr("from 16 to 0"));
  EXPECT_THAT(Complaint(tensor(R"("dtype":"F32","shape":[4],"data_offsets":[0,18446744073709551615])")),
              HasSubstr("from 0 to 18446744073709551615"));
  EXPECT_THAT(Complaint(tensor(R"("dtype":"F32","shape":[4],"data_offsets":[0])")), HasSubstr("not two numbers"));
  EXPECT_THAT(Complaint(tensor(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,4],"data_offsets":[0,16])")),
              HasSubstr("at most 8 sizes"));
  EXPECT_THAT(Complaint(R"({"":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})"), HasSubstr("name is empty"));
}

TEST(SafetensorsFile, DataNeitherOverlapNorHaveHoles) {
  EXPECT_THAT(Complaint(R"({"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]},
                            "b":{"dtype":"U8","shape":[8],"data_offsets":[8,16]}})"),
              HasSubstr("tensor \"b\" overlaps tensor \"a\""));
  EXPECT_THAT(Complaint(R"({"a":{"dtype":"U8","shape":[6],"data_offsets":[0,6]},
                            "b":{"dtype":"U8","shape":[8],"data_offsets":[8,16]}})"),
              HasSubstr("2 bytes before tensor \"b\" belong to none"));
}

TEST(SafetensorsFile, ANameGivenTwiceIsRefused) {
  EXPECT_THAT(Complaint(R"({"a":{"dtype":"U8","shape":[16],"data_offsets":[0,16]},
                            "a":{"dtype":"U8","shape":[16],"data_offsets":[0,16]}})"),
              HasSubstr("has the key \"a\" twice"));
}

TEST(ParseJson, DeepNestingIsRefused) {
  EXPECT_TRUE(ParseJson(std::string(64, '[') + std::string(64, ']'), "x.json").ok());
  EXPECT_THAT(std::string(ParseJson(std::string(1000000, '['), "x.json").status().message()),
              HasSubstr("x.json cannot be used: nests deeper than 64 levels"));
  // Brackets within texts do not count, nor does an escaped quote end one.
  EXPECT_TRUE(ParseJson("[\"\\\"" + std::string(100, '[') + "\"]", "x.json").ok());
}

}  // namespace
}  // namespace linnet::worker
