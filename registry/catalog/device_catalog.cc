#include "registry/catalog/device_catalog.h"

#include <google/protobuf/text_format.h>

#include "linnet/registry/v1/registry.pb.h"

namespace linnet::registry {

extern const char kDeviceCatalog[];  // generated

absl::StatusOr<std::vector<v1::DeviceProfile>> BuiltinDeviceProfiles() {
  v1::ListDeviceProfilesResponse catalog;
  if (!google::protobuf::TextFormat::ParseFromString(kDeviceCatalog, &catalog)) {
    return absl::InternalError("the built-in device catalogue does not parse");
  }
  std::vector<v1::DeviceProfile> profiles;
  for (v1::DeviceProfile& profile : *catalog.mutable_device_profiles()) {
    profile.set_builtin(true);
    profiles.push_back(std::move(profile));
  }
  return profiles;
}

}  // namespace linnet::registry
