#include "base/error.h"

#include <google/protobuf/message_lite.h>

#include <algorithm>
#include <cstddef>
#include <optional>

#include "absl/log/check.h"
#include "absl/strings/cord.h"
#include "base/strings.h"
#include "base/utf8.h"
#include "google/rpc/error_details.pb.h"

namespace linnet::base {
namespace {

constexpr char kErrorInfoUrl[] = "type.googleapis.com/google.rpc.ErrorInfo";
constexpr char kBadRequestUrl[] = "type.googleapis.com/google.rpc.BadRequest";
constexpr char kRetryInfoUrl[] = "type.googleapis.com/google.rpc.RetryInfo";

// All of it has to fit in trailers, of which gRPC takes 8 KiB.
constexpr size_t kMaxMessageBytes = 4096;
constexpr size_t kMaxMetadataEntries = 16;
constexpr size_t kMaxMetadataBytes = 256;
constexpr size_t kMaxViolations = 12;
constexpr size_t kMaxFieldBytes = 64;
constexpr size_t kMaxDescriptionBytes = 128;

void SetDetail(absl::Status& status, std::string_view url, const google::protobuf::MessageLite& detail) {
  status.SetPayload(ToAbsl(url), absl::Cord(detail.SerializeAsString()));
}

template <class Detail>
std::optional<Detail> GetDetail(const absl::Status& status, std::string_view url) {
  const auto payload = status.GetPayload(ToAbsl(url));
  Detail detail;
  if (!payload.has_value() || !detail.ParseFromString(std::string(*payload))) return std::nullopt;
  return detail;
}

}  // namespace

absl::Status Error(absl::StatusCode code, std::string_view reason, std::string_view message,
                   const std::map<std::string, std::string>& metadata) {
  CHECK(code != absl::StatusCode::kOk) << "an error needs a code: " << reason;
  absl::Status status(code, BoundedUtf8(message, kMaxMessageBytes));
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(reason));
  info.set_domain("linnet");
  for (const auto& [key, value] : metadata) {
    if (info.metadata_size() == static_cast<int>(kMaxMetadataEntries)) break;
    (*info.mutable_metadata())[BoundedUtf8(key, kMaxFieldBytes)] = BoundedUtf8(value, kMaxMetadataBytes);
  }
  SetDetail(status, kErrorInfoUrl, info);
  return status;
}

absl::Status FieldErrors(const std::vector<std::pair<std::string, std::string>>& violations) {
  CHECK(!violations.empty());
  google::rpc::BadRequest bad_request;
  std::string message;
  for (size_t i = 0; i < std::min(violations.size(), kMaxViolations); ++i) {
    auto* violation = bad_request.add_field_violations();
    violation->set_field(BoundedUtf8(violations[i].first, kMaxFieldBytes));
    violation->set_description(BoundedUtf8(violations[i].second, kMaxDescriptionBytes));
    base::StrAppend(&message, i == 0 ? "" : "; ", violation->field(), ": ", violation->description());
  }
  if (violations.size() > kMaxViolations) {
    base::StrAppend(&message, "; and ", violations.size() - kMaxViolations, " more");
  }
  absl::Status status = Error(absl::StatusCode::kInvalidArgument, "INVALID_FIELD", message,
                              {{"field", bad_request.field_violations(0).field()}});
  SetDetail(status, kBadRequestUrl, bad_request);
  return status;
}

absl::Status WithRetryAfter(absl::Status status, absl::Duration delay) {
  google::rpc::RetryInfo info;
  delay = std::clamp(delay, absl::ZeroDuration(), absl::Hours(24));
  const int64_t seconds = absl::IDivDuration(delay, absl::Seconds(1), &delay);
  info.mutable_retry_delay()->set_seconds(seconds);
  info.mutable_retry_delay()->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(delay)));
  SetDetail(status, kRetryInfoUrl, info);
  return status;
}

std::string ErrorReason(const absl::Status& status) {
  const auto info = GetDetail<google::rpc::ErrorInfo>(status, kErrorInfoUrl);
  return info.has_value() ? info->reason() : "";
}

std::string ErrorMetadata(const absl::Status& status, std::string_view key) {
  const auto info = GetDetail<google::rpc::ErrorInfo>(status, kErrorInfoUrl);
  if (!info.has_value()) return "";
  const auto it = info->metadata().find(std::string(key));
  return it == info->metadata().end() ? "" : it->second;
}

absl::Duration RetryAfter(const absl::Status& status) {
  const auto info = GetDetail<google::rpc::RetryInfo>(status, kRetryInfoUrl);
  if (!info.has_value()) return absl::ZeroDuration();
  const absl::Duration delay =
      absl::Seconds(info->retry_delay().seconds()) + absl::Nanoseconds(info->retry_delay().nanos());
  return std::max(delay, absl::ZeroDuration());
}

}  // namespace linnet::base
