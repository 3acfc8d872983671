// Updates by field mask (AIP-134): which fields a client may set, and copying those that a mask names.
#pragma once

#include <google/protobuf/field_mask.pb.h>

#include "absl/status/status.h"
#include "linnet/registry/v1/resources.pb.h"

namespace linnet::registry {

// Copies from `from` to `to` the fields that `mask` names; all that a client may set where it is empty or "*". A field
// named but not set is cleared. INVALID_ARGUMENT (update_mask) for others.
absl::Status ApplyMask(const v1::Model& from, const google::protobuf::FieldMask& mask, v1::Model* to);
absl::Status ApplyMask(const v1::DeviceProfile& from, const google::protobuf::FieldMask& mask, v1::DeviceProfile* to);
absl::Status ApplyMask(const v1::Deployment& from, const google::protobuf::FieldMask& mask, v1::Deployment* to);

}  // namespace linnet::registry
