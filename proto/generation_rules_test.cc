#include "proto/generation_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "base/error.h"

namespace linnet {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class GenerationRulesTest : public ::testing::Test {
 protected:
  GenerationRulesTest() { request_.mutable_input()->set_text("Once"); }
  // The fields that are named as bad.
  std::vector<std::string> Bad() const {
    Violations bad;
    CheckGenerate(request_, bad);
    EXPECT_EQ(base::ErrorReason(ToStatus(bad)), bad.empty() ? "" : "INVALID_FIELD");
    std::vector<std::string> fields;
    for (const auto& [field, what] : bad) fields.push_back(field);
    return fields;
  }
  v1::GenerateRequest request_;
};

TEST_F(GenerationRulesTest, AMinimalRequestIsValid) { EXPECT_THAT(Bad(), IsEmpty()); }

TEST_F(GenerationRulesTest, TheEdgesOfRangesAreValid) {
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

TEST_F(GenerationRulesTest, AllBadFieldsAreNamedAtOnce) {
  request_.Clear();
  request_.mutable_sampling()->set_temperature(-1);
  request_.mutable_sampling()->set_top_p(0);
  request_.mutable_sampling()->set_min_p(1.1f);
  request_.add_stop("");
  request_.add_stop("fine");
  request_.add_stop(std::string(257, 'x'));
  request_.set_request_id("new\nline");
  EXPECT_THAT(Bad(), ElementsAre("input", "sampling.temperature", "sampling.top_p", "sampling.min_p", "stop[0]",
                                 "stop[2]", "request_id"));
}

TEST_F(GenerationRulesTest, NoNumberThatIsNoneIsValid) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  request_.mutable_sampling()->set_temperature(nan);
  request_.mutable_sampling()->set_top_p(nan);
  request_.mutable_sampling()->set_min_p(nan);
  EXPECT_THAT(Bad(), SizeIs(3));
  request_.mutable_sampling()->set_temperature(std::numeric_limits<float>::infinity());
  EXPECT_THAT(Bad(), SizeIs(3));
}

TEST_F(GenerationRulesTest, EmptyInputsOfEachKindAreBad) {
  request_.mutable_input()->set_text("");
  EXPECT_THAT(Bad(), ElementsAre("input.text"));
  request_.mutable_input()->mutable_tokens();
  EXPECT_THAT(Bad(), ElementsAre("input.tokens.ids"));
  for (const uint32_t id : {1u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
    request_.mutable_input()->mutable_tokens()->add_ids(id);
  }
  EXPECT_THAT(Bad(), ElementsAre("input.tokens.ids[2]")) << "one is enough";
  request_.mutable_input()->mutable_conversation();
  EXPECT_THAT(Bad(), ElementsAre("input.conversation.messages"));
  request_.mutable_input()->mutable_conversation()->add_messages()->set_content("Hi");
  EXPECT_THAT(Bad(), ElementsAre("input.conversation.messages[0].role"));
}

TEST_F(GenerationRulesTest, TooMuchOfAnythingIsBad) {
  for (int i = 0; i < 17; ++i) request_.add_stop("x");
  EXPECT_THAT(Bad(), ElementsAre("stop"));
  request_.clear_stop();
  for (int i = 0; i <= kMaxMessages; ++i) request_.mutable_input()->mutable_conversation()->add_messages();
  EXPECT_THAT(Bad(), ElementsAre("input.conversation.messages"));
  for (int i = 0; i <= kMaxPromptTokens; ++i) request_.mutable_input()->mutable_tokens()->add_ids(7);
  EXPECT_THAT(Bad(), ElementsAre("input.tokens.ids"));
}

TEST_F(GenerationRulesTest, FunctionsHaveNamesAndAreNotTooMany) {
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

}  // namespace
}  // namespace linnet
