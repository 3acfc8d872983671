#include "tools/linnet/lineage.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "base/strings.h"
#include "base/utf8.h"
#include "registry/catalog/model_catalog.h"
#include "tools/linnet/command.h"

namespace linnet::cli {
namespace {

namespace v1 = registry::v1;

constexpr size_t kMaxTextBytes = 256;  // as the registry takes them
constexpr int64_t kMaxListed = 64;

std::string Bounded(std::string_view text) { return base::BoundedUtf8(text, kMaxTextBytes); }

std::string TextOr(const worker::GgufFile& file, std::string_view key) {
  const auto value = file.GetStringOr(key, "");
  return value.ok() ? Bounded(*value) : "";
}

// What "general.base_model.3" or "general.dataset.0" names: its repository, else organization and name.
std::string Mentioned(const worker::GgufFile& file, const std::string& prefix) {
  if (std::string url = TextOr(file, prefix + ".repo_url"); !url.empty()) return ModelReferenceFrom(url);
  const std::string name = TextOr(file, prefix + ".name"), organization = TextOr(file, prefix + ".organization");
  if (name.empty() || organization.empty() || name.find('/') != std::string::npos) return name;
  return Bounded(base::StrCat(organization, "/", name));
}

int64_t CountOr(const worker::GgufFile& file, std::string_view key, int64_t fallback) {
  const auto count = file.GetIntOr(key, fallback);
  return count.ok() ? std::clamp<int64_t>(*count, 0, kMaxListed) : 0;
}

// "linnet.prune.*", as written by `linnet variant prune`.
void ReadPruning(const worker::GgufFile& file, v1::Lineage* lineage) {
  const std::string method = TextOr(file, "linnet.prune.method");
  if (method.empty()) return;
  lineage->set_pruned_from(TextOr(file, "linnet.prune.source"));
  lineage->mutable_pruning()->set_method(method);
  lineage->mutable_pruning()->set_calibration(TextOr(file, "linnet.prune.calibration"));
  const auto read = [&](std::string_view key, auto add) {
    const auto widths = file.FindInts(key);
    if (!widths.ok() || *widths == nullptr || (*widths)->size() > 512) return;
    for (const int64_t width : **widths) add(static_cast<uint32_t>(std::clamp<int64_t>(width, 0, 1 << 24)));
  };
  read("linnet.prune.ffn_widths", [&](uint32_t w) { lineage->mutable_pruning()->add_ffn_widths(w); });
  read("linnet.prune.kv_heads", [&](uint32_t w) { lineage->mutable_pruning()->add_kv_heads(w); });
}

// Its list of names, "" alone meaning none.
std::vector<std::string> Given(const std::vector<std::string>& typed) {
  std::vector<std::string> names;
  for (const std::string& name : typed) {
    if (std::string trimmed = ModelReferenceFrom(name); !trimmed.empty()) names.push_back(std::move(trimmed));
  }
  return names;
}

absl::Status CheckLength(std::string_view flag, const std::string& text) {
  if (text.size() <= kMaxTextBytes) return absl::OkStatus();
  return UsageError(base::StrCat(flag, " has ", text.size(), " bytes; at most ", kMaxTextBytes, " are kept"));
}

}  // namespace

std::string ModelReferenceFrom(std::string_view text) {
  std::string_view name = base::ToStd(absl::StripAsciiWhitespace(base::ToAbsl(text)));
  for (const std::string_view host : {"https://huggingface.co/", "http://huggingface.co/", "https://hf.co/"}) {
    if (!name.starts_with(host)) continue;
    name.remove_prefix(host.size());
    if (name.starts_with("datasets/")) name.remove_prefix(9);
    while (name.ends_with('/')) name.remove_suffix(1);
  }
  return std::string(name);
}

void AddDataset(const catalog::v1::Catalog& catalog, std::string_view name, v1::Lineage* lineage) {
  const std::string id = registry::DatasetId(catalog, Bounded(ModelReferenceFrom(name)));
  const auto& have = lineage->datasets();
  if (id.empty() || lineage->datasets_size() == kMaxListed || std::find(have.begin(), have.end(), id) != have.end()) {
    return;
  }
  lineage->add_datasets(id);
}

Origin OriginOfFile(const worker::GgufFile& file, const catalog::v1::Catalog& catalog) {
  Origin origin;
  origin.license = TextOr(file, "general.license");
  if (const std::string name = TextOr(file, "general.license.name"); origin.license == "other" && !name.empty()) {
    origin.license = name;
  }
  v1::Lineage& lineage = origin.lineage;
  // Files of before the count name one.
  const int64_t bases = CountOr(file, "general.base_model.count", 1);
  for (int64_t i = 0; i < bases; ++i) {
    std::string name = Mentioned(file, base::StrCat("general.base_model.", i));
    if (name.empty()) continue;
    if (lineage.base_model().empty()) {
      lineage.set_base_model(std::move(name));
    } else {
      lineage.add_merged_models(std::move(name));
    }
  }
  if (lineage.merged_models_size() > 0) lineage.set_base_model_relation("merge");
  const int64_t datasets = CountOr(file, "general.dataset.count", 0);
  for (int64_t i = 0; i < datasets; ++i) {
    AddDataset(catalog, Mentioned(file, base::StrCat("general.dataset.", i)), &lineage);
  }
  if (const auto names = file.FindStrings("general.datasets"); names.ok() && *names != nullptr) {
    for (const std::string_view name : **names) AddDataset(catalog, name, &lineage);
  }
  ReadPruning(file, &lineage);
  return origin;
}

void FillIn(const Origin& more, Origin* origin) {
  if (origin->license.empty() || (origin->license == "other" && !more.license.empty())) origin->license = more.license;
  const v1::Lineage& from = more.lineage;
  v1::Lineage& to = origin->lineage;
  if (to.base_model().empty()) {
    to.set_base_model(from.base_model());
    to.set_base_model_relation(from.base_model_relation());
    *to.mutable_merged_models() = from.merged_models();
  } else if (to.base_model_relation().empty() && to.base_model() == from.base_model()) {
    to.set_base_model_relation(from.base_model_relation());
  }
  if (to.teacher_model().empty()) to.set_teacher_model(from.teacher_model());
  if (to.pruned_from().empty()) to.set_pruned_from(from.pruned_from());
  if (to.datasets().empty()) *to.mutable_datasets() = from.datasets();
}

bool OriginOptions::any() const {
  return license || base_model || base_model_relation || teacher || pruned_from || datasets || merged_models;
}

absl::StatusOr<std::vector<std::string>> OriginOptions::ApplyTo(const catalog::v1::Catalog& catalog,
                                                                v1::Model* model) const {
  std::vector<std::string> touched;
  absl::Status status;
  v1::Lineage* const lineage = model->mutable_lineage();
  const auto set = [&](const std::optional<std::string>& given, std::string_view flag, const char* field, auto setter) {
    if (!given.has_value()) return;
    const std::string value = ModelReferenceFrom(*given);
    status.Update(CheckLength(flag, value));
    setter(value);
    touched.emplace_back(field);
  };
  set(license, "--license", "license", [&](const auto& v) { model->set_license(v); });
  set(base_model, "--base-model", "lineage.base_model", [&](const auto& v) { lineage->set_base_model(v); });
  set(base_model_relation, "--base-model-relation", "lineage.base_model_relation",
      [&](const auto& v) { lineage->set_base_model_relation(v); });
  set(teacher, "--teacher", "lineage.teacher_model", [&](const auto& v) { lineage->set_teacher_model(v); });
  set(pruned_from, "--pruned-from", "lineage.pruned_from", [&](const auto& v) { lineage->set_pruned_from(v); });
  if (datasets.has_value()) {
    lineage->clear_datasets();
    for (const std::string& name : Given(*datasets)) {
      status.Update(CheckLength("--dataset", name));
      AddDataset(catalog, name, lineage);
    }
    touched.emplace_back("lineage.datasets");
  }
  if (merged_models.has_value()) {
    lineage->clear_merged_models();
    for (const std::string& name : Given(*merged_models)) {
      status.Update(CheckLength("--merged-model", name));
      lineage->add_merged_models(name);
    }
    touched.emplace_back("lineage.merged_models");
  }
  if (!status.ok()) return status;
  return touched;
}

void AddOriginOptions(CLI::App* command, OriginOptions& options) {
  command->add_option("--license", options.license, "licence, as SPDX names it: apache-2.0");
  command->add_option("--base-model", options.base_model,
                      "the model that it was trained on from: one of the registry, or a repository");
  command->add_option("--base-model-relation", options.base_model_relation, "finetune, merge, adapter or quantized");
  command->add_option("--merged-model", options.merged_models, "another model of a merge; several times for several")
      ->allow_extra_args(false);
  command->add_option("--teacher", options.teacher, "the model that it was distilled from");
  command->add_option("--pruned-from", options.pruned_from, "the larger model that it was made of");
  command->add_option("--dataset", options.datasets, "training data: fineweb-edu, dclm, ...; several times for several")
      ->allow_extra_args(false);
}

}  // namespace linnet::cli
