// linnet plan: what a model will take, before it is downloaded
#include <sys/stat.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/human.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "registry/catalog/device_catalog.h"
#include "registry/catalog/model_catalog.h"
#include "registry/client/names.h"
#include "tools/linnet/command.h"
#include "tools/linnet/connect.h"
#include "tools/linnet/describe_file.h"
#include "tools/linnet/local_model.h"
#include "tools/linnet/model_outline.h"
#include "tools/linnet/model_plan.h"
#include "tools/linnet/output.h"

namespace linnet::cli {
namespace {

namespace v1 = registry::v1;

struct Options {
  std::string model, variant, profile;
  std::string kv_cache_type = "f16";
  uint32_t context_tokens = 0;

  PlanOptions Plan() const {
    return {.context_tokens = context_tokens,
            .kv_type = kv_cache_type == "q8_0" ? kernels::DType::kQ8_0 : kernels::DType::kF16};
  }
};

// What is planned, and what there is to know about it.
struct Planned {
  std::string model;   // as people call it
  std::string source;  // "catalogue", "file" or "registry"
  const catalog::v1::Model* entry = nullptr;
  std::vector<std::pair<std::string, ModelPlan>> plans;  // by variant
};

absl::StatusOr<std::vector<const QuantizeFormat*>> FormatsOf(const std::string& typed) {
  std::vector<const QuantizeFormat*> formats;
  for (const std::string& name : QuantizeFormatNames()) {
    if (typed.empty() || typed == name) formats.push_back(FindQuantizeFormat(name));
  }
  if (formats.empty()) {
    return UsageError(absl::StrCat("--variant '", typed, "' is no format that Linnet writes; these are: ",
                                   absl::StrJoin(QuantizeFormatNames(), ", ")));
  }
  return formats;
}

absl::Status PlanEntry(const Options& options, Planned* planned) {
  planned->model = planned->entry->id();
  planned->source = "catalogue";
  LINNET_ASSIGN_OR_RETURN(const auto formats, FormatsOf(options.variant));
  LINNET_ASSIGN_OR_RETURN(const auto outline, OutlineOf(*planned->entry));
  for (const QuantizeFormat* format : formats) {
    LINNET_ASSIGN_OR_RETURN(ModelPlan plan, PlanQuantized(outline->file(), *format, options.Plan()));
    planned->plans.emplace_back(format->name, std::move(plan));
  }
  return absl::OkStatus();
}

absl::Status PlanModelFile(const CommandContext& context, const Options& options, Planned* planned) {
  LINNET_ASSIGN_OR_RETURN(const std::string path, ModelFile(options.model, context));
  planned->model = options.model;
  planned->source = "file";
  LINNET_ASSIGN_OR_RETURN(const auto file, worker::GgufFile::Open(path));
  const std::string own = QuantizationOf(*file);
  if (options.variant.empty() || options.variant == own) {
    LINNET_ASSIGN_OR_RETURN(ModelPlan plan, PlanFile(*file, options.Plan()));
    planned->plans.emplace_back(own, std::move(plan));
    return absl::OkStatus();
  }
  LINNET_ASSIGN_OR_RETURN(const auto formats, FormatsOf(options.variant));
  LINNET_ASSIGN_OR_RETURN(ModelPlan plan, PlanQuantized(*file, *formats[0], options.Plan()));
  planned->plans.emplace_back(options.variant, std::move(plan));
  return absl::OkStatus();
}

// MODEL or MODEL/VARIANT of the registry.
absl::Status PlanRegistryModel(const CommandContext& context, const Options& options, Planned* planned) {
  std::string model = options.model, variant = options.variant;
  if (const size_t slash = model.rfind('/'); slash != std::string::npos && !model.starts_with("models/")) {
    variant = model.substr(slash + 1);
    model.resize(slash);
  }
  LINNET_ASSIGN_OR_RETURN(const std::string name, ModelNameFrom(model));
  LINNET_ASSIGN_OR_RETURN(auto client, OpenRegistry(context));
  LINNET_ASSIGN_OR_RETURN(const v1::Model found, client->GetModel(name));
  LINNET_ASSIGN_OR_RETURN(const auto variants, client->ListVariants(name));
  planned->model = ShortName(name);
  planned->source = "registry";
  for (const v1::Variant& each : variants) {
    if (!variant.empty() && ShortName(each.name()) != variant) continue;
    LINNET_ASSIGN_OR_RETURN(ModelPlan plan, PlanVariant(found.architecture(), each, options.Plan()));
    planned->plans.emplace_back(ShortName(each.name()), std::move(plan));
  }
  if (planned->plans.empty()) {
    return base::Error(absl::StatusCode::kNotFound, "RESOURCE_NOT_FOUND",
                       variant.empty() ? absl::StrCat(name, " has no variants yet; `linnet model import` adds one")
                                       : absl::StrCat(name, " has no variant '", variant, "'; see `linnet model show ",
                                                      ShortName(name), "`"),
                       {{"resource", name}});
  }
  return absl::OkStatus();
}

// What neither catalogue nor registry knows.
absl::Status Unknown(const Options& options, const catalog::v1::Catalog& catalog, const absl::Status& registry) {
  std::string message = absl::StrCat("no model '", options.model, "' in the catalogue");
  const auto near = registry::NearestModels(catalog, options.model, 3);
  if (!near.empty()) absl::StrAppend(&message, " (nearest: ", absl::StrJoin(near, ", "), ")");
  absl::StrAppend(
      &message,
      registry.code() == absl::StatusCode::kUnavailable ? ", and the registry does not answer" : " nor in the registry",
      "; `linnet plan` without a model lists the catalogue");
  return base::Error(absl::StatusCode::kNotFound, "RESOURCE_NOT_FOUND", message, {{"resource", options.model}});
}

absl::StatusOr<Planned> MakePlans(const CommandContext& context, const Options& options,
                                  const catalog::v1::Catalog& catalog) {
  Planned planned;
  struct stat info = {};
  if (options.model.ends_with(".gguf") || stat(options.model.c_str(), &info) == 0) {
    LINNET_RETURN_IF_ERROR(PlanModelFile(context, options, &planned));
    return planned;
  }
  planned.entry = registry::FindModel(catalog, options.model);
  if (planned.entry != nullptr) {
    LINNET_RETURN_IF_ERROR(PlanEntry(options, &planned));
    return planned;
  }
  const absl::Status status = PlanRegistryModel(context, options, &planned);
  const bool not_there = base::ErrorReason(status) == "MODEL_NOT_FOUND" || absl::IsUnavailable(status) ||
                         (absl::IsInvalidArgument(status) && base::ErrorReason(status).empty());
  if (not_there) return Unknown(options, catalog, status);
  if (!status.ok()) return status;
  return planned;
}

absl::StatusOr<v1::DeviceProfile> FindProfile(const CommandContext& context, const std::string& typed) {
  LINNET_ASSIGN_OR_RETURN(const std::string name, ProfileNameFrom(typed));
  LINNET_ASSIGN_OR_RETURN(const auto builtin, registry::BuiltinDeviceProfiles());
  for (const v1::DeviceProfile& profile : builtin) {
    if (profile.name() == name) return profile;
  }
  LINNET_ASSIGN_OR_RETURN(auto client, OpenRegistry(context));
  return client->GetDeviceProfile(name);
}

nlohmann::ordered_json ToJson(const std::string& variant, const ModelPlan& plan) {
  nlohmann::ordered_json json = {
      {"variant", variant},
      {"quantization", plan.variant.quantization()},
      {"context_tokens", plan.context_tokens},
      {"kv_cache_type", plan.kv_type == kernels::DType::kQ8_0 ? "q8_0" : "f16"},
      {"stored_bytes", plan.variant.weight_bytes()},
      {"weights_bytes", plan.weights_bytes},
      {"kv_bytes", plan.kv_bytes},
      {"scratch_bytes", plan.scratch_bytes},
      {"loading_bytes", plan.loading_bytes},
      {"process_bytes", plan.process_bytes},
      {"total_bytes", plan.total_bytes()},
  };
  for (const auto& [type, elements] : plan.variant.tensor_types()) json["tensor_types"][type] = elements;
  return json;
}

// Adds to the row and its JSON whether the plan fits the device.
void AddFit(const ModelPlan& plan, const v1::DeviceProfile& profile, std::vector<std::string>& row,
            nlohmann::ordered_json& json) {
  const v1::ResolveResponse response = FitDevice(plan, profile);
  const bool fits = response.fits_size() > 0;
  json["fits"] = fits;
  row.emplace_back(fits ? "yes" : "no");
  if (fits) {
    json["decode_tokens_per_second"] = response.fits(0).decode_tokens_per_second();
    json["prefill_tokens_per_second"] = response.fits(0).prefill_tokens_per_second();
    row.push_back(Rate(response.fits(0).decode_tokens_per_second()));
  } else {
    json["reason"] = response.refusals(0).reason();
    row.emplace_back("");
  }
}

std::vector<std::string> Notes(const Planned& planned) {
  std::vector<std::string> notes;
  if (planned.entry == nullptr) return notes;
  if (!planned.entry->note().empty()) notes.push_back(planned.entry->note());
  if (planned.entry->unverified_size() > 0) {
    notes.push_back(absl::StrCat("Not verified: ", absl::StrJoin(planned.entry->unverified(), ", "), "."));
  }
  return notes;
}

absl::Status List(const CommandContext& context, const catalog::v1::Catalog& catalog) {
  Table table({"MODEL", "ARCHITECTURE", "PARAMETERS", "CONTEXT", "KV PER TOKEN", "REPOSITORY"});
  auto json = nlohmann::ordered_json::array();
  for (const catalog::v1::Model& model : catalog.models()) {
    nlohmann::ordered_json entry = {{"model", model.id()},
                                    {"architecture", model.architecture()},
                                    {"context_tokens", model.context_tokens()},
                                    {"repository", model.repository()},
                                    {"license", model.license()}};
    LINNET_ASSIGN_OR_RETURN(const auto outline, OutlineOf(model));
    LINNET_ASSIGN_OR_RETURN(const ModelPlan plan, PlanFile(outline->file(), {}));
    const uint64_t parameters = plan.architecture.parameters(), kv = plan.variant.kv_bytes_per_token();
    entry["parameters"] = parameters;
    entry["kv_bytes_per_token"] = kv;
    entry["unverified"] = std::vector<std::string>(model.unverified().begin(), model.unverified().end());
    table.Add({model.id(), model.architecture(), Count(parameters), absl::StrCat(model.context_tokens()),
               base::HumanBytes(kv), model.repository()});
    json.push_back(std::move(entry));
  }
  return context.Print({{"models", json}}, table.Render());
}

absl::Status Plan(const CommandContext& context, const Options& options) {
  LINNET_ASSIGN_OR_RETURN(const catalog::v1::Catalog catalog, registry::BuiltinModels());
  if (options.model.empty()) return List(context, catalog);
  v1::DeviceProfile profile;
  if (!options.profile.empty()) {
    LINNET_ASSIGN_OR_RETURN(profile, FindProfile(context, options.profile));
  }
  LINNET_ASSIGN_OR_RETURN(const Planned planned, MakePlans(context, options, catalog));
  std::vector<std::string> header = {"VARIANT", "STORED", "WEIGHTS", "KV CACHE", "SCRATCH", "BESIDES", "TOTAL"};
  if (!options.profile.empty()) header.insert(header.end(), {"FITS", "DECODE tok/s"});
  Table table(header);
  auto json = nlohmann::ordered_json::array();
  for (const auto& [variant, plan] : planned.plans) {
    std::vector<std::string> row = {variant,
                                    DecimalBytes(plan.variant.weight_bytes()),
                                    base::HumanBytes(plan.weights_bytes),
                                    base::HumanBytes(plan.kv_bytes),
                                    base::HumanBytes(plan.scratch_bytes),
                                    base::HumanBytes(plan.loading_bytes + plan.process_bytes),
                                    base::HumanBytes(plan.total_bytes())};
    json.push_back(ToJson(variant, plan));
    if (!options.profile.empty()) AddFit(plan, profile, row, json.back());
    table.Add(row);
  }
  const ModelPlan& first = planned.plans.front().second;
  const std::vector<std::string> notes = Notes(planned);
  nlohmann::ordered_json data = {{"model", planned.model},
                                 {"source", planned.source},
                                 {"architecture", first.architecture.family()},
                                 {"parameters", first.architecture.parameters()}};
  if (!options.profile.empty()) data["profile"] = ShortName(profile.name());
  data["plans"] = std::move(json);
  data["notes"] = notes;
  for (const std::string& note : notes) context.Note(note);
  return context.Print(data,
                       absl::StrCat(planned.model, " (", planned.source, "): ", Count(first.architecture.parameters()),
                                    " parameters, ", first.context_tokens, " tokens of context\n", table.Render()));
}

}  // namespace

void AddPlanCommand(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      context.Add(app, "plan", "Show what memory a model will take, before it is downloaded",
                  {"linnet plan qwen2-1.5b", "linnet plan openelm-3b --variant q4_k_m --context 2048 -o json",
                   "linnet plan model.f16.gguf --variant q4_0 --kv-cache-type q8_0",
                   "linnet plan llama-3.2-3b --profile raspberry-pi-5-8gb", "linnet plan"});
  command->add_option("MODEL", options->model,
                      "a model of the catalogue, a GGUF file or Hugging Face folder, or MODEL[/VARIANT] of the "
                      "registry (default: list the "
                      "catalogue)");
  command
      ->add_option("--context", options->context_tokens,
                   "tokens of prompt and completion together (default: 4096, or the model's context)")
      ->check(CLI::Range(1u, 1u << 24));
  command->add_option("--variant", options->variant,
                      absl::StrCat("only this one (formats: ", absl::StrJoin(QuantizeFormatNames(), ", "), ")"));
  command->add_option("--kv-cache-type", options->kv_cache_type, "of keys and values: f16, or q8_0, half as large")
      ->check(CLI::IsMember({"f16", "q8_0"}))
      ->capture_default_str();
  command->add_option("--profile", options->profile, "whether it fits this device profile, and how fast it would be");
  context.OnRun(command, [&context, options] { return Plan(context, *options); });
}

}  // namespace linnet::cli
