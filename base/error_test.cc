#include "base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "base/utf8.h"
#include "google/rpc/error_details.pb.h"

namespace linnet::base {
namespace {

using ::testing::HasSubstr;

TEST(Error, CarriesCodeReasonMessageAndMetadata) {
  const absl::Status status =
      Error(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND", "model x is unknown", {{"resource", "models/x"}});
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "model x is unknown");
  EXPECT_EQ(ErrorReason(status), "MODEL_NOT_FOUND");
  EXPECT_EQ(ErrorMetadata(status, "resource"), "models/x");
  EXPECT_EQ(ErrorMetadata(status, "other"), "");
}

TEST(Error, PlainStatusHasNoDetails) {
  const absl::Status status = absl::InternalError("x");
  EXPECT_EQ(ErrorReason(status), "");
  EXPECT_EQ(ErrorMetadata(status, "resource"), "");
  EXPECT_EQ(RetryAfter(status), absl::ZeroDuration());
  EXPECT_EQ(ErrorReason(absl::OkStatus()), "");
}

TEST(Error, MalformedDetailIsNone) {
  absl::Status status = absl::InternalError("x");
  status.SetPayload("type.googleapis.com/google.rpc.ErrorInfo", absl::Cord("\xff\xff\xff"));
  status.SetPayload("type.googleapis.com/google.rpc.RetryInfo", absl::Cord("\x0a\xff"));
  EXPECT_EQ(ErrorReason(status), "");
  EXPECT_EQ(RetryAfter(status), absl::ZeroDuration());
}

TEST(Error, BoundsWhatItCarries) {
  const std::string long_text(100'000, 'x');
  std::map<std::string, std::string> metadata;
  for (int i = 0; i < 100; ++i) metadata[std::to_string(i) + long_text] = long_text;
  const absl::Status status = Error(absl::StatusCode::kInternal, "INTERNAL_ERROR", long_text, metadata);
  EXPECT_LE(status.message().size(), 4096u);
  EXPECT_TRUE(absl::EndsWith(status.message(), "..."));
  const auto payload = status.GetPayload("type.googleapis.com/google.rpc.ErrorInfo");
  ASSERT_TRUE(payload.has_value());
  EXPECT_LE(payload->size(), 8000u);
}

TEST(Error, InvalidUtf8IsReplacedSoThatDetailsParse) {
  const absl::Status status =
      Error(absl::StatusCode::kInvalidArgument, "INVALID_FIELD", "bad \xff name", {{"field", "\xc3("}});
  EXPECT_EQ(status.message(), "bad ? name");
  EXPECT_EQ(ErrorMetadata(status, "field"), "?(");
}

TEST(FieldErrors, ListsEveryViolation) {
  const absl::Status status = FieldErrors({{"sampling.top_p", "must be in (0, 1]"}, {"max_tokens", "is negative"}});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorReason(status), "INVALID_FIELD");
  EXPECT_EQ(status.message(), "sampling.top_p: must be in (0, 1]; max_tokens: is negative");
  google::rpc::BadRequest bad;
  ASSERT_TRUE(bad.ParseFromString(std::string(*status.GetPayload("type.googleapis.com/google.rpc.BadRequest"))));
  ASSERT_EQ(bad.field_violations_size(), 2);
  EXPECT_EQ(bad.field_violations(1).field(), "max_tokens");
  EXPECT_EQ(bad.field_violations(1).description(), "is negative");
}

TEST(FieldErrors, CountsWhatItLeavesOut) {
  std::vector<std::pair<std::string, std::string>> violations;
  for (int i = 0; i < 1000; ++i) violations.emplace_back("field" + std::to_string(i), "is wrong");
  EXPECT_THAT(std::string(FieldErrors(violations).message()), HasSubstr("and 988 more"));
}

TEST(WithRetryAfter, RoundTripsAndKeepsTheReason) {
  const absl::Status status =
      WithRetryAfter(Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "full"), absl::Milliseconds(2500));
  EXPECT_EQ(RetryAfter(status), absl::Milliseconds(2500));
  EXPECT_EQ(ErrorReason(status), "QUEUE_FULL");
}

TEST(WithRetryAfter, ClampsNonsense) {
  EXPECT_EQ(RetryAfter(WithRetryAfter(absl::UnavailableError("x"), -absl::Seconds(1))), absl::ZeroDuration());
  EXPECT_EQ(RetryAfter(WithRetryAfter(absl::UnavailableError("x"), absl::InfiniteDuration())), absl::Hours(24));
}

TEST(BoundedUtf8, CutsBetweenCharacters) {
  EXPECT_EQ(BoundedUtf8("abcdef", 6), "abcdef");
  EXPECT_EQ(BoundedUtf8("abcdefg", 6), "abc...");
  EXPECT_EQ(BoundedUtf8("aéé", 5), "aéé");
  EXPECT_EQ(BoundedUtf8("aéééé", 6), "aé...");
  EXPECT_EQ(BoundedUtf8("ééé", 4), "...");
  EXPECT_EQ(BoundedUtf8("", 3), "");
}

TEST(BoundedUtf8, ReplacesWhatIsNotUtf8) {
  EXPECT_EQ(BoundedUtf8("a\x80z", 100), "a?z");
  EXPECT_EQ(BoundedUtf8("\xc0\xaf", 100), "??");            // overlong
  EXPECT_EQ(BoundedUtf8("\xed\xa0\x80", 100), "???");       // surrogate
  EXPECT_EQ(BoundedUtf8("\xf4\x90\x80\x80", 100), "????");  // above U+10FFFF
  EXPECT_EQ(BoundedUtf8("\xe2\x82", 100), "??");            // cut off
  EXPECT_EQ(BoundedUtf8("€ 😀", 100), "€ 😀");
}

}  // namespace
}  // namespace linnet::base
