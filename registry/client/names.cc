#include "registry/client/names.h"

#include <vector>

#include "absl/strings/escaping.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "base/strings.h"

namespace linnet::registry {
namespace {

// What a client sent, made fit for a message: bounded and printable.
std::string Quoted(std::string_view text) {
  constexpr size_t kMax = 40;
  return base::StrCat("'", absl::CHexEscape(base::ToAbsl(text.substr(0, kMax))), text.size() > kMax ? "...'" : "'");
}

absl::Status Malformed(std::string_view what, std::string_view name, std::string_view form) {
  return base::FieldErrors(
      {{std::string(what), base::StrCat(Quoted(name), " is not ", form, " of a-z, 0-9, '.', '-', '_'")}});
}

absl::StatusOr<std::string> ParseSimple(std::string_view name, std::string_view collection, std::string_view form) {
  if (!name.starts_with(collection) || !IsValidId(name.substr(collection.size()))) return Malformed("name", name, form);
  return std::string(name.substr(collection.size()));
}

}  // namespace

bool IsValidId(std::string_view id) {
  if (id.empty() || id.size() > kMaxIdLength) return false;
  const auto alphanumeric = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (!alphanumeric(id[0])) return false;
  for (char c : id) {
    if (!alphanumeric(c) && c != '.' && c != '-' && c != '_') return false;
  }
  return true;
}

std::string ModelName(std::string_view model) { return base::StrCat("models/", model); }
std::string VariantName(std::string_view model, std::string_view variant) {
  return base::StrCat("models/", model, "/variants/", variant);
}
std::string DeviceProfileName(std::string_view profile) { return base::StrCat("deviceProfiles/", profile); }
std::string DeploymentName(std::string_view deployment) { return base::StrCat("deployments/", deployment); }
std::string WorkerName(std::string_view worker) { return base::StrCat("workers/", worker); }

absl::StatusOr<std::string> ParseModelName(std::string_view name) {
  return ParseSimple(name, "models/", "models/{model}");
}

absl::StatusOr<VariantId> ParseVariantName(std::string_view name) {
  const std::vector<std::string_view> parts = base::StrSplit(name, '/', 5);
  if (parts.size() != 4 || parts[0] != "models" || parts[2] != "variants" || !IsValidId(parts[1]) ||
      !IsValidId(parts[3])) {
    return Malformed("name", name, "models/{model}/variants/{variant}");
  }
  return VariantId{std::string(parts[1]), std::string(parts[3])};
}

absl::StatusOr<std::string> ParseDeviceProfileName(std::string_view name) {
  return ParseSimple(name, "deviceProfiles/", "deviceProfiles/{profile}");
}
absl::StatusOr<std::string> ParseDeploymentName(std::string_view name) {
  return ParseSimple(name, "deployments/", "deployments/{deployment}");
}
absl::StatusOr<std::string> ParseWorkerName(std::string_view name) {
  return ParseSimple(name, "workers/", "workers/{worker}");
}

absl::StatusOr<ModelReference> ParseModelReference(std::string_view reference) {
  constexpr std::string_view kForm = "{model}, {model}@{alias} or {model}/{variant}";
  ModelReference result;
  const size_t separator = reference.find_first_of("@/");
  const std::string_view model = reference.substr(0, separator);
  if (!IsValidId(model)) return Malformed("model", reference, kForm);
  result.model = std::string(model);
  if (separator == std::string_view::npos) return result;
  const std::string_view rest = reference.substr(separator + 1);
  if (!IsValidId(rest)) return Malformed("model", reference, kForm);
  (reference[separator] == '@' ? result.alias : result.variant) = std::string(rest);
  return result;
}

std::string FormatModelReference(const ModelReference& reference) {
  if (!reference.alias.empty()) return base::StrCat(reference.model, "@", reference.alias);
  if (!reference.variant.empty()) return base::StrCat(reference.model, "/", reference.variant);
  return reference.model;
}

}  // namespace linnet::registry
