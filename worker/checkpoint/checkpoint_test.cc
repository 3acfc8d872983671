#include "worker/checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/testing.h"
#include "worker/checkpoint/checkpoint_test_writer.h"

namespace linnet::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string With(const std::vector<std::string>& names) {
  SafetensorsTestWriter writer;
  for (const std::string& name : names) writer.Add(name, {1}, {1});
  return writer.Build();
}

class CheckpointTest : public ::testing::Test {
 protected:
  std::string Complaint() {
    const absl::Status status = Checkpoint::Open(tree_.root()).status();
    EXPECT_EQ(base::ErrorReason(status), "INVALID_MODEL_FILE");
    return std::string(status.message());
  }
  base::FileTree tree_;
};

TEST_F(CheckpointTest, OneFileOrManyWithAnIndex) {
  tree_.Write("model.safetensors", With({"a", "b"}));
  EXPECT_EQ((*Checkpoint::Open(tree_.root()))->tensors().size(), 2u);
  tree_.Write("m-1.safetensors", With({"a"}));
  tree_.Write("m-2.safetensors", With({"b", "c"}));
  tree_.Write("model.safetensors.index.json",
              R"({"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors", "c": "m-2.safetensors"}})");
  const auto checkpoint = *Checkpoint::Open(tree_.root());
  EXPECT_EQ(checkpoint->tensors().size(), 3u);
  EXPECT_THAT(checkpoint->tensors().at("c").file->path(), HasSubstr("m-2.safetensors"));
}

TEST_F(CheckpointTest, AnIndexThatIsNotTrue) {
  tree_.Write("m-1.safetensors", With({"a", "x"}));
  tree_.Write("m-2.safetensors", With({"b"}));
  tree_.Write("model.safetensors.index.json", R"({"weight_map": {"a": "m-2.safetensors", "b": "m-2.safetensors",
                                                                 "c": "m-1.safetensors"}})");
  EXPECT_THAT(Complaint(), AllOf(HasSubstr("tensor \"a\" is not in m-2.safetensors"),
                                 HasSubstr("tensor \"c\" is not in m-1.safetensors"),
                                 HasSubstr("tensor \"x\" is not in model.safetensors.index.json")));
  tree_.Write("model.safetensors.index.json",
              R"({"weight_map": {"a": "m-1.safetensors", "b": "m-3.safetensors", "c": "m-4.safetensors"}})");
  EXPECT_THAT(Complaint(), HasSubstr("names are missing: m-3.safetensors, m-4.safetensors; download them"));
  tree_.Write("model.safetensors.index.json", R"({"weight_map": {"a": "../m-1.safetensors"}})");
  EXPECT_THAT(Complaint(), HasSubstr("no file of this folder"));
  tree_.Write("model.safetensors.index.json", R"({"weights": {}})");
  EXPECT_THAT(Complaint(), HasSubstr("has no weight_map object"));
}

TEST_F(CheckpointTest, ATensorInTwoFiles) {
  tree_.Write("m-1.safetensors", With({"a"}));
  tree_.Write("m-2.safetensors", With({"a", "b"}));
  tree_.Write("model.safetensors.index.json", R"({"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}})");
  EXPECT_THAT(Complaint(), HasSubstr("tensor \"a\" is both in"));
}

TEST_F(CheckpointTest, PickledWeightsAreRefusedWithTheRemedy) {
  tree_.Write("config.json", "{}");
  EXPECT_THAT(Complaint(), HasSubstr("there is no model.safetensors"));
  tree_.Write("pytorch_model-00001-of-00002.bin", "PK");
  EXPECT_THAT(Complaint(),
              AllOf(HasSubstr("pickled (pytorch_model-00001-of-00002.bin)"), HasSubstr("save_pretrained")));
}

TEST_F(CheckpointTest, AFolderWithAConfigIsOne) {
  EXPECT_FALSE(IsCheckpoint(tree_.root()));
  const std::string config = tree_.Write("config.json", "{}");
  EXPECT_TRUE(IsCheckpoint(tree_.root()));
  EXPECT_FALSE(IsCheckpoint(config));
  EXPECT_EQ(Checkpoint::Open(tree_.Path("none")).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace linnet::worker
