#include "registry/catalog/model_catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace linnet::registry {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ModelCatalogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto models = BuiltinModels();
    ASSERT_TRUE(models.ok()) << models.status();
    catalog_ = *std::move(models);
  }
  std::string IdOf(std::string_view name) const {
    const catalog::v1::Model* model = FindModel(catalog_, name);
    return model == nullptr ? "" : model->id();
  }
  catalog::v1::Catalog catalog_;
};

TEST_F(ModelCatalogTest, EveryModelSaysWhereItsFactsComeFrom) {
  EXPECT_GE(catalog_.models_size(), 90);
  for (const catalog::v1::Model& model : catalog_.models()) {
    EXPECT_TRUE(model.sources_size() > 0 || model.unverified_size() > 0) << model.id();
    EXPECT_FALSE(model.repository().empty()) << model.id();
  }
}

TEST_F(ModelCatalogTest, AModelIsFoundByAnyOfItsNames) {
  EXPECT_EQ(IdOf("phi-1.5"), "phi-1.5");
  EXPECT_EQ(IdOf("phi-1_5"), "phi-1.5");
  EXPECT_EQ(IdOf("Qwen/Qwen2-1.5B"), "qwen2-1.5b");
  EXPECT_EQ(IdOf("OpenELM-3B"), "openelm-3b");
  EXPECT_EQ(IdOf("openelm"), "");
  EXPECT_EQ(IdOf(""), "");
}

TEST_F(ModelCatalogTest, WhatWasMeantIsGuessed) {
  EXPECT_EQ(NearestModels(catalog_, "qwen2-1.5", 1), std::vector<std::string>{"qwen2-1.5b"});
  EXPECT_THAT(NearestModels(catalog_, "llama3.2-1b", 3), Contains("llama-3.2-1b"));
  EXPECT_THAT(NearestModels(catalog_, "openelm", 9),
              ElementsAre("openelm-1.1b", "openelm-270m", "openelm-3b", "openelm-450m"));
  EXPECT_THAT(NearestModels(catalog_, "a-model-that-nobody-has-made", 3), IsEmpty());
}

TEST_F(ModelCatalogTest, TrainingDataHaveOneName) {
  EXPECT_EQ(DatasetId(catalog_, "HuggingFaceFW/fineweb-edu"), "fineweb-edu");
  EXPECT_EQ(DatasetId(catalog_, "The Pile"), "pile");
  EXPECT_EQ(DatasetId(catalog_, "DCLM"), "dclm");
  EXPECT_EQ(DatasetId(catalog_, "somebody/something"), "somebody/something");
  std::set<std::string> names;
  for (const catalog::v1::Dataset& dataset : catalog_.datasets()) {
    EXPECT_TRUE(names.insert(dataset.id()).second) << dataset.id();
    for (const std::string& name : dataset.names()) EXPECT_TRUE(names.insert(name).second) << name;
  }
  for (const catalog::v1::Model& model : catalog_.models()) {
    for (const std::string& name : model.lineage().datasets()) {
      EXPECT_TRUE(names.contains(name)) << model.id() << ": " << name;
    }
  }
}

}  // namespace
}  // namespace linnet::registry
