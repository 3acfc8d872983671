// The models that ship with Linnet by their shape (models/*.txtpb), and the names of training data (datasets.txtpb).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "linnet/catalog/v1/catalog.pb.h"

namespace linnet::registry {

// Models and training data, by id. INTERNAL where the data do not parse or are no catalogue.
absl::StatusOr<catalog::v1::Catalog> BuiltinModels();

// By id, another of its names, or its repository, in any case; nullptr: there is none. `catalog` must outlive it.
const catalog::v1::Model* FindModel(const catalog::v1::Catalog& catalog, std::string_view name);

// At most `count` ids of models that `name` may have meant, the likeliest first.
std::vector<std::string> NearestModels(const catalog::v1::Catalog& catalog, std::string_view name, size_t count);

// The id of training data that the catalogue knows under this name, else the name as it is.
std::string DatasetId(const catalog::v1::Catalog& catalog, std::string_view name);

}  // namespace linnet::registry
