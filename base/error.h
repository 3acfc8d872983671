// Errors that say which: an absl::Status with the google.rpc details that a caller in another language can act on.
//
//   return base::Error(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND", absl::StrCat("model ", name, " ..."),
//                      {{"resource", name}});
//   return base::FieldErrors({{"sampling.top_p", "must be in (0, 1], is 1.5"}});
//
// `reason` is one of linnet.v1.ErrorReason (a test compares every literal with it). grpc_status.h turns the
// result into a grpc::Status and back; http code maps from absl::StatusCode.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace linnet::base {

absl::Status Error(absl::StatusCode code, std::string_view reason, std::string_view message,
                   const std::map<std::string, std::string>& metadata = {});

// INVALID_ARGUMENT, reason INVALID_FIELD, with a google.rpc.BadRequest: {field path, what is wrong} each.
// REQUIRES: at least one violation.
absl::Status FieldErrors(const std::vector<std::pair<std::string, std::string>>& violations);

// Adds google.rpc.RetryInfo.
absl::Status WithRetryAfter(absl::Status status, absl::Duration delay);

// ErrorInfo.reason, or "" where the status has none.
std::string ErrorReason(const absl::Status& status);
// ErrorInfo.metadata[key], or "".
std::string ErrorMetadata(const absl::Status& status, std::string_view key);
// RetryInfo.retry_delay, or zero.
absl::Duration RetryAfter(const absl::Status& status);

}  // namespace linnet::base
