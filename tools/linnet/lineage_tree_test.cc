#include "tools/linnet/lineage_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/strings.h"
#include "registry/catalog/model_catalog.h"

namespace linnet::cli {
namespace {

namespace v1 = registry::v1;
using ::testing::HasSubstr;

v1::Model Model(const std::string& id, const std::function<void(v1::Lineage&)>& lineage = {}) {
  v1::Model model;
  model.set_name("models/" + id);
  model.set_license("mit");
  if (lineage) lineage(*model.mutable_lineage());
  return model;
}

std::string Draw(const std::vector<v1::Model>& models, const std::string& id) {
  static const auto* const catalog = new catalog::v1::Catalog(*registry::BuiltinModels());
  for (const v1::Model& model : models) {
    if (model.name() == "models/" + id) return DrawLineage(BuildLineage(model, models, *catalog));
  }
  ADD_FAILURE() << id;
  return "";
}

TEST(LineageTree, AncestorsAndDescendants) {
  const std::vector<v1::Model> models = {
      Model("base", [](auto& l) { l.add_datasets("fineweb-edu"); }),
      Model("tuned", [](auto& l) { l.set_base_model("models/base"); }),
      Model("small",
            [](auto& l) {
              l.set_pruned_from("tuned");
              l.set_teacher_model("elsewhere/teacher");
              l.mutable_pruning()->set_method("activations");
              l.mutable_pruning()->add_ffn_widths(64);
              l.mutable_pruning()->add_ffn_widths(96);
            }),
      Model("smaller", [](auto& l) { l.set_pruned_from("small"); }),
  };
  EXPECT_EQ(Draw(models, "small"),
            "small  (mit; activations, FFN of 64 to 96)\n"
            "├── pruned from tuned  (mit)\n"
            "│   └── base model base  (mit; trained on fineweb-edu)\n"
            "└── teacher elsewhere/teacher  (not in the registry)\n"
            "\n"
            "made from it\n"
            "└── pruned from smaller  (mit)\n");
  EXPECT_THAT(Draw(models, "base"), HasSubstr("nothing is known of where it comes from\n\nmade from it\n"
                                              "└── base model tuned  (mit)\n"
                                              "    └── pruned from small"));
}

TEST(LineageTree, GoesOnInTheCatalogue) {
  const std::string drawn = Draw({Model("mine", [](auto& l) { l.set_base_model("meta-llama/Llama-3.2-1B"); })}, "mine");
  EXPECT_THAT(drawn, HasSubstr("└── base model llama-3.2-1b  (of the catalogue, not in the registry; llama3.2)"));
  EXPECT_THAT(drawn, HasSubstr("    ├── pruned from llama-3.1-8b"));
  EXPECT_THAT(drawn, HasSubstr("    └── teacher meta-llama/Llama-3.1-70B  (not in the registry)"));
}

TEST(LineageTree, AModelOfTheRegistryIsKnownByItsRepositoryToo) {
  const std::vector<v1::Model> models = {
      Model("smollm2-135m"), Model("mine", [](auto& l) { l.set_base_model("HuggingFaceTB/SmolLM2-135M"); })};
  EXPECT_THAT(Draw(models, "mine"), HasSubstr("└── base model smollm2-135m  (mit)"));
  EXPECT_THAT(Draw(models, "smollm2-135m"), HasSubstr("└── base model mine"));
}

TEST(LineageTree, CirclesEnd) {
  const std::vector<v1::Model> models = {Model("a", [](auto& l) { l.set_base_model("b"); }), Model("b", [](auto& l) {
                                           l.set_base_model("a");
                                           l.set_teacher_model("b");
                                         })};
  EXPECT_EQ(Draw(models, "a"),
            "a  (mit)\n"
            "└── base model b  (mit)\n"
            "    ├── base model a  (see above)\n"
            "    └── teacher b  (see above)\n"
            "\n"
            "made from it\n"
            "└── base model b  (mit)\n"
            "    ├── base model a  (see above)\n"
            "    └── teacher b  (see above)\n");
}

TEST(LineageTree, PathsThatMeetAreDrawnOnce) {
  // 2^40 paths from the top to the bottom.
  std::vector<v1::Model> models;
  for (int i = 0; i < 40; ++i) {
    models.push_back(Model(base::StrCat("m", i), [&](auto& l) {
      l.set_base_model(base::StrCat("m", i + 1));
      l.set_teacher_model(base::StrCat("m", i + 1));
    }));
  }
  models.push_back(Model("m40"));
  const std::string drawn = Draw(models, "m0");
  EXPECT_LT(drawn.size(), 40 * 600);
  EXPECT_THAT(drawn, HasSubstr("teacher m40  (see above)"));
}

TEST(LineageTree, LongChainsEnd) {
  std::vector<v1::Model> models;
  for (int i = 0; i < 5000; ++i) {
    models.push_back(Model(base::StrCat("m", i), [&](auto& l) { l.set_base_model(base::StrCat("m", i + 1)); }));
  }
  const std::string drawn = Draw(models, "m0");
  EXPECT_THAT(drawn, HasSubstr("base model m50"));
  EXPECT_EQ(drawn.find("base model m500"), std::string::npos);
}

TEST(LineageTree, AsJson) {
  const std::vector<v1::Model> models = {Model("base"), Model("tuned", [](auto& l) { l.set_base_model("base"); })};
  const auto catalog = *registry::BuiltinModels();
  const auto json = LineageToJson(BuildLineage(models[1], models, catalog));
  EXPECT_EQ(json["model"], "tuned");
  EXPECT_EQ(json["ancestors"][0]["model"], "base");
  EXPECT_EQ(json["ancestors"][0]["relation"], "base model");
  EXPECT_EQ(json["ancestors"][0]["known_to"], "registry");
  EXPECT_EQ(LineageToJson(BuildLineage(models[0], models, catalog))["descendants"][0]["model"], "tuned");
}

}  // namespace
}  // namespace linnet::cli
