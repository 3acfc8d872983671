#include "base/grpc_status.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace linnet::base {
namespace {

TEST(GrpcStatus, RoundTripKeepsCodeMessageAndDetails) {
  const absl::Status status =
      WithRetryAfter(Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "the queue is full", {{"queued", "64"}}),
                     absl::Milliseconds(1500));
  const grpc::Status wire = ToGrpc(status);
  EXPECT_EQ(wire.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(wire.error_message(), "the queue is full");
  EXPECT_EQ(FromGrpc(wire), status);
}

TEST(GrpcStatus, FieldErrorsRoundTrip) {
  const absl::Status status = FieldErrors({{"a", "is wrong"}, {"b", "is missing"}});
  EXPECT_EQ(FromGrpc(ToGrpc(status)), status);
}

TEST(GrpcStatus, DetailsAreGoogleRpcStatus) {
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(
      ToGrpc(Error(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND", "no model x")).error_details()));
  EXPECT_EQ(details.code(), 5);
  EXPECT_EQ(details.message(), "no model x");
  ASSERT_EQ(details.details_size(), 1);
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(details.details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "MODEL_NOT_FOUND");
  EXPECT_EQ(info.domain(), "linnet");
}

TEST(GrpcStatus, OkIsOk) {
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpc(grpc::Status::OK).ok());
}

TEST(GrpcStatus, EveryCodeGetsAReason) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status back = FromGrpc(ToGrpc(absl::Status(static_cast<absl::StatusCode>(code), "x")));
    EXPECT_EQ(static_cast<int>(back.code()), code);
    EXPECT_NE(ErrorReason(back), "") << code;
  }
  EXPECT_EQ(ErrorReason(FromGrpc(ToGrpc(absl::DeadlineExceededError("x")))), "DEADLINE_PASSED");
  EXPECT_EQ(ErrorReason(FromGrpc(ToGrpc(absl::InternalError("x")))), "INTERNAL_ERROR");
}

// Bytes of the trailers: percent-encoded message and base64 of the details.
size_t TrailerBytes(const grpc::Status& status) {
  size_t bytes = 0;
  for (const char c : status.error_message()) bytes += (c >= ' ' && c <= '~' && c != '%') ? 1 : 3;
  return bytes + (status.error_details().size() + 2) / 3 * 4;
}

TEST(GrpcStatus, FitsTrailersWhateverTheStatusHolds) {
  std::string text;
  for (int i = 0; i < 50'000; ++i) text += "é\n";
  std::map<std::string, std::string> metadata;
  for (int i = 0; i < 100; ++i) metadata["key" + std::to_string(i)] = text;
  absl::Status status = Error(absl::StatusCode::kInternal, "INTERNAL_ERROR", text, {{"a", text}});
  status.SetPayload("type.googleapis.com/huge", absl::Cord(std::string(100'000, 'x')));
  EXPECT_LT(TrailerBytes(ToGrpc(status)), 7500u);
  EXPECT_EQ(ErrorReason(FromGrpc(ToGrpc(status))), "INTERNAL_ERROR");  // the huge one went, not this
  EXPECT_LT(TrailerBytes(ToGrpc(Error(absl::StatusCode::kInternal, "INTERNAL_ERROR", text, metadata))), 7500u);
  EXPECT_LT(TrailerBytes(ToGrpc(absl::InternalError(text))), 7500u);
}

TEST(GrpcStatus, ReasonSurvivesMetadataThatDoesNotFit) {
  std::map<std::string, std::string> metadata;
  for (int i = 0; i < 16; ++i) metadata["key" + std::to_string(i)] = std::string(256, 'x');
  const absl::Status back =
      FromGrpc(ToGrpc(Error(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND", "no model", metadata)));
  EXPECT_EQ(ErrorReason(back), "MODEL_NOT_FOUND");
}

TEST(GrpcStatus, MalformedDetailsFromAPeerAreIgnored) {
  const absl::Status garbage = FromGrpc(grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone", "\xff\xff garbage"));
  EXPECT_EQ(garbage.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(garbage.message(), "gone");
  EXPECT_EQ(ErrorReason(garbage), "");
  const absl::Status huge = FromGrpc(grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone", std::string(1 << 20, 'x')));
  EXPECT_EQ(huge, absl::UnavailableError("gone"));
}

}  // namespace
}  // namespace linnet::base
