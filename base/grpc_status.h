// The one conversion between absl::Status and grpc::Status; google.rpc details travel in grpc-status-details-bin.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace linnet::base {

// A status without ErrorInfo gets one: a generic reason by its code (INTERNAL_ERROR, DEADLINE_PASSED, ...).
grpc::Status ToGrpc(const absl::Status& status);
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace linnet::base
