// linnet resolve: which variants of a model fit a device
#include <cmath>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/human.h"
#include "base/memory.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "registry/client/names.h"
#include "tools/linnet/command.h"
#include "tools/linnet/connect.h"
#include "tools/linnet/device_detect.h"
#include "tools/linnet/output.h"
#include "tools/linnet/proto_json.h"

namespace linnet::cli {
namespace {

namespace v1 = registry::v1;

struct Options {
  std::string model;
  std::string profile;
  uint32_t context_tokens = 0;
  uint64_t max_memory_bytes = 0;
  double min_decode = 0;
  double max_ttft = 0;
};

absl::Status Resolve(const CommandContext& context, const Options& options) {
  if (auto reference = registry::ParseModelReference(options.model); !reference.ok()) {
    return UsageError(base::ToStd(reference.status().message()));
  }
  v1::ResolveRequest request;
  request.set_model(options.model);
  if (!options.profile.empty()) {
    LINNET_ASSIGN_OR_RETURN(const std::string profile, ProfileNameFrom(options.profile));
    request.set_profile(profile);
  } else {
    context.Note("no --profile given: measuring this machine ...");
    LINNET_ASSIGN_OR_RETURN(*request.mutable_inline_profile(), DetectDevice(""));
    request.set_available_memory_bytes(base::DetectMemoryBudget().available_bytes);
  }
  auto* constraints = request.mutable_constraints();
  constraints->set_context_tokens(options.context_tokens);
  constraints->set_max_memory_bytes(options.max_memory_bytes);
  constraints->set_min_decode_tokens_per_second(options.min_decode);
  constraints->set_max_time_to_first_token_seconds(options.max_ttft);
  LINNET_ASSIGN_OR_RETURN(auto client, OpenRegistry(context));
  LINNET_ASSIGN_OR_RETURN(const auto response, client->Resolve(request));

  Table fits({"RANK", "VARIANT", "MEMORY", "WEIGHTS", "KV CACHE", "DECODE tok/s", "PREFILL tok/s", "FIGURES"});
  for (int i = 0; i < response.fits_size(); ++i) {
    const v1::Fit& fit = response.fits(i);
    fits.Add({absl::StrCat(i + 1), ShortName(fit.variant().name()), base::HumanBytes(fit.memory_bytes()),
              base::HumanBytes(fit.weight_bytes()), base::HumanBytes(fit.kv_bytes()),
              Rate(fit.decode_tokens_per_second()), Rate(fit.prefill_tokens_per_second()),
              fit.measured() ? "measured" : "predicted"});
  }
  Table refusals({"REFUSED", "REASON"});
  for (const v1::Refusal& refusal : response.refusals()) refusals.Add({ShortName(refusal.variant()), refusal.reason()});
  std::string table = fits.empty() ? "no variant fits\n" : fits.Render();
  if (!refusals.empty()) absl::StrAppend(&table, "\n", refusals.Render());
  return context.Print(ToJson(response), table);
}

}  // namespace

void AddResolveCommand(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      context.Add(app, "resolve", "Show which variants of a model fit a device, best first, and why others do not",
                  {"linnet resolve smollm2-135m", "linnet resolve smollm2-135m --profile raspberry-pi-5 --context 2048",
                   "linnet resolve qwen2-1.5b@stable --max-memory 2GiB -o json"});
  command->add_option("MODEL", options->model, "MODEL, MODEL@ALIAS or MODEL/VARIANT")->required();
  command->add_option("--profile", options->profile,
                      "a device profile of the registry (default: measure this machine)");
  command->add_option("--context", options->context_tokens, "tokens of prompt and completion together");
  command->add_option("--max-memory", options->max_memory_bytes, "most memory to take, in bytes or as 512MiB, 2GiB")
      ->transform(CLI::AsSizeValue(false));
  command->add_option("--min-decode", options->min_decode, "least tokens per second of decode")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--max-ttft", options->max_ttft, "most seconds to the first token of a prompt of 512 tokens")
      ->check(CLI::NonNegativeNumber);
  context.OnRun(command, [&context, options] { return Resolve(context, *options); });
}

}  // namespace linnet::cli
