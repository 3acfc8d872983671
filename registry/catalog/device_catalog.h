// The device profiles that ship with Linnet (device_catalog.txtpb).
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "linnet/registry/v1/resources.pb.h"

namespace linnet::registry {

// Each flagged builtin.
absl::StatusOr<std::vector<v1::DeviceProfile>> BuiltinDeviceProfiles();

}  // namespace linnet::registry
