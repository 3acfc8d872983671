#include "registry/catalog/model_catalog.h"

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "base/nearest.h"
#include "base/strings.h"

namespace linnet::registry {

extern const char kModelCatalog[];  // generated

namespace {

using catalog::v1::Catalog;
using catalog::v1::Model;

std::vector<std::string> NamesOf(const Model& model) {
  std::vector<std::string> names = {model.id()};
  names.insert(names.end(), model.aliases().begin(), model.aliases().end());
  names.push_back(model.repository());
  for (std::string& name : names) absl::AsciiStrToLower(&name);
  return names;
}

bool OneOrEach(int values, uint32_t layers) { return values == 1 || values == static_cast<int>(layers); }

// What everything that reads an entry relies on; "": nothing is wrong.
std::string WhatIsWrong(const Model& model) {
  if (model.id().empty() || model.architecture().empty()) return "has no id or no architecture";
  if (model.layers() == 0 || model.model_dim() == 0 || model.vocab_size() == 0 || model.context_tokens() == 0 ||
      model.head_dim() == 0 || model.ffn() == catalog::v1::FFN_KIND_UNSPECIFIED) {
    return "lacks a part of its shape";
  }
  for (const auto* values : {&model.query_heads(), &model.kv_heads(), &model.ffn_dim()}) {
    if (!OneOrEach(values->size(), model.layers())) return "has lists of another length than its layers";
  }
  for (const std::string& field : model.unverified()) {
    if (Model::descriptor()->FindFieldByName(field) == nullptr) return "calls a field unverified that there is not";
  }
  return "";
}

}  // namespace

absl::StatusOr<Catalog> BuiltinModels() {
  Catalog catalog;
  if (!google::protobuf::TextFormat::ParseFromString(kModelCatalog, &catalog)) {
    return absl::InternalError("the built-in catalogue of models does not parse");
  }
  std::set<std::string> names;
  for (const Model& model : catalog.models()) {
    std::string wrong = WhatIsWrong(model);
    for (const std::string& name : NamesOf(model)) {
      if (!name.empty() && !names.insert(name).second) wrong = base::StrCat("has the name ", name, " of another");
    }
    if (!wrong.empty()) {
      return absl::InternalError(base::StrCat("the built-in catalogue of models: ", model.id(), " ", wrong));
    }
  }
  std::sort(catalog.mutable_models()->begin(), catalog.mutable_models()->end(),
            [](const Model& a, const Model& b) { return a.id() < b.id(); });
  return catalog;
}

const Model* FindModel(const Catalog& catalog, std::string_view name) {
  const std::string lower = absl::AsciiStrToLower(base::ToAbsl(name));
  for (const Model& model : catalog.models()) {
    const std::vector<std::string> names = NamesOf(model);
    if (!lower.empty() && std::find(names.begin(), names.end(), lower) != names.end()) return &model;
  }
  return nullptr;
}

std::vector<std::string> NearestModels(const Catalog& catalog, std::string_view name, size_t count) {
  const std::string lower = absl::AsciiStrToLower(base::ToAbsl(name));
  std::vector<std::pair<size_t, std::string>> near;
  for (const Model& model : catalog.models()) {
    size_t least = lower.size() / 3 + 2;  // more than that many typing mistakes are another word
    for (const std::string& known : NamesOf(model)) {
      size_t distance = base::EditDistance(lower, known);
      // "qwen2" means one of those that begin so; "zephyr", one that has it.
      if (lower.size() >= 3 && known.starts_with(lower)) distance = std::min<size_t>(distance, 1);
      if (lower.size() >= 3 && known.find(lower) != std::string::npos) distance = std::min<size_t>(distance, 2);
      least = std::min(least, distance);
    }
    if (least < lower.size() / 3 + 2) near.emplace_back(least, model.id());
  }
  std::sort(near.begin(), near.end());
  std::vector<std::string> ids;
  for (size_t i = 0; i < near.size() && i < count; ++i) ids.push_back(std::move(near[i].second));
  return ids;
}

std::string DatasetId(const Catalog& catalog, std::string_view name) {
  for (const catalog::v1::Dataset& dataset : catalog.datasets()) {
    if (absl::EqualsIgnoreCase(base::ToAbsl(name), dataset.id())) return dataset.id();
    for (const std::string& known : dataset.names()) {
      if (absl::EqualsIgnoreCase(base::ToAbsl(name), known)) return dataset.id();
    }
  }
  return std::string(name);
}

}  // namespace linnet::registry
