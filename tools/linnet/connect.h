// Connections to the servers that the commands talk to.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "registry/client/registry_client.h"
#include "tools/linnet/command.h"

namespace linnet::cli {

// Connects lazily; an address that does not parse is a usage error.
absl::StatusOr<std::unique_ptr<registry::RegistryClient>> OpenRegistry(const CommandContext& context);

// `status` of a call to the gateway: where nothing answers at `address`, an UNAVAILABLE that says so.
absl::Status GatewayStatus(const absl::Status& status, const std::string& address);

// What to try next after this error, for people: "" where there is nothing to say.
std::string Remedy(const absl::Status& status);

// Full resource names from what people type: "smollm2-135m" or "models/smollm2-135m"; "smollm2-135m/q4_1" or the whole
// name of a variant; "my-box" or "deviceProfiles/my-box". Malformed ones are usage errors.
absl::StatusOr<std::string> ModelNameFrom(const std::string& typed);
absl::StatusOr<std::string> VariantNameFrom(const std::string& typed);
absl::StatusOr<std::string> ProfileNameFrom(const std::string& typed);

}  // namespace linnet::cli
