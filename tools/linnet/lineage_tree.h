// A model's ancestors and descendants as trees, from what the registry and the catalogue know. Pure functions.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "linnet/catalog/v1/catalog.pb.h"
#include "linnet/registry/v1/resources.pb.h"

namespace linnet::cli {

enum class KnownTo { kRegistry, kCatalog, kNobody };

struct LineageNode {
  std::string name;      // {model} of the registry or the catalogue, or the name elsewhere
  std::string relation;  // to the node above: "base model", "teacher", "pruned from", "merged"; "" at the root
  KnownTo known_to = KnownTo::kNobody;
  std::string license;
  std::vector<std::string> datasets;
  std::string pruning;  // "activations, 1152 to 1536 of FFN, 2 to 3 key/value heads"; "" where it was not pruned
  // It is drawn elsewhere in this tree already, or is among its own ancestors: what is below is not drawn again.
  bool repeated = false;
  std::vector<LineageNode> children;
};

struct LineageTree {
  LineageNode ancestors;    // the model, and below each model those that it comes from
  LineageNode descendants;  // the model, and below each model those of the registry that come from it
};

// `model`: one of `models`.
LineageTree BuildLineage(const registry::v1::Model& model, std::span<const registry::v1::Model> models,
                         const catalog::v1::Catalog& catalog);

// With lines of ├── and └──.
std::string DrawLineage(const LineageTree& tree);
nlohmann::ordered_json LineageToJson(const LineageTree& tree);

}  // namespace linnet::cli
