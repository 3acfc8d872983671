#include "worker/gguf/gguf_outline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/memory.h"
#include "base/testing.h"

namespace linnet::worker {
namespace {

using kernels::DType;

TEST(GgufOutline, IsTheFileThatTheWriterWrites) {
  const base::FileTree files;
  GgufMetadata metadata;
  metadata.SetString("general.architecture", "llama");
  const std::vector<GgufTensorPlan> tensors = {{"odd", DType::kF32, {3, 3}}, {"blocks", DType::kQ4_0, {64, 2}}};
  const auto outline = GgufOutline::Create("an outline", metadata, tensors);
  ASSERT_TRUE(outline.ok()) << outline.status();
  const std::string path = files.Path("written.gguf");
  auto writer = *GgufWriter::Create(path, metadata, tensors);
  ASSERT_TRUE(writer->Append(std::vector<std::byte>(36)).ok());
  ASSERT_TRUE(writer->Append(std::vector<std::byte>(72)).ok());
  ASSERT_TRUE(writer->Finish().ok());
  const auto written = *GgufFile::Open(path);
  const GgufFile& file = (*outline)->file();
  EXPECT_EQ(file.path(), "an outline");
  ASSERT_EQ(file.file_bytes(), written->file_bytes());
  EXPECT_TRUE(std::equal(file.bytes().begin(), file.bytes().end(), written->bytes().begin()));
  EXPECT_EQ(*file.GetString("general.architecture"), "llama");
}

TEST(GgufOutline, TakesNoMemoryForItsData) {
  const uint64_t before = base::ReadProcessMemory().resident_bytes;
  std::vector<GgufTensorPlan> tensors;
  for (int i = 0; i < 64; ++i) tensors.push_back({"t" + std::to_string(i), DType::kF16, {8192, 32768}});
  const auto outline = GgufOutline::Create("large", {}, tensors);  // 32 GiB
  ASSERT_TRUE(outline.ok()) << outline.status();
  EXPECT_EQ((*outline)->file().FindTensor("t63")->data.size(), size_t{1} << 29);
  EXPECT_LT(base::ReadProcessMemory().resident_bytes, before + (uint64_t{16} << 20));
}

TEST(GgufOutline, HoldsTheDataThatAreGiven) {
  const std::vector<float> factors = {1, 2, 4};
  const auto outline = GgufOutline::Create(
      "o", {}, {{"large", DType::kF16, {4096, 4096}}, {"factors", DType::kF32, {3}}, {"next", DType::kF32, {1}}},
      {{"factors", std::as_bytes(std::span(factors))}});
  ASSERT_TRUE(outline.ok()) << outline.status();
  const auto data = (*outline)->file().FindTensor("factors")->data;
  EXPECT_EQ(std::memcmp(data.data(), factors.data(), data.size()), 0);
  EXPECT_EQ((*outline)->file().FindTensor("large")->data.back(), std::byte{0});
  EXPECT_EQ((*outline)->file().FindTensor("next")->data[0], std::byte{0});
}

TEST(GgufOutline, WhatIsNoGgufFileIsRefused) {
  EXPECT_EQ(GgufOutline::Create("twice", {}, {{"a", DType::kF32, {1}}, {"a", DType::kF32, {1}}}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace linnet::worker
