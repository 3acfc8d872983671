#include "worker/server/prompt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/testing.h"
#include "worker/server/stub_model.h"

namespace linnet::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The stub's tokens are bytes, and its chat template writes "role: content" and a new line for each message.
class EncodePromptTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::vector<TokenId>> Encode() const { return EncodePrompt(input_, "input", *variant_); }

  const std::unique_ptr<LoadedVariant> variant_ = MakeStubVariant();
  v1::Input input_;
};

TEST_F(EncodePromptTest, TextIsContinuedAsItStands) {
  input_.set_text("Hi");
  EXPECT_THAT(*Encode(), ElementsAre('H', 'i'));
}

TEST_F(EncodePromptTest, TokensAreTakenAsTheyAre) {
  for (const TokenId id : {7, 0, 255}) input_.mutable_tokens()->add_ids(id);
  EXPECT_THAT(*Encode(), ElementsAre(7, 0, 255));
}

TEST_F(EncodePromptTest, ConversationsGoThroughTheChatTemplate) {
  v1::Message* message = input_.mutable_conversation()->add_messages();
  message->set_role("user");
  message->set_content("Hi");
  EXPECT_THAT(*Encode(), ElementsAre('u', 's', 'e', 'r', ':', ' ', 'H', 'i', '\n'));
}

TEST_F(EncodePromptTest, AConversationNeedsAChatTemplate) {
  variant_->chat_template = nullptr;
  input_.mutable_conversation()->add_messages()->set_role("user");
  const absl::Status status = Encode().status();
  EXPECT_EQ(base::ErrorReason(status), "CHAT_TEMPLATE_FAILED");
  EXPECT_THAT(std::string(status.message()), HasSubstr("send text instead"));
}

// As of a text that the model's normalizer takes away whole.
TEST_F(EncodePromptTest, APromptHasAtLeastOneToken) {
  input_.set_text("");
  const absl::Status status = Encode().status();
  EXPECT_EQ(base::ErrorReason(status), "INVALID_FIELD");
  EXPECT_THAT(base::InvalidFields(status), ElementsAre("input"));
}

}  // namespace
}  // namespace linnet::worker
