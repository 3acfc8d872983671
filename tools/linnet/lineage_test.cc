#include "tools/linnet/lineage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/testing.h"
#include "registry/catalog/model_catalog.h"
#include "tools/linnet/model_card.h"
#include "worker/gguf/gguf_test_writer.h"

namespace linnet::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const catalog::v1::Catalog& Known() {
  static const auto* const catalog = new catalog::v1::Catalog(*registry::BuiltinModels());
  return *catalog;
}

Origin OriginOf(const std::function<void(worker::GgufTestWriter&)>& metadata) {
  worker::GgufTestWriter writer;
  metadata(writer);
  const std::string content = writer.Build();
  const auto file = worker::GgufFile::Parse(worker::BytesOf(content), "m.gguf");
  EXPECT_TRUE(file.ok()) << file.status();
  return OriginOfFile(**file, Known());
}

Origin Card(const std::string& yaml) {
  const auto origin = ParseModelCard("---\n" + yaml + "---\n# A model\n", "README.md", Known());
  EXPECT_TRUE(origin.ok()) << origin.status();
  return *origin;
}

TEST(OriginOfFile, ReadsWhatConvertersWrite) {
  const Origin origin = OriginOf([](auto& w) {
    w.String("general.license", "apache-2.0");
    w.U32("general.base_model.count", 1);
    w.String("general.base_model.0.name", "SmolLM2 135M");
    w.String("general.base_model.0.organization", "HuggingFaceTB");
    w.String("general.base_model.0.repo_url", "https://huggingface.co/HuggingFaceTB/SmolLM2-135M");
    w.U32("general.dataset.count", 2);
    w.String("general.dataset.0.name", "Fineweb Edu");
    w.String("general.dataset.0.repo_url", "https://huggingface.co/datasets/HuggingFaceFW/fineweb-edu");
    w.String("general.dataset.1.name", "My Data");
    w.String("general.dataset.1.organization", "me");
    w.Strings("general.datasets", {"mlfoundations/dclm-baseline-1.0", "HuggingFaceFW/fineweb-edu"});
  });
  EXPECT_EQ(origin.license, "apache-2.0");
  EXPECT_EQ(origin.lineage.base_model(), "HuggingFaceTB/SmolLM2-135M");
  EXPECT_EQ(origin.lineage.base_model_relation(), "");
  EXPECT_THAT(origin.lineage.datasets(), ElementsAre("fineweb-edu", "me/My Data", "dclm"));
}

TEST(OriginOfFile, SeveralBaseModelsAreAMerge) {
  const Origin origin = OriginOf([](auto& w) {
    w.U32("general.base_model.count", 2);
    w.String("general.base_model.0.name", "a");
    w.String("general.base_model.1.name", "b");
    w.String("general.base_model.1.organization", "org");
  });
  EXPECT_EQ(origin.lineage.base_model(), "a");
  EXPECT_THAT(origin.lineage.merged_models(), ElementsAre("org/b"));
  EXPECT_EQ(origin.lineage.base_model_relation(), "merge");
}

TEST(OriginOfFile, NothingIsNoErrorAndTextsAreBounded) {
  EXPECT_EQ(OriginOf([](auto&) {}).lineage.ByteSizeLong(), 0);
  const Origin hostile = OriginOf([](auto& w) {
    w.U32("general.base_model.count", 4000000000);
    w.String("general.base_model.0.name", std::string(100000, 'x'));
    w.String("general.license", std::string(100000, 'y'));
    w.Strings("general.datasets", std::vector<std::string>(1000, "d"));
  });
  EXPECT_LE(hostile.lineage.base_model().size(), 256);
  EXPECT_LE(hostile.license.size(), 256);
  EXPECT_EQ(hostile.lineage.datasets_size(), 1);
}

TEST(OriginOfFile, ReadsWhatPruningWrote) {
  const Origin origin = OriginOf([](auto& w) {
    w.String("linnet.prune.method", "activations");
    w.String("linnet.prune.source", "smollm2-135m");
    w.I32s("linnet.prune.ffn_widths", {96, 64});
    w.I32s("linnet.prune.kv_heads", {2, 2});
  });
  EXPECT_EQ(origin.lineage.pruned_from(), "smollm2-135m");
  EXPECT_EQ(origin.lineage.pruning().method(), "activations");
  EXPECT_THAT(origin.lineage.pruning().ffn_widths(), ElementsAre(96, 64));
}

TEST(ModelCard, FrontMatterIsRead) {
  const Origin origin = Card(
      "license: apache-2.0\n"
      "base_model:\n- HuggingFaceTB/SmolLM2-135M\n"
      "base_model_relation: finetune\n"
      "datasets:\n  - HuggingFaceFW/fineweb-edu\n  - EleutherAI/pile\n  - \"me/mine\"\n"
      "language: [en, de]\n");
  EXPECT_EQ(origin.license, "apache-2.0");
  EXPECT_EQ(origin.lineage.base_model(), "HuggingFaceTB/SmolLM2-135M");
  EXPECT_EQ(origin.lineage.base_model_relation(), "finetune");
  EXPECT_THAT(origin.lineage.datasets(), ElementsAre("fineweb-edu", "pile", "me/mine"));
}

TEST(ModelCard, NamesOfOtherLicencesAndSingleValues) {
  const Origin origin = Card("license: other\nlicense_name: gemma\nbase_model: google/gemma-2b\ndatasets: c4\n");
  EXPECT_EQ(origin.license, "gemma");
  EXPECT_EQ(origin.lineage.base_model(), "google/gemma-2b");
  EXPECT_THAT(origin.lineage.datasets(), ElementsAre("c4"));
}

TEST(ModelCard, WithoutFrontMatterItSaysNothing) {
  for (const std::string text : {"", "# Title\n---\nlicense: mit\n---\n", "---\nlicense: mit\n", "---\n---\n"}) {
    const auto origin = ParseModelCard(text, "README.md", Known());
    ASSERT_TRUE(origin.ok()) << text;
    EXPECT_EQ(origin->license, "") << text;
  }
  const base::FileTree files;
  EXPECT_TRUE(ReadModelCard(files.root(), Known()).ok()) << "a folder without a card";
}

TEST(ModelCard, LinesOfWindowsAndFoldersAreRead) {
  base::FileTree files;
  files.Write("README.md", "---\r\nlicense: mit\r\n---\r\n");
  EXPECT_EQ(ReadModelCard(files.root(), Known())->license, "mit");
  EXPECT_EQ(ReadModelCard(files.Path("README.md"), Known())->license, "mit");
  EXPECT_EQ(ReadModelCard(files.Path("none.md"), Known()).status().code(), absl::StatusCode::kNotFound);
}

TEST(ModelCard, WhatIsBrokenIsNamedByItsLine) {
  const auto broken = ParseModelCard("---\nlicense: mit\nbase_model: [a\n---\n", "README.md", Known());
  EXPECT_EQ(base::ErrorReason(broken.status()), "INVALID_FIELD");
  EXPECT_THAT(std::string(broken.status().message()), HasSubstr("README.md: line "));
  for (const std::string& yaml :
       {std::string("- a\n- b\n"), "a: " + std::string(70000, 'x') + "\n", std::string(20000, '[') + "\n"}) {
    EXPECT_FALSE(ParseModelCard("---\n" + yaml + "---\n", "README.md", Known()).ok()) << yaml.substr(0, 20);
  }
  // Texts where something else stands are left out.
  EXPECT_THAT(Card("base_model: {a: b}\ndatasets:\n- {c: d}\n- [e]\n").lineage.datasets(), IsEmpty());
}

TEST(FillIn, WhatIsKnownStays) {
  Origin origin = {.license = "mit"};
  origin.lineage.set_base_model("a");
  Origin more = {.license = "other"};
  more.lineage.set_base_model("b");
  more.lineage.set_teacher_model("t");
  more.lineage.add_datasets("c4");
  FillIn(more, &origin);
  EXPECT_EQ(origin.license, "mit");
  EXPECT_EQ(origin.lineage.base_model(), "a");
  EXPECT_EQ(origin.lineage.teacher_model(), "t");
  EXPECT_THAT(origin.lineage.datasets(), ElementsAre("c4"));
}

TEST(OriginOptions, OverridesWhatIsGivenAlsoWithNothing) {
  registry::v1::Model model;
  model.set_license("mit");
  model.mutable_lineage()->set_teacher_model("t");
  model.mutable_lineage()->add_datasets("c4");
  OriginOptions options;
  EXPECT_FALSE(options.any());
  options.teacher = "";
  options.base_model = " https://huggingface.co/org/base/ ";
  options.datasets = std::vector<std::string>{"The Pile", "FineWeb-Edu", "pile"};
  EXPECT_TRUE(options.any());
  const auto touched = options.ApplyTo(Known(), &model);
  ASSERT_TRUE(touched.ok()) << touched.status();
  EXPECT_THAT(*touched, ElementsAre("lineage.base_model", "lineage.teacher_model", "lineage.datasets"));
  EXPECT_EQ(model.license(), "mit");
  EXPECT_EQ(model.lineage().teacher_model(), "");
  EXPECT_EQ(model.lineage().base_model(), "org/base");
  EXPECT_THAT(model.lineage().datasets(), ElementsAre("pile", "fineweb-edu"));
  options.license = std::string(300, 'x');
  EXPECT_THAT(std::string(options.ApplyTo(Known(), &model).status().message()), HasSubstr("--license has 300 bytes"));
}

}  // namespace
}  // namespace linnet::cli
