// This machine as a device profile: what the worker detects, and integer throughput as well.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "linnet/registry/v1/resources.pb.h"

namespace linnet::cli {

// Takes about two seconds of all CPUs: reads memory for a while (bandwidth) and multiplies 8-bit integers with the
// kernels that inference uses. `id`: the {profile} part of its name; empty: made of the CPU's name.
absl::StatusOr<registry::v1::DeviceProfile> DetectDevice(const std::string& id);

}  // namespace linnet::cli
