#include "tools/linnet/connect.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/config.h"
#include "base/error.h"
#include "registry/client/names.h"

namespace linnet::cli {

absl::StatusOr<std::unique_ptr<registry::RegistryClient>> OpenRegistry(const CommandContext& context) {
  const std::string address = context.RegistryAddress();
  if (auto parsed = base::ParseHostPort(address); !parsed.ok()) {
    return UsageError(absl::StrCat("--registry: ", parsed.status().message()));
  }
  return registry::RegistryClient::Create(address);
}

absl::Status GatewayStatus(const absl::Status& status, const std::string& address) {
  // What the gateway itself answers has one of its reasons; a connection that failed has none.
  if (status.code() != absl::StatusCode::kUnavailable || !base::ErrorReason(status).empty()) return status;
  return absl::UnavailableError(absl::StrCat("no gateway answers at ", address, " (", status.message(), ")"));
}

std::string Remedy(const absl::Status& status) {
  const std::string reason = base::ErrorReason(status);
  if (reason == "REGISTRY_UNAVAILABLE") {
    return "start the servers with `linnet up`, or name another registry with --registry HOST:PORT";
  }
  if (reason == "MODEL_NOT_FOUND")
    return "`linnet model ls` shows the models there are; `linnet model import FILE` adds one";
  if (reason == "NO_READY_WORKER") return "`linnet worker ls` shows the workers and what they serve";
  if (reason == "RESOURCE_IN_USE") return "--force removes a model together with its variants";
  if (reason == "RESOURCE_EXISTS") return "--replace puts the new one in its place";
  if (status.code() == absl::StatusCode::kUnavailable && absl::StrContains(status.message(), "no gateway answers")) {
    return "start the servers with `linnet up`, or name another gateway with --gateway HOST:PORT";
  }
  return "";
}

absl::StatusOr<std::string> ModelNameFrom(const std::string& typed) {
  const std::string id = absl::StartsWith(typed, "models/") ? typed.substr(7) : typed;
  if (registry::IsValidId(id)) return registry::ModelName(id);
  return UsageError(
      absl::StrCat("'", typed, "' is not the name of a model: expected MODEL, as `linnet model ls` shows them"));
}

absl::StatusOr<std::string> VariantNameFrom(const std::string& typed) {
  if (registry::ParseVariantName(typed).ok()) return typed;
  const std::vector<std::string> parts = absl::StrSplit(typed, '/');
  if (parts.size() == 2 && registry::IsValidId(parts[0]) && registry::IsValidId(parts[1])) {
    return registry::VariantName(parts[0], parts[1]);
  }
  return UsageError(absl::StrCat(
      "'", typed, "' is not the name of a variant: expected MODEL/VARIANT, as `linnet variant ls` shows them"));
}

absl::StatusOr<std::string> ProfileNameFrom(const std::string& typed) {
  const std::string id = absl::StartsWith(typed, "deviceProfiles/") ? typed.substr(15) : typed;
  if (registry::IsValidId(id)) return registry::DeviceProfileName(id);
  return UsageError(absl::StrCat(
      "'", typed, "' is not the name of a device profile: expected PROFILE, as `linnet profile ls` shows them"));
}

}  // namespace linnet::cli
