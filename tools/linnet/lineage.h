// Where a model comes from, as its file, its model card and people say.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "linnet/catalog/v1/catalog.pb.h"
#include "linnet/registry/v1/resources.pb.h"
#include "worker/gguf/gguf_file.h"

namespace linnet::cli {

// A licence and a lineage; what is not known is empty.
struct Origin {
  std::string license;
  registry::v1::Lineage lineage;
};

// From GGUF metadata: general.license, general.base_model.*, general.dataset.*, and what `linnet variant prune` wrote.
// Data sets get the catalogue's names. Texts are bounded.
Origin OriginOfFile(const worker::GgufFile& file, const catalog::v1::Catalog& catalog);

// Takes each thing from `more` that `origin` says nothing of.
void FillIn(const Origin& more, Origin* origin);

// What people say about a model on the command line.
struct OriginOptions {
  std::optional<std::string> license, base_model, base_model_relation, teacher, pruned_from;
  std::optional<std::vector<std::string>> datasets, merged_models;

  bool any() const;
  // Overrides what is given, also with nothing where it is "". Returns the fields of Model that it touched, for an
  // update mask. INVALID_ARGUMENT where a value is too long.
  absl::StatusOr<std::vector<std::string>> ApplyTo(const catalog::v1::Catalog& catalog,
                                                   registry::v1::Model* model) const;
};
// --license, --base-model, --base-model-relation, --teacher, --pruned-from, --dataset, --merged-model
void AddOriginOptions(CLI::App* command, OriginOptions& options);

// Adds training data under the catalogue's name, once, and no more than the registry keeps.
void AddDataset(const catalog::v1::Catalog& catalog, std::string_view name, registry::v1::Lineage* lineage);

// "https://huggingface.co/HuggingFaceTB/SmolLM2-135M" -> "HuggingFaceTB/SmolLM2-135M"; other texts as they are, without
// spaces around them.
std::string ModelReferenceFrom(std::string_view text);

}  // namespace linnet::cli
