// linnet variant ls | show | quantize | prune
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/human.h"
#include "base/status_macros.h"
#include "registry/client/names.h"
#include "tools/linnet/command.h"
#include "tools/linnet/connect.h"
#include "tools/linnet/output.h"
#include "tools/linnet/proto_json.h"
#include "tools/linnet/prune.h"
#include "tools/linnet/quantize.h"

namespace linnet::cli {
namespace {

absl::Status List(const CommandContext& context, const std::string& model) {
  std::string parent = "models/-";
  if (!model.empty()) {
    LINNET_ASSIGN_OR_RETURN(parent, ModelNameFrom(model));
  }
  LINNET_ASSIGN_OR_RETURN(auto client, OpenRegistry(context));
  LINNET_ASSIGN_OR_RETURN(const auto variants, client->ListVariants(parent));
  Table table({"MODEL", "VARIANT", "QUANTIZATION", "SIZE", "PER TOKEN", "KV PER TOKEN", "DIGEST"});
  auto json = nlohmann::ordered_json::array();
  for (const auto& variant : variants) {
    json.push_back(ToJson(variant));
    LINNET_ASSIGN_OR_RETURN(const auto id, registry::ParseVariantName(variant.name()));
    table.Add({id.model, id.variant, variant.quantization(), DecimalBytes(variant.weight_bytes()),
               DecimalBytes(variant.bytes_per_token()), base::HumanBytes(variant.kv_bytes_per_token()),
               variant.blobs().empty() ? "" : variant.blobs(0).digest().substr(0, 19)});
  }
  if (variants.empty()) context.Note("no variants yet; add one: linnet model import FILE.gguf");
  return context.Print({{"variants", json}}, table.Render());
}

absl::Status Show(const CommandContext& context, const std::string& typed) {
  LINNET_ASSIGN_OR_RETURN(const std::string name, VariantNameFrom(typed));
  LINNET_ASSIGN_OR_RETURN(auto client, OpenRegistry(context));
  LINNET_ASSIGN_OR_RETURN(const auto variant, client->GetVariant(name));
  return context.Print(ToJson(variant));
}

}  // namespace

void AddVariantCommands(CLI::App& app, CommandContext& context) {
  CLI::App* noun = context.Add(app, "variant", "Variants of models by quantization: list, show, quantize, prune",
                               {"linnet variant ls", "linnet variant quantize smollm2-135m/f16 --to q4_k_m"});
  noun->require_subcommand(1);

  auto model = std::make_shared<std::string>();
  CLI::App* command = context.Add(*noun, "ls", "List the variants of a model, or of all models",
                                  {"linnet variant ls", "linnet variant ls smollm2-135m -o yaml"});
  command->alias("list");
  command->add_option("MODEL", *model, "name of the model (default: all models)");
  context.OnRun(command, [&context, model] { return List(context, *model); });

  auto shown = std::make_shared<std::string>();
  command = context.Add(*noun, "show", "Show everything about a variant", {"linnet variant show smollm2-135m/q4_1"});
  command->add_option("MODEL/VARIANT", *shown, "name of the variant")->required();
  context.OnRun(command, [&context, shown] { return Show(context, *shown); });

  AddQuantizeCommand(*noun, context);
  AddPruneCommand(*noun, context);
}

}  // namespace linnet::cli
