#include "tools/linnet/lineage_tree.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "base/strings.h"
#include "registry/catalog/model_catalog.h"
#include "registry/client/names.h"
#include "tools/linnet/output.h"

namespace linnet::cli {
namespace {

namespace v1 = registry::v1;

constexpr int kMostLevels = 64;  // of a chain that somebody wrote

struct Edge {
  const char* relation;
  std::string name;  // of the other model
};

std::vector<Edge> EdgesOf(const v1::Lineage& lineage) {
  std::vector<Edge> edges;
  const auto add = [&](const char* relation, const std::string& name) {
    if (!name.empty()) edges.push_back({relation, name});
  };
  add("base model", lineage.base_model());
  for (const std::string& name : lineage.merged_models()) add("merged", name);
  add("pruned from", lineage.pruned_from());
  add("teacher", lineage.teacher_model());
  return edges;
}

std::string Range(const google::protobuf::RepeatedField<uint32_t>& values) {
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  return *least == *most ? base::StrCat(*least) : base::StrCat(*least, " to ", *most);
}

std::string DescribePruning(const v1::Pruning& pruning) {
  std::string text = pruning.method();
  if (!pruning.ffn_widths().empty()) base::StrAppend(&text, ", FFN of ", Range(pruning.ffn_widths()));
  if (!pruning.kv_heads().empty()) base::StrAppend(&text, ", ", Range(pruning.kv_heads()), " key/value heads");
  return text;
}

class Builder {
 public:
  Builder(std::span<const v1::Model> models, const catalog::v1::Catalog& catalog) : catalog_(catalog) {
    for (const v1::Model& model : models) models_[ShortName(model.name())] = &model;
    for (const auto& [name, model] : models_) {
      for (const Edge& edge : EdgesOf(model->lineage())) made_from_[NameOf(edge.name)].push_back({edge.relation, name});
    }
  }

  // One name for everything that a model is called by: its id where registry or catalogue know it.
  std::string NameOf(std::string_view typed) const {
    std::string name(typed);
    if (name.starts_with("models/")) name.erase(0, 7);
    const std::string lower = absl::AsciiStrToLower(name);
    if (models_.contains(lower)) return lower;
    const catalog::v1::Model* entry = registry::FindModel(catalog_, name);
    return entry != nullptr ? entry->id() : name;
  }

  LineageNode Ancestors(const std::string& name, const char* relation, int level) {
    LineageNode node = NodeOf(name, relation);
    if (!Enter(name, level, &node)) return node;
    for (const Edge& edge : EdgesOf(LineageOf(name))) {
      node.children.push_back(Ancestors(NameOf(edge.name), edge.relation, level + 1));
    }
    return node;
  }

  LineageNode Descendants(const std::string& name, const char* relation, int level) {
    LineageNode node = NodeOf(name, relation);
    if (!Enter(name, level, &node)) return node;
    for (const Edge& edge : made_from_[name]) {
      node.children.push_back(Descendants(edge.name, edge.relation, level + 1));
    }
    return node;
  }

  void Restart() { drawn_.clear(); }

 private:
  // Each model's lines once: lineages may meet again, and what somebody wrote may go round in circles.
  bool Enter(const std::string& name, int level, LineageNode* node) {
    node->repeated = !drawn_.insert(name).second;
    return !node->repeated && level < kMostLevels;
  }

  const v1::Lineage& LineageOf(const std::string& name) const {
    if (const auto it = models_.find(name); it != models_.end()) return it->second->lineage();
    const catalog::v1::Model* entry = registry::FindModel(catalog_, name);
    return entry != nullptr ? entry->lineage() : v1::Lineage::default_instance();
  }

  LineageNode NodeOf(const std::string& name, const char* relation) const {
    LineageNode node = {.name = name, .relation = relation};
    const v1::Lineage& lineage = LineageOf(name);
    node.datasets.assign(lineage.datasets().begin(), lineage.datasets().end());
    if (lineage.has_pruning()) node.pruning = DescribePruning(lineage.pruning());
    const catalog::v1::Model* entry = registry::FindModel(catalog_, name);
    if (const auto it = models_.find(name); it != models_.end()) {
      node.known_to = KnownTo::kRegistry;
      node.license = it->second->license();
    } else if (entry != nullptr) {
      node.known_to = KnownTo::kCatalog;
      node.license = entry->license();
    }
    return node;
  }

  const catalog::v1::Catalog& catalog_;
  std::map<std::string, const v1::Model*> models_;      // by {model}
  std::map<std::string, std::vector<Edge>> made_from_;  // by what they come from
  std::set<std::string> drawn_;
};

std::string Label(const LineageNode& node) {
  std::string text = node.relation.empty() ? node.name : base::StrCat(node.relation, " ", node.name);
  std::vector<std::string> about;
  if (node.known_to == KnownTo::kCatalog) about.emplace_back("of the catalogue, not in the registry");
  if (node.known_to == KnownTo::kNobody) about.emplace_back("not in the registry");
  if (node.repeated) about.emplace_back("see above");
  if (!node.repeated && !node.license.empty()) about.push_back(node.license);
  if (!node.repeated && !node.pruning.empty()) about.push_back(node.pruning);
  if (!node.repeated && !node.datasets.empty()) {
    about.push_back(base::StrCat("trained on ", absl::StrJoin(node.datasets, ", ")));
  }
  if (!about.empty()) base::StrAppend(&text, "  (", absl::StrJoin(about, "; "), ")");
  return text;
}

void Draw(const LineageNode& node, const std::string& indent, std::string& out) {
  for (size_t i = 0; i < node.children.size(); ++i) {
    const bool last = i + 1 == node.children.size();
    base::StrAppend(&out, indent, last ? "└── " : "├── ", Label(node.children[i]), "\n");
    Draw(node.children[i], indent + (last ? "    " : "│   "), out);
  }
}

nlohmann::ordered_json NodeToJson(const LineageNode& node, const char* below) {
  nlohmann::ordered_json json = {{"model", node.name}};
  if (!node.relation.empty()) json["relation"] = node.relation;
  json["known_to"] = node.known_to == KnownTo::kRegistry  ? "registry"
                     : node.known_to == KnownTo::kCatalog ? "catalogue"
                                                          : "nobody";
  json["license"] = node.license;
  json["datasets"] = node.datasets;
  if (!node.pruning.empty()) json["pruning"] = node.pruning;
  if (node.repeated) json["repeated"] = true;
  json[below] = nlohmann::ordered_json::array();
  for (const LineageNode& child : node.children) json[below].push_back(NodeToJson(child, below));
  return json;
}

}  // namespace

LineageTree BuildLineage(const v1::Model& model, std::span<const v1::Model> models,
                         const catalog::v1::Catalog& catalog) {
  Builder builder(models, catalog);
  LineageTree tree;
  const std::string name = ShortName(model.name());
  tree.ancestors = builder.Ancestors(name, "", 0);
  builder.Restart();
  tree.descendants = builder.Descendants(name, "", 0);
  return tree;
}

std::string DrawLineage(const LineageTree& tree) {
  std::string out = Label(tree.ancestors) + "\n";
  Draw(tree.ancestors, "", out);
  if (tree.ancestors.children.empty()) out += "nothing is known of where it comes from\n";
  if (!tree.descendants.children.empty()) {
    out += "\nmade from it\n";
    Draw(tree.descendants, "", out);
  }
  return ForTerminal(out);
}

nlohmann::ordered_json LineageToJson(const LineageTree& tree) {
  nlohmann::ordered_json json = NodeToJson(tree.ancestors, "ancestors");
  json["descendants"] = NodeToJson(tree.descendants, "descendants")["descendants"];
  return json;
}

}  // namespace linnet::cli
