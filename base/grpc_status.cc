#include "base/grpc_status.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "base/error.h"
#include "base/strings.h"
#include "base/utf8.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace linnet::base {
namespace {

constexpr char kErrorInfoUrl[] = "type.googleapis.com/google.rpc.ErrorInfo";

// gRPC refuses trailers above 8 KiB. grpc-message is percent-encoded (a byte becomes up to three) and the details, with
// a copy of the message in them, are base64 (four bytes for three): 2 + (0.5 + 3) * 4/3 = 6.7 KiB at most.
constexpr size_t kMaxEncodedMessageBytes = 2048;
constexpr size_t kMaxMessageCopyBytes = 512;
constexpr size_t kMaxDetailsBytes = 3072;
// Of what a peer sends.
constexpr size_t kMaxReceivedBytes = 64 << 10;
constexpr int kMaxReceivedDetails = 16;

size_t PercentEncodedBytes(std::string_view text) {
  size_t bytes = 0;
  for (const char c : text) bytes += (c >= ' ' && c <= '~' && c != '%') ? 1 : 3;
  return bytes;
}

std::string BoundedMessage(std::string_view message) {
  size_t limit = kMaxEncodedMessageBytes;
  std::string text = BoundedUtf8(message, limit);
  while (PercentEncodedBytes(text) > kMaxEncodedMessageBytes) text = BoundedUtf8(message, limit = limit * 3 / 4);
  return text;
}

std::string_view GenericReason(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kCancelled:
      return "CLIENT_CANCELLED";
    case absl::StatusCode::kDeadlineExceeded:
      return "DEADLINE_PASSED";
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return "INVALID_FIELD";
    case absl::StatusCode::kNotFound:
      return "RESOURCE_NOT_FOUND";
    case absl::StatusCode::kAlreadyExists:
      return "RESOURCE_EXISTS";
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return "ACCESS_DENIED";
    case absl::StatusCode::kResourceExhausted:
      return "LIMIT_EXCEEDED";
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAborted:
      return "STATE_CONFLICT";
    case absl::StatusCode::kUnavailable:
      return "SERVICE_UNAVAILABLE";
    case absl::StatusCode::kUnimplemented:
      return "NOT_SUPPORTED";
    case absl::StatusCode::kDataLoss:
      return "BLOB_CORRUPT";
    default:
      return "INTERNAL_ERROR";
  }
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const std::string message = BoundedMessage(ToStd(status.message()));
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(BoundedUtf8(message, kMaxMessageCopyBytes));

  size_t used = 0;
  const auto add = [&](std::string_view url, std::string value) {
    if (used + url.size() + value.size() > kMaxDetailsBytes) return;
    used += url.size() + value.size();
    auto* any = details.add_details();
    any->set_type_url(std::string(url));
    any->set_value(std::move(value));
  };
  google::rpc::ErrorInfo info;
  const auto payload = status.GetPayload(kErrorInfoUrl);
  if (!payload.has_value() || !info.ParseFromString(std::string(*payload))) {
    info.set_reason(std::string(GenericReason(status.code())));
    info.set_domain("linnet");
  }
  if (info.ByteSizeLong() > kMaxDetailsBytes / 2) info.clear_metadata();  // the reason matters more
  add(kErrorInfoUrl, info.SerializeAsString());
  // Others after it: where there is no room for all, it is ErrorInfo that arrives.
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    if (url != kErrorInfoUrl) add(ToStd(url), std::string(payload));
  });
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), message, details.SerializeAsString());
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  google::rpc::Status details;
  const std::string& bytes = status.error_details();
  if (bytes.empty() || bytes.size() > kMaxReceivedBytes || !details.ParseFromString(bytes)) return result;
  for (int i = 0; i < details.details_size() && i < kMaxReceivedDetails; ++i) {
    result.SetPayload(details.details(i).type_url(), absl::Cord(details.details(i).value()));
  }
  return result;
}

}  // namespace linnet::base
