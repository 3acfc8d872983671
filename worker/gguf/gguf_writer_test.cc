#include "worker/gguf/gguf_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <numeric>

#include "base/error.h"
#include "base/file.h"
#include "base/testing.h"
#include "worker/gguf/gguf_test_writer.h"

namespace linnet::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using kernels::DType;

std::vector<std::byte> Bytes(uint64_t count, int first) {
  std::vector<std::byte> bytes(count);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(first + static_cast<int>(i));
  return bytes;
}

std::vector<std::string> FilesIn(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) names.push_back(entry.path().filename());
  return names;
}

std::vector<GgufTensorPlan> TwoTensors() {
  return {{"odd", DType::kF32, {3, 3}}, {"blocks", DType::kQ4_0, {64, 2}}};  // 36 and 72 bytes
}

class GgufWriterTest : public ::testing::Test {
 protected:
  base::FileTree files_;
  const std::string path_ = files_.Path("out.gguf");
};

TEST_F(GgufWriterTest, WhatIsWrittenIsRead) {
  GgufMetadata metadata;
  metadata.SetString("general.architecture", "llama");
  metadata.SetU32("n", 7);
  metadata.SetU64("big", uint64_t{1} << 40);
  metadata.SetF32("eps", 0.25f);
  metadata.SetBool("flag", true);
  metadata.SetStrings("words", {"a", "", "ccc"});
  metadata.SetI32s("types", {1, -2});
  metadata.SetU32("n", 8);
  metadata.SetU32("gone", 1);
  metadata.Remove("gone");
  auto writer = GgufWriter::Create(path_, metadata, TwoTensors());
  ASSERT_TRUE(writer.ok()) << writer.status();
  const auto odd = Bytes(36, 0), blocks = Bytes(72, 100);
  EXPECT_TRUE((*writer)->Append(odd).ok());
  EXPECT_TRUE((*writer)->Append(std::span(blocks).first(50)).ok());  // in pieces
  EXPECT_TRUE((*writer)->Append(std::span(blocks).subspan(50)).ok());
  EXPECT_FALSE(std::filesystem::exists(path_));
  EXPECT_TRUE((*writer)->Finish().ok());

  const auto file = GgufFile::Open(path_);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->file_bytes(), (*writer)->file_bytes());
  EXPECT_EQ(*(*file)->GetString("general.architecture"), "llama");
  EXPECT_EQ(*(*file)->GetInt("n"), 8);
  EXPECT_EQ(*(*file)->GetInt("big"), int64_t{1} << 40);
  EXPECT_EQ(*(*file)->GetDouble("eps"), 0.25);
  EXPECT_TRUE(*(*file)->GetBoolOr("flag", false));
  EXPECT_THAT(**(*file)->FindStrings("words"), ElementsAre("a", "", "ccc"));
  EXPECT_THAT(**(*file)->FindInts("types"), ElementsAre(1, -2));
  EXPECT_EQ((*file)->metadata().size(), 7u);
  const GgufTensor* tensor = (*file)->FindTensor("blocks");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->type, DType::kQ4_0);
  EXPECT_THAT(tensor->dims, ElementsAre(64, 2));
  EXPECT_TRUE(std::equal(blocks.begin(), blocks.end(), tensor->data.begin(), tensor->data.end()));
  EXPECT_EQ(std::memcmp((*file)->FindTensor("odd")->data.data(), odd.data(), odd.size()), 0);
  EXPECT_THAT(FilesIn(files_.root()), ElementsAre("out.gguf"));
}

TEST_F(GgufWriterTest, CopiedMetadataKeepsTypesAndOrder) {
  GgufTestWriter source;
  source.I32("z.int", -7);
  source.U64("big", 1);
  source.Raw("byte", 0, "\x05");
  source.Strings("words", {"x", "yy"});
  source.Numbers<float>("floats", 6, {1.5f});
  source.U32("general.alignment", 64);
  source.U32("general.file_type", 1);
  const std::string text = source.Build();
  const auto parsed = GgufFile::Parse(BytesOf(text), "x.gguf");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  GgufMetadata copy = GgufMetadata::CopyOf(**parsed);

  GgufTestWriter want;
  want.I32("z.int", -7);
  want.U64("big", 1);
  want.Raw("byte", 0, "\x05");
  want.Strings("words", {"x", "yy"});
  want.Numbers<float>("floats", 6, {1.5f});
  want.U32("general.file_type", 2);
  copy.SetU32("general.file_type", 2);
  const std::string header = want.Build();
  EXPECT_EQ(copy.Encode(), header.substr(24));  // behind magic, version and counts
  EXPECT_EQ(copy.size(), 6u);
}

TEST_F(GgufWriterTest, NothingStaysOfAFileThatWasNotFinished) {
  {
    auto writer = GgufWriter::Create(path_, GgufMetadata(), TwoTensors());
    ASSERT_TRUE(writer.ok()) << writer.status();
    EXPECT_TRUE((*writer)->Append(Bytes(36, 0)).ok());
  }
  EXPECT_THAT(FilesIn(files_.root()), IsEmpty());
}

TEST_F(GgufWriterTest, AFileThatIsThereStaysUntilFinish) {
  files_.Write("out.gguf", "before");
  auto writer = GgufWriter::Create(path_, GgufMetadata(), {{"t", DType::kF32, {1}}});
  ASSERT_TRUE(writer.ok()) << writer.status();
  EXPECT_TRUE((*writer)->Append(Bytes(4, 0)).ok());
  EXPECT_EQ(*base::ReadFile(path_), "before");
  EXPECT_TRUE((*writer)->Finish().ok());
  EXPECT_EQ((*GgufFile::Open(path_))->tensors().size(), 1u);
}

TEST_F(GgufWriterTest, WhereItCannotWriteItSaysSo) {
  const auto status = [](const std::string& path) {
    return GgufWriter::Create(path, GgufMetadata(), {{"t", DType::kF32, {1}}}).status();
  };
  const std::string missing = files_.Path("no/such/folder/out.gguf");
  EXPECT_EQ(status(missing).code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status(missing).message()), HasSubstr(missing));
  EXPECT_EQ(status(files_.root()).code(), absl::StatusCode::kInvalidArgument);
}

// A limit on file sizes stands for a full disk: both show when space is reserved, or when bytes are written.
TEST_F(GgufWriterTest, WithoutRoomItFailsAtOnceAndLeavesNothing) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 4096;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto writer = GgufWriter::Create(path_, GgufMetadata(), {{"t", DType::kF32, {1 << 20}}});
  absl::Status status = writer.status();
  if (writer.ok()) status = (*writer)->Append(Bytes(4 << 20, 0));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(path_));
  if (!writer.ok()) {
    EXPECT_THAT(FilesIn(files_.root()), IsEmpty());
  }
}

}  // namespace
}  // namespace linnet::worker
