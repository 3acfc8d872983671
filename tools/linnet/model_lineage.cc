// linnet model update | lineage
#include "tools/linnet/model_lineage.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status_macros.h"
#include "registry/catalog/model_catalog.h"
#include "tools/linnet/connect.h"
#include "tools/linnet/lineage.h"
#include "tools/linnet/lineage_tree.h"
#include "tools/linnet/model_card.h"
#include "tools/linnet/proto_json.h"

namespace linnet::cli {
namespace {

namespace v1 = registry::v1;

struct UpdateOptions {
  std::string model, card;
  std::optional<std::string> display_name;
  OriginOptions origin;
};

absl::Status Update(const CommandContext& context, const UpdateOptions& options) {
  if (!options.origin.any() && !options.display_name.has_value() && options.card.empty()) {
    return UsageError("say what to update: --license, --base-model, --teacher, --dataset, --card, --display-name, ...");
  }
  LINNET_ASSIGN_OR_RETURN(const std::string name, ModelNameFrom(options.model));
  LINNET_ASSIGN_OR_RETURN(const auto catalog, registry::BuiltinModels());
  LINNET_ASSIGN_OR_RETURN(auto client, OpenRegistry(context));
  LINNET_ASSIGN_OR_RETURN(v1::Model model, client->GetModel(name));
  std::vector<std::string> mask;
  if (!options.card.empty()) {
    // What the card does not say stays.
    LINNET_ASSIGN_OR_RETURN(Origin origin, ReadModelCard(options.card, catalog));
    FillIn({.license = model.license(), .lineage = model.lineage()}, &origin);
    *origin.lineage.mutable_pruning() = model.lineage().pruning();
    model.set_license(origin.license);
    *model.mutable_lineage() = std::move(origin.lineage);
    mask = {"license", "lineage"};
  }
  LINNET_ASSIGN_OR_RETURN(const std::vector<std::string> given, options.origin.ApplyTo(catalog, &model));
  if (options.card.empty()) mask = given;
  if (options.display_name.has_value()) {
    model.set_display_name(*options.display_name);
    mask.emplace_back("display_name");
  }
  LINNET_ASSIGN_OR_RETURN(const v1::Model updated, client->UpdateModel(model, mask));
  return context.Print(ToJson(updated));
}

absl::Status ShowLineage(const CommandContext& context, const std::string& typed) {
  LINNET_ASSIGN_OR_RETURN(const std::string name, ModelNameFrom(typed));
  LINNET_ASSIGN_OR_RETURN(const auto catalog, registry::BuiltinModels());
  LINNET_ASSIGN_OR_RETURN(auto client, OpenRegistry(context));
  LINNET_ASSIGN_OR_RETURN(const v1::Model model, client->GetModel(name));
  LINNET_ASSIGN_OR_RETURN(const std::vector<v1::Model> models, client->ListModels());
  const LineageTree tree = BuildLineage(model, models, catalog);
  return context.Print(LineageToJson(tree), DrawLineage(tree));
}

}  // namespace

void AddLineageCommands(CLI::App& noun, CommandContext& context) {
  auto update = std::make_shared<UpdateOptions>();
  CLI::App* command =
      context.Add(noun, "update", "Change what the registry says about a model",
                  {"linnet model update smollm2-135m --license apache-2.0 --dataset fineweb-edu --dataset dclm",
                   "linnet model update my-model --card README.md", "linnet model update my-model --teacher \"\""});
  command->add_option("MODEL", update->model, "name of the model")->required();
  command->add_option("--display-name", update->display_name, "name for people");
  command->add_option("--card", update->card, "take licence and lineage from this model card (README.md)");
  AddOriginOptions(command, update->origin);
  context.OnRun(command, [&context, update] { return Update(context, *update); });

  auto shown = std::make_shared<std::string>();
  command = context.Add(noun, "lineage", "Draw where a model comes from and what was made of it",
                        {"linnet model lineage smollm2-135m", "linnet model lineage smollm2-135m -o json"});
  command->add_option("MODEL", *shown, "name of the model")->required();
  context.OnRun(command, [&context, shown] { return ShowLineage(context, *shown); });
}

}  // namespace linnet::cli
