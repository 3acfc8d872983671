// Resource names (AIP-122) and the way a request names a model; the same rules in registry, gateway, worker and CLI.
// Pure functions, thread-safe. Errors are INVALID_ARGUMENT with the offending name and the form that is expected.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace linnet::registry {

// The {model}, {variant}, {profile} ... part of a name: 1 to 63 of lower-case letters, digits, '.', '-' and '_', the
// first a letter or digit.
inline constexpr size_t kMaxIdLength = 63;
bool IsValidId(std::string_view id);

struct VariantId {
  std::string model;
  std::string variant;
  bool operator==(const VariantId&) const = default;
};

std::string ModelName(std::string_view model);                              // "models/{model}"
std::string VariantName(std::string_view model, std::string_view variant);  // "models/{model}/variants/{variant}"
std::string DeviceProfileName(std::string_view profile);                    // "deviceProfiles/{profile}"
std::string DeploymentName(std::string_view deployment);                    // "deployments/{deployment}"
std::string WorkerName(std::string_view worker);                            // "workers/{worker}"

// The reverse: the id or ids of a full name.
absl::StatusOr<std::string> ParseModelName(std::string_view name);
absl::StatusOr<VariantId> ParseVariantName(std::string_view name);
absl::StatusOr<std::string> ParseDeviceProfileName(std::string_view name);
absl::StatusOr<std::string> ParseDeploymentName(std::string_view name);
absl::StatusOr<std::string> ParseWorkerName(std::string_view name);

// What a request calls a model by: "{model}", "{model}@{alias}" or "{model}/{variant}".
struct ModelReference {
  std::string model;
  // At most one of the two is set.
  std::string alias;
  std::string variant;
  bool operator==(const ModelReference&) const = default;
};
absl::StatusOr<ModelReference> ParseModelReference(std::string_view reference);
std::string FormatModelReference(const ModelReference& reference);

}  // namespace linnet::registry
