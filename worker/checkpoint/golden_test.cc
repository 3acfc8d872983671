// The committed folders (tests/golden/make_tiny_checkpoints.py) become, byte for byte, what the committed GGUF files of
// the same models hold, whose logits tests/accuracy compares with Transformers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "base/testing.h"
#include "worker/checkpoint/convert.h"
#include "worker/gguf/gguf_file.h"

namespace linnet::worker {
namespace {

class GoldenCheckpoint : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenCheckpoint, BecomesTheCommittedFile) {
  base::FileTree tree;
  const auto report = ConvertCheckpoint("tests/golden/checkpoints/" + GetParam(), tree.Path("x.gguf"), {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->notes, ::testing::IsEmpty());
  const auto made = *GgufFile::Open(tree.Path("x.gguf"));
  const auto committed = *GgufFile::Open("tests/golden/tiny/" + GetParam() + ".gguf");
  for (const auto& [key, value] : committed->metadata()) {
    if (key == "general.name") continue;
    const auto found = made->metadata().find(key);
    ASSERT_NE(found, made->metadata().end()) << key;
    EXPECT_TRUE(found->second == value) << key;
  }
  EXPECT_THAT(std::string(*made->GetString("tokenizer.chat_template")), ::testing::HasSubstr("<|im_start|>"));
  EXPECT_EQ(made->tensors().size(), committed->tensors().size());
  for (const GgufTensor& want : committed->tensors()) {
    const GgufTensor* tensor = made->FindTensor(want.name);
    ASSERT_NE(tensor, nullptr) << want.name;
    EXPECT_EQ(tensor->type, want.type) << want.name;
    EXPECT_EQ(tensor->dims, want.dims) << want.name;
    EXPECT_TRUE(std::equal(tensor->data.begin(), tensor->data.end(), want.data.begin(), want.data.end())) << want.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, GoldenCheckpoint, ::testing::Values("granite", "gptneox"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace linnet::worker
