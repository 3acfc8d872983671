#include "gateway/validation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "base/error.h"
#include "google/rpc/error_details.pb.h"

namespace linnet::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class ValidationTest : public ::testing::Test {
 protected:
  ValidationTest() {
    request_.set_model("smol");
    request_.mutable_input()->set_text("Once");
  }
  // The fields that are named as bad.
  std::vector<std::string> Bad(uint64_t max_bytes = 1 << 20) const {
    const absl::Status status = ValidateGenerate(request_, max_bytes);
    if (status.ok()) return {};
    EXPECT_EQ(base::ErrorReason(status), "INVALID_FIELD");
    google::rpc::BadRequest bad;
    bad.ParseFromString(std::string(status.GetPayload("type.googleapis.com/google.rpc.BadRequest").value()));
    std::vector<std::string> fields;
    for (const auto& violation : bad.field_violations()) fields.push_back(violation.field());
    return fields;
  }
  v1::GenerateRequest request_;
};

TEST_F(ValidationTest, AMinimalRequestIsValid) { EXPECT_THAT(Bad(), IsEmpty()); }

TEST_F(ValidationTest, TheEdgesOfRangesAreValid) {
  v1::Sampling& s = *request_.mutable_sampling();
  s.set_temperature(0);
  s.set_top_p(1);
  s.set_min_p(0);
  s.set_top_k(0);
  for (int i = 0; i < 16; ++i) request_.add_stop(std::string(256, 'x'));
  request_.set_request_id(std::string(128, '~'));
  EXPECT_THAT(Bad(), IsEmpty());
  s.set_temperature(100);
  s.set_min_p(1);
  EXPECT_THAT(Bad(), IsEmpty());
}

TEST_F(ValidationTest, AllBadFieldsAreNamedAtOnce) {
  request_.Clear();
  request_.mutable_sampling()->set_temperature(-1);
  request_.mutable_sampling()->set_top_p(0);
  request_.mutable_sampling()->set_min_p(1.1f);
  request_.add_stop("");
  request_.add_stop("fine");
  request_.add_stop(std::string(257, 'x'));
  request_.set_request_id("new\nline");
  EXPECT_THAT(Bad(), ElementsAre("model", "input", "sampling.temperature", "sampling.top_p", "sampling.min_p",
                                 "stop[0]", "stop[2]", "request_id"));
}

TEST_F(ValidationTest, NoNumberThatIsNoneIsValid) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  request_.mutable_sampling()->set_temperature(nan);
  request_.mutable_sampling()->set_top_p(nan);
  request_.mutable_sampling()->set_min_p(nan);
  EXPECT_THAT(Bad(), SizeIs(3));
  request_.mutable_sampling()->set_temperature(std::numeric_limits<float>::infinity());
  EXPECT_THAT(Bad(), SizeIs(3));
}

TEST_F(ValidationTest, EmptyInputsOfEachKindAreBad) {
  request_.mutable_input()->set_text("");
  EXPECT_THAT(Bad(), ElementsAre("input.text"));
  request_.mutable_input()->mutable_tokens();
  EXPECT_THAT(Bad(), ElementsAre("input.tokens"));
  request_.mutable_input()->mutable_conversation();
  EXPECT_THAT(Bad(), ElementsAre("input.conversation.messages"));
  request_.mutable_input()->mutable_conversation()->add_messages()->set_content("Hi");
  EXPECT_THAT(Bad(), ElementsAre("input.conversation.messages[0].role"));
}

TEST_F(ValidationTest, TooMuchOfAnythingIsBad) {
  for (int i = 0; i < 17; ++i) request_.add_stop("x");
  EXPECT_THAT(Bad(), ElementsAre("stop"));
  request_.clear_stop();
  for (int i = 0; i <= kMaxMessages; ++i) request_.mutable_input()->mutable_conversation()->add_messages();
  EXPECT_THAT(Bad(), ElementsAre("input.conversation.messages"));
  request_.mutable_input()->set_text(std::string(2000, 'x'));
  EXPECT_THAT(Bad(1000), ElementsAre("input"));
}

TEST_F(ValidationTest, FunctionsHaveNamesAndAreNotTooMany) {
  v1::Conversation& conversation = *request_.mutable_input()->mutable_conversation();
  conversation.add_messages()->set_role("assistant");
  conversation.mutable_messages(0)->add_tool_calls()->set_name("weather");
  conversation.mutable_messages(0)->add_tool_calls();
  conversation.add_tools()->set_name(std::string(65, 'x'));
  EXPECT_THAT(Bad(),
              ElementsAre("input.conversation.tools[0].name", "input.conversation.messages[0].tool_calls[1].name"));
  conversation.mutable_tools(0)->set_name("weather");
  conversation.mutable_messages(0)->mutable_tool_calls(1)->set_name("time");
  EXPECT_THAT(Bad(), SizeIs(0));
  for (int i = 0; i < kMaxTools; ++i) conversation.add_tools()->set_name("x");
  EXPECT_THAT(Bad(), ElementsAre("input.conversation.tools"));
  conversation.clear_tools();
  for (int i = 0; i < 100; ++i) {
    v1::Message& message = *conversation.add_messages();
    message.set_role("assistant");
    message.add_tool_calls();
  }
  EXPECT_THAT(Bad(), SizeIs(8)) << "the answer stays small";
}

TEST_F(ValidationTest, AMalformedModelNameIsBad) {
  request_.set_model("../etc/passwd");
  EXPECT_THAT(Bad(), ElementsAre("model"));
}

TEST_F(ValidationTest, CountingChecksModelAndInputToo) {
  v1::CountTokensRequest request;
  EXPECT_EQ(base::ErrorReason(ValidateCountTokens(request, 1000)), "INVALID_FIELD");
  request.set_model("smol");
  request.mutable_input()->set_text("x");
  EXPECT_TRUE(ValidateCountTokens(request, 1000).ok());
}

}  // namespace
}  // namespace linnet::gateway
