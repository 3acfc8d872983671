#include "gateway/openai_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/strings.h"
#include "base/testing.h"

namespace linnet::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Chat(const std::string& more) {
  return base::StrCat(R"({"model":"smol","messages":[{"role":"user","content":"Hi"}])", more.empty() ? "" : ",", more,
                      "}");
}
std::string Completion(const std::string& more) { return base::StrCat(R"({"model":"smol",)", more, "}"); }

std::vector<std::string> BadFields(const absl::Status& status) {
  if (status.ok()) return {};
  EXPECT_EQ(base::ErrorReason(status), "INVALID_FIELD");
  return base::InvalidFields(status);
}
std::vector<std::string> BadChat(const std::string& json) { return BadFields(ParseChatRequest(json).status()); }
std::vector<std::string> BadCompletion(const std::string& json) {
  return BadFields(ParseCompletionRequest(json).status());
}

TEST(OpenAiRequestTest, EveryParameterArrives) {
  const auto r = ParseChatRequest(
      R"({"model":"smol@stable","messages":[{"role":"developer","content":"Be brief."},{"role":"user","content":"Hi"}],
          "temperature":0.25,"top_p":0.5,"top_k":40,"min_p":0.125,"seed":12,"max_completion_tokens":7,"max_tokens":9,
          "stop":["a","b"],"stream":true,"stream_options":{"include_usage":true},"n":1})");
  ASSERT_TRUE(r.ok()) << r.status();
  EXPECT_TRUE(r->chat);
  EXPECT_TRUE(r->stream);
  EXPECT_TRUE(r->include_usage);
  EXPECT_EQ(r->generate.model(), "smol@stable");
  const auto& messages = r->generate.input().conversation().messages();
  ASSERT_EQ(messages.size(), 2);
  EXPECT_EQ(messages[0].role(), "system");
  EXPECT_EQ(messages[1].role(), "user");
  EXPECT_EQ(messages[1].content(), "Hi");
  EXPECT_EQ(r->generate.sampling().temperature(), 0.25f);
  EXPECT_EQ(r->generate.sampling().top_p(), 0.5f);
  EXPECT_EQ(r->generate.sampling().top_k(), 40u);
  EXPECT_EQ(r->generate.sampling().min_p(), 0.125f);
  EXPECT_EQ(r->generate.sampling().seed(), 12u);
  EXPECT_EQ(r->generate.max_tokens(), 7u);
  EXPECT_THAT(r->generate.stop(), ElementsAre("a", "b"));
}

TEST(OpenAiRequestTest, WhatIsAbsentOrNullStaysUnset) {
  const auto r = ParseChatRequest(Chat(
      R"("temperature":null,"top_p":null,"max_tokens":null,"stop":null,"seed":null,"stream":null,"tools":null,"n":null)"));
  ASSERT_TRUE(r.ok()) << r.status();
  EXPECT_FALSE(r->stream);
  EXPECT_FALSE(r->generate.sampling().has_temperature());
  EXPECT_FALSE(r->generate.sampling().has_seed());
  EXPECT_EQ(r->generate.max_tokens(), 0u);
  EXPECT_THAT(r->generate.stop(), IsEmpty());
}

TEST(OpenAiRequestTest, TextPartsArePutTogetherAndOthersRefused) {
  const auto r = ParseChatRequest(
      R"({"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]})");
  ASSERT_TRUE(r.ok()) << r.status();
  EXPECT_EQ(r->generate.input().conversation().messages(0).content(), "ab");
  EXPECT_THAT(
      BadChat(R"({"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]})"),
      ElementsAre("messages[0].content[0].type"));
  EXPECT_THAT(BadChat(R"({"model":"m","messages":[{"role":"user","content":[{"type":"text"}]}]})"),
              ElementsAre("messages[0].content[0].text"));
}

TEST(OpenAiRequestTest, UnknownParametersAreIgnored) {
  EXPECT_TRUE(ParseChatRequest(Chat(R"("user":"me","store":true,"metadata":{"a":1},"parallel_tool_calls":true)")).ok());
}

TEST(OpenAiRequestTest, KnownOnesThatWouldChangeTheAnswerAreRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("logprobs":true)", "logprobs"},
      {R"("tools":[{"type":"function"}])", "tools"},
      {R"("response_format":{"type":"json_object"})", "response_format"},
      {R"("frequency_penalty":0.5)", "frequency_penalty"},
      {R"("logit_bias":{"50256":-100})", "logit_bias"},
      {R"("n":2)", "n"},
      {R"("tool_choice":"required")", "tool_choice"},
  };
  for (const auto& [json, field] : cases) EXPECT_THAT(BadChat(Chat(json)), ElementsAre(field)) << json;
  EXPECT_TRUE(ParseChatRequest(Chat(R"("logprobs":false,"tools":[],"response_format":{"type":"text"},"n":1,
      "frequency_penalty":0,"presence_penalty":0.0,"logit_bias":{},"tool_choice":"none")"))
                  .ok());
}

TEST(OpenAiRequestTest, WrongTypesAreNamedAllAtOnce) {
  EXPECT_THAT(BadChat(R"({"model":1,"messages":"x","temperature":"hot","stream":"yes","stop":[1],"max_tokens":0,
                          "top_k":-2,"seed":1.5})"),
              ElementsAre("model", "temperature", "top_k", "seed", "stop", "stream", "messages", "max_tokens"));
  EXPECT_THAT(BadChat("{}"), ElementsAre("model", "messages"));
}

TEST(OpenAiRequestTest, MessagesNeedARoleAndContent) {
  EXPECT_THAT(BadChat(R"({"model":"m","messages":[]})"), ElementsAre("messages"));
  EXPECT_THAT(BadChat(R"({"model":"m","messages":[1,{"content":"x"},{"role":"user"},{"role":"user","content":null},
                          {"role":"assistant","tool_calls":[{"id":"1"}]}]})"),
              ElementsAre("messages[0]", "messages[1].role", "messages[2].content", "messages[3].content",
                          "messages[4].tool_calls"));
}

TEST(OpenAiRequestTest, StreamOptionsNeedAStream) {
  EXPECT_THAT(BadChat(Chat(R"("stream_options":{"include_usage":true})")), ElementsAre("stream_options"));
  EXPECT_THAT(BadChat(Chat(R"("stream":true,"stream_options":{"include_usage":1})")),
              ElementsAre("stream_options.include_usage"));
}

TEST(OpenAiRequestTest, PromptsOfEachForm) {
  EXPECT_EQ(ParseCompletionRequest(Completion(R"("prompt":"Once")"))->generate.input().text(), "Once");
  EXPECT_EQ(ParseCompletionRequest(Completion(R"("prompt":["Once"])"))->generate.input().text(), "Once");
  EXPECT_THAT(ParseCompletionRequest(Completion(R"("prompt":[1,2])"))->generate.input().tokens().ids(),
              ElementsAre(1, 2));
  EXPECT_THAT(ParseCompletionRequest(Completion(R"("prompt":[[1,2]])"))->generate.input().tokens().ids(),
              ElementsAre(1, 2));
  for (const char* bad : {R"("prompt":["a","b"])", R"("prompt":[1,-2])", R"("prompt":[1,4294967296])", R"("prompt":[])",
                          R"("prompt":{})", R"("stream":false)"}) {
    EXPECT_THAT(BadCompletion(Completion(bad)), ElementsAre("prompt")) << bad;
  }
}

TEST(OpenAiRequestTest, CompletionsHaveOpenAisDefaultLength) {
  EXPECT_EQ(ParseCompletionRequest(Completion(R"("prompt":"x")"))->generate.max_tokens(), 16u);
  EXPECT_EQ(ParseCompletionRequest(Completion(R"("prompt":"x","max_tokens":3)"))->generate.max_tokens(), 3u);
  EXPECT_THAT(BadCompletion(Completion(R"("prompt":"x","echo":true,"best_of":2,"logprobs":0,"suffix":"y")")),
              ElementsAre("logprobs", "echo", "suffix", "best_of"));
}

TEST(OpenAiRequestTest, WhatIsNoJsonIsAnErrorThatQuotesNothing) {
  const absl::Status status = ParseChatRequest(R"({"model":"m","messages":[{"role":"user","content":"secret)").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), ::testing::Not(HasSubstr("secret")));
  for (const char* bad : {"", "null", "[]", "1", "{", R"({"a":1}x)", "{\"model\":\"\xff\"}", R"({"seed":1e999})"}) {
    EXPECT_THAT(BadChat(bad), ElementsAre("body")) << bad;
  }
}

TEST(OpenAiRequestTest, DeepNestingIsRefused) {
  const std::string deep = base::StrCat(R"("x":)", std::string(31, '['), std::string(31, ']'));
  EXPECT_TRUE(ParseChatRequest(Chat(deep)).ok());
  const std::string deeper = base::StrCat(R"("x":)", std::string(32, '['), std::string(32, ']'));
  EXPECT_THAT(BadChat(Chat(deeper)), ElementsAre("body"));
  EXPECT_THAT(BadChat(std::string(1 << 20, '[')), ElementsAre("body"));
  EXPECT_TRUE(ParseChatRequest(Chat(R"("x":"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"[[[[")")).ok()) << "in a string";
}

}  // namespace
}  // namespace linnet::gateway
