// linnet model import | convert | ls | show | rm (update and lineage: model_lineage.cc)
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/human.h"
#include "base/status_macros.h"
#include "base/version.h"
#include "registry/catalog/model_catalog.h"
#include "registry/client/names.h"
#include "tools/linnet/command.h"
#include "tools/linnet/connect.h"
#include "tools/linnet/convert.h"
#include "tools/linnet/lineage.h"
#include "tools/linnet/model_card.h"
#include "tools/linnet/model_lineage.h"
#include "tools/linnet/output.h"
#include "tools/linnet/proto_json.h"
#include "tools/linnet/publish_file.h"
#include "tools/linnet/work_files.h"
#include "worker/checkpoint/checkpoint.h"

namespace linnet::cli {
namespace {

namespace v1 = registry::v1;

struct ImportOptions {
  std::string file, card;
  Naming naming;
  OriginOptions origin;
  bool replace = false;
  bool dry_run = false;
};

// The GGUF file to import: what was named, or what the folder that was named is converted to.
absl::StatusOr<std::string> FileToImport(const CommandContext& context, const std::string& path, WorkFiles& work) {
  struct stat st;
  if (stat(path.c_str(), &st) != 0) return base::ErrnoStatus(errno, "open", path);
  if (S_ISREG(st.st_mode)) return path;
  if (!S_ISDIR(st.st_mode)) {
    return UsageError(absl::StrCat(path, " is not a regular file; copy the model to one first"));
  }
  if (!worker::IsCheckpoint(path)) {
    return UsageError(absl::StrCat(path,
                                   " is a folder without a config.json; `linnet model import` takes a GGUF file, or a "
                                   "folder as Hugging Face publishes models"));
  }
  LINNET_ASSIGN_OR_RETURN(const std::string file, work.Add(absl::StrCat("import-", getpid(), ".gguf")));
  LINNET_RETURN_IF_ERROR(Convert(context, path, file).status());
  return file;
}

// What file, model card and command line say of where the model comes from, the later before the earlier. Returns the
// fields that the command line gave.
absl::StatusOr<std::vector<std::string>> SetOrigin(const CommandContext& context, const ImportOptions& options,
                                                   v1::Model* model) {
  LINNET_ASSIGN_OR_RETURN(const auto catalog, registry::BuiltinModels());
  Origin origin = {.license = model->license(), .lineage = model->lineage()};
  if (!options.card.empty()) {
    LINNET_ASSIGN_OR_RETURN(const Origin card, ReadModelCard(options.card, catalog));
    FillIn(card, &origin);
  } else if (worker::IsCheckpoint(options.file)) {  // nobody asked for the card that lies there
    const absl::StatusOr<Origin> card = ReadModelCard(options.file, catalog);
    if (card.ok()) {
      FillIn(*card, &origin);
    } else {
      context.Note(absl::StrCat("its model card is left out: ", card.status().message()));
    }
  }
  model->set_license(origin.license);
  *model->mutable_lineage() = std::move(origin.lineage);
  return options.origin.ApplyTo(catalog, model);
}

absl::Status Import(const CommandContext& context, const ImportOptions& options) {
  // Everything that can be said against the file is said before a byte of it is sent.
  WorkFiles work;
  LINNET_ASSIGN_OR_RETURN(const std::string file, FileToImport(context, options.file, work));
  LINNET_ASSIGN_OR_RETURN(FileDescription described, DescribeModelFile(file, options.naming));
  if (file != options.file) {
    const std::string name = described.model.display_name();
    described.variant.set_source(
        absl::StrCat("linnet ", base::kVersion, " model import of the Hugging Face folder ", name));
    described.variant.mutable_blobs(0)->set_file_name(absl::StrCat(name, ".gguf"));
  }
  LINNET_ASSIGN_OR_RETURN(const std::vector<std::string> given, SetOrigin(context, options, &described.model));
  LINNET_ASSIGN_OR_RETURN(const std::string digest, DigestFile(file, context.quiet));
  described.variant.mutable_blobs(0)->set_digest(digest);
  v1::PublishVariantResponse published;
  if (options.dry_run) {
    *published.mutable_model() = described.model;
    *published.mutable_variant() = described.variant;
  } else {
    LINNET_ASSIGN_OR_RETURN(published, PublishFile(context, file, described, options.replace));
    if (!given.empty()) {  // a model that was there before keeps what it had
      LINNET_ASSIGN_OR_RETURN(auto client, OpenRegistry(context));
      LINNET_ASSIGN_OR_RETURN(*published.mutable_model(), client->UpdateModel(described.model, given));
    }
  }
  const v1::Variant& variant = published.variant();
  LINNET_ASSIGN_OR_RETURN(const auto id, registry::ParseVariantName(variant.name()));
  Table table({"MODEL", "VARIANT", "PARAMETERS", "SIZE", "DIGEST"});
  table.Add({id.model, id.variant, Count(published.model().architecture().parameters()),
             DecimalBytes(variant.blobs(0).size_bytes()), digest.substr(0, 19)});
  LINNET_RETURN_IF_ERROR(
      context.Print({{"model", ToJson(published.model())}, {"variant", ToJson(variant)}}, table.Render()));
  if (!options.dry_run) context.Note(absl::StrCat("try it: linnet run ", id.model, " \"Tell me about the sea.\""));
  return absl::OkStatus();
}

absl::Status List(const CommandContext& context) {
  LINNET_ASSIGN_OR_RETURN(auto client, OpenRegistry(context));
  LINNET_ASSIGN_OR_RETURN(const auto models, client->ListModels());
  LINNET_ASSIGN_OR_RETURN(const auto variants, client->ListVariants());
  Table table({"MODEL", "FAMILY", "PARAMETERS", "CONTEXT", "LICENSE", "VARIANTS"});
  auto json = nlohmann::ordered_json::array();
  for (const v1::Model& model : models) {
    std::string names;
    for (const v1::Variant& variant : variants) {
      const auto id = registry::ParseVariantName(variant.name());
      if (id.ok() && registry::ModelName(id->model) == model.name())
        absl::StrAppend(&names, names.empty() ? "" : " ", id->variant);
    }
    const auto& a = model.architecture();
    table.Add({ShortName(model.name()), a.family(), Count(a.parameters()), absl::StrCat(a.context_tokens()),
               model.license(), names});
    json.push_back(ToJson(model));
  }
  if (models.empty()) context.Note("the registry has no models yet; add one: linnet model import FILE.gguf");
  return context.Print({{"models", json}}, table.Render());
}

std::string Shapes(const v1::Architecture& a) {
  if (a.layer_shapes().empty()) return "-";
  const auto same = [&](const auto& s) { return s.SerializeAsString() == a.layer_shapes(0).SerializeAsString(); };
  const bool uniform = std::all_of(a.layer_shapes().begin(), a.layer_shapes().end(), same);
  const auto& s = a.layer_shapes(0);
  const std::string first = s.state_floats() > 0 ? absl::StrCat("recurrent, a state of ", s.state_floats(), " numbers")
                                                 : absl::StrCat(s.query_heads(), " query heads, ", s.kv_heads(),
                                                                " key/value heads of ", s.head_dim());
  return absl::StrCat(first, ", FFN ", s.ffn_dim(), uniform ? "" : " in the first layer; others differ");
}

nlohmann::ordered_json Lineage(const v1::Lineage& lineage) {
  nlohmann::ordered_json lines = nlohmann::ordered_json::object();
  const auto add = [&](const char* key, const std::string& value) {
    if (!value.empty()) lines[key] = value;
  };
  add("base model", lineage.base_model());
  add("relation", lineage.base_model_relation());
  add("merged with", absl::StrJoin(lineage.merged_models(), ", "));
  add("teacher", lineage.teacher_model());
  add("pruned from", lineage.pruned_from());
  add("pruned by", lineage.pruning().method());
  add("trained on", absl::StrJoin(lineage.datasets(), ", "));
  return lines;
}

absl::Status Show(const CommandContext& context, const std::string& typed) {
  LINNET_ASSIGN_OR_RETURN(const std::string name, ModelNameFrom(typed));
  LINNET_ASSIGN_OR_RETURN(auto client, OpenRegistry(context));
  LINNET_ASSIGN_OR_RETURN(const v1::Model model, client->GetModel(name));
  LINNET_ASSIGN_OR_RETURN(const auto variants, client->ListVariants(name));
  auto json = ToJson(model);
  auto list = nlohmann::ordered_json::array();
  Table table({"VARIANT", "QUANTIZATION", "SIZE", "KV PER TOKEN", "DIGEST"});
  for (const v1::Variant& variant : variants) {
    list.push_back(ToJson(variant));
    table.Add({ShortName(variant.name()), variant.quantization(), DecimalBytes(variant.weight_bytes()),
               base::HumanBytes(variant.kv_bytes_per_token()),
               variant.blobs().empty() ? "" : variant.blobs(0).digest().substr(0, 19)});
  }
  json["variants"] = std::move(list);
  const auto& a = model.architecture();
  nlohmann::ordered_json lines = {{"model", ShortName(model.name())},
                                  {"name", model.display_name()},
                                  {"license", model.license()},
                                  {"lineage", Lineage(model.lineage())},
                                  {"family", a.family()},
                                  {"parameters", Count(a.parameters())},
                                  {"layers", a.layers()},
                                  {"width", a.model_dim()},
                                  {"shape", Shapes(a)},
                                  {"vocabulary", a.vocab_size()},
                                  {"context", absl::StrCat(a.context_tokens(), " tokens")},
                                  {"tied embeddings", a.tied_embeddings() ? "yes" : "no"},
                                  {"revision", model.revision()}};
  for (const auto& [alias, variant] : model.aliases()) lines["aliases"][alias] = variant;
  return context.Print(json, absl::StrCat(ToLines(lines), "\n", table.Render()));
}

absl::Status Remove(const CommandContext& context, const std::string& typed, bool force) {
  LINNET_ASSIGN_OR_RETURN(auto client, OpenRegistry(context));
  if (typed.find('/') != std::string::npos && typed.rfind("models/", 0) != 0) {
    LINNET_ASSIGN_OR_RETURN(const std::string variant, VariantNameFrom(typed));
    LINNET_RETURN_IF_ERROR(client->DeleteVariant(variant));
    context.Note(absl::StrCat("removed ", variant));
    return absl::OkStatus();
  }
  LINNET_ASSIGN_OR_RETURN(const std::string name, ModelNameFrom(typed));
  LINNET_RETURN_IF_ERROR(client->DeleteModel(name, force));
  context.Note(absl::StrCat("removed ", name));
  return absl::OkStatus();
}

}  // namespace

void AddModelCommands(CLI::App& app, CommandContext& context) {
  CLI::App* noun =
      context.Add(app, "model", "Models of the registry: import, convert, list, show, update, lineage, remove",
                  {"linnet model import m.gguf", "linnet model ls"});
  noun->require_subcommand(1);

  auto import = std::make_shared<ImportOptions>();
  CLI::App* command = context.Add(
      *noun, "import", "Put a GGUF file or a Hugging Face folder into the registry as a variant of a model",
      {"linnet model import SmolLM2-135M-Instruct.Q4_1.gguf", "linnet model import SmolLM2-135M-Instruct",
       "linnet model import q8.gguf --name qwen2-1.5b --variant q8_0", "linnet model import m.gguf --dry-run -o yaml",
       "linnet model import m.gguf --card README.md --teacher my-teacher --dataset fineweb-edu"});
  command->add_option("FILE", import->file, "a GGUF file, or a folder with config.json and safetensors files")
      ->required();
  command->add_option("--name", import->naming.model, "name of the model (default: from the file)");
  command->add_option("--variant", import->naming.variant, "name of the variant (default: its quantization)");
  command->add_option("--card", import->card, "its model card (README.md), or the folder with it: licence and lineage");
  AddOriginOptions(command, import->origin);
  command->add_flag("--replace", import->replace, "replace a variant of that name that has other contents");
  command->add_flag("--dry-run", import->dry_run, "only check the file and show what would be published");
  context.OnRun(command, [&context, import] { return Import(context, *import); });

  AddConvertCommand(*noun, context);
  AddLineageCommands(*noun, context);

  command = context.Add(*noun, "ls", "List the models", {"linnet model ls", "linnet model ls -o json"});
  command->alias("list");
  context.OnRun(command, [&context] { return List(context); });

  auto shown = std::make_shared<std::string>();
  command = context.Add(*noun, "show", "Show a model and its variants", {"linnet model show smollm2-135m"});
  command->add_option("MODEL", *shown, "name of the model")->required();
  context.OnRun(command, [&context, shown] { return Show(context, *shown); });

  auto removed = std::make_shared<std::string>();
  auto force = std::make_shared<bool>(false);
  command = context.Add(*noun, "rm", "Remove a model, or one variant of it",
                        {"linnet model rm smollm2-135m/q4_1", "linnet model rm smollm2-135m --force"});
  command->alias("remove");
  command->add_option("MODEL[/VARIANT]", *removed, "name of the model or variant")->required();
  command->add_flag("--force", *force, "remove a model together with its variants");
  context.OnRun(command, [&context, removed, force] { return Remove(context, *removed, *force); });
}

}  // namespace linnet::cli
