// The front matter of a model card: the YAML between two lines of "---" at the beginning of a README.md, as Hugging
// Face defines it (license, license_name, base_model, base_model_relation, datasets).
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "linnet/catalog/v1/catalog.pb.h"
#include "tools/linnet/lineage.h"

namespace linnet::cli {

// `path`: a file, or a folder with a README.md. A card without front matter says nothing, and neither does a folder
// without a card. INVALID_ARGUMENT naming the line where the YAML is broken or larger than 64 KiB.
absl::StatusOr<Origin> ReadModelCard(const std::string& path, const catalog::v1::Catalog& catalog);

// The same of its text; `path` stands in messages.
absl::StatusOr<Origin> ParseModelCard(std::string_view text, const std::string& path,
                                      const catalog::v1::Catalog& catalog);

}  // namespace linnet::cli
