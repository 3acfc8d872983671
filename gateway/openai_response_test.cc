#include "gateway/openai_response.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace linnet::gateway {
namespace {

using nlohmann::json;

OpenAiAnswer Answer(bool chat) {
  return {.chat = chat, .id = "x-1", .created_seconds = 1700000000, .model = "smol@stable"};
}
v1::Finish Finish(v1::FinishReason reason) {
  v1::Finish finish;
  finish.set_reason(reason);
  finish.set_numerics_id("avx2-1");
  finish.mutable_usage()->set_prompt_tokens(5);
  finish.mutable_usage()->set_completion_tokens(3);
  finish.mutable_usage()->set_cached_prompt_tokens(4);
  return finish;
}

// Word for word, since client libraries differ in what they overlook.
TEST(OpenAiResponseTest, AChatsChunks) {
  EXPECT_EQ(RoleChunkJson(Answer(true)),
            R"({"id":"x-1","object":"chat.completion.chunk","created":1700000000,"model":"smol@stable",)"
            R"("system_fingerprint":null,"choices":[{"index":0,"delta":{"role":"assistant","content":""},)"
            R"("logprobs":null,"finish_reason":null}]})");
  EXPECT_EQ(json::parse(TextChunkJson(Answer(true), "a\"\nb"))["choices"][0]["delta"],
            json::parse(R"({"content":"a\"\nb"})"));
  EXPECT_EQ(json::parse(FinishChunkJson(Answer(true), Finish(v1::FINISH_REASON_LENGTH)))["choices"][0],
            json::parse(R"({"index":0,"delta":{},"logprobs":null,"finish_reason":"length"})"));
  const json usage = json::parse(UsageChunkJson(Answer(true), Finish(v1::FINISH_REASON_STOP)));
  EXPECT_EQ(usage["choices"], json::array());
  EXPECT_EQ(usage["usage"], json::parse(R"({"prompt_tokens":5,"completion_tokens":3,"total_tokens":8,
                                            "prompt_tokens_details":{"cached_tokens":4}})"));
}

TEST(OpenAiResponseTest, AWholeChat) {
  EXPECT_EQ(CompletionJson(Answer(true), "Hello", Finish(v1::FINISH_REASON_STOP)),
            R"({"id":"x-1","object":"chat.completion","created":1700000000,"model":"smol@stable","choices":[)"
            R"({"index":0,"message":{"role":"assistant","content":"Hello","refusal":null},"logprobs":null,)"
            R"("finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8,)"
            R"("prompt_tokens_details":{"cached_tokens":4}},"system_fingerprint":"avx2-1"})");
}

TEST(OpenAiResponseTest, ACompletion) {
  const json whole = json::parse(CompletionJson(Answer(false), "Hello", Finish(v1::FINISH_REASON_STOP_TEXT)));
  EXPECT_EQ(whole["object"], "text_completion");
  EXPECT_EQ(whole["choices"][0], json::parse(R"({"index":0,"text":"Hello","logprobs":null,"finish_reason":"stop"})"));
  EXPECT_EQ(json::parse(TextChunkJson(Answer(false), "He"))["choices"][0],
            json::parse(R"({"index":0,"text":"He","logprobs":null,"finish_reason":null})"));
  EXPECT_EQ(json::parse(FinishChunkJson(Answer(false), Finish(v1::FINISH_REASON_CONTEXT)))["choices"][0],
            json::parse(R"({"index":0,"text":"","logprobs":null,"finish_reason":"length"})"));
}

TEST(OpenAiResponseTest, UsageIsNullInTheOtherChunksWhereItWasAskedFor) {
  OpenAiAnswer answer = Answer(true);
  EXPECT_FALSE(json::parse(TextChunkJson(answer, "a")).contains("usage"));
  answer.include_usage = true;
  EXPECT_TRUE(json::parse(TextChunkJson(answer, "a")).at("usage").is_null());
}

TEST(OpenAiResponseTest, ModelLists) {
  v1::ListModelsResponse models;
  EXPECT_EQ(ModelListJson(models), R"({"object":"list","data":[]})");
  models.add_models()->set_model("smol");
  models.mutable_models(0)->set_created_seconds(1700000000);
  EXPECT_EQ(ModelListJson(models),
            R"({"object":"list","data":[{"id":"smol","object":"model","created":1700000000,"owned_by":"linnet"}]})");
}

TEST(OpenAiResponseTest, ErrorsByCodeAndReason) {
  const auto error = [](absl::StatusCode code, const char* reason) { return base::Error(code, reason, "why"); };
  EXPECT_EQ(ErrorJson(error(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND")),
            R"({"error":{"message":"why","type":"invalid_request_error","param":"model","code":"model_not_found"}})");
  EXPECT_EQ(ErrorJson(base::Error(absl::StatusCode::kInvalidArgument, "PROMPT_TOO_LONG", "why")),
            R"({"error":{"message":"why","type":"invalid_request_error","param":"messages",)"
            R"("code":"context_length_exceeded"}})");
  const json field = json::parse(ErrorJson(base::FieldErrors({{"sampling.top_p", "is bad"}, {"stop", "too"}})));
  EXPECT_EQ(field["error"]["param"], "top_p");
  EXPECT_TRUE(field["error"]["code"].is_null());
  EXPECT_EQ(json::parse(ErrorJson(error(absl::StatusCode::kInternal, "INTERNAL_ERROR")))["error"]["type"],
            "server_error");
  EXPECT_EQ(HttpStatusOf(error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL")), 429);
  EXPECT_EQ(HttpStatusOf(error(absl::StatusCode::kUnavailable, "NO_READY_WORKER")), 503);
  EXPECT_EQ(HttpStatusOf(error(absl::StatusCode::kDeadlineExceeded, "DEADLINE_PASSED")), 504);
  EXPECT_EQ(HttpStatusOf(error(absl::StatusCode::kCancelled, "CLIENT_CANCELLED")), 499);
}

// A worker's text is valid UTF-8; if it ever were not, the answer still is JSON.
TEST(OpenAiResponseTest, BrokenTextStillMakesJson) {
  EXPECT_FALSE(json::parse(TextChunkJson(Answer(true), "\xff"), nullptr, false).is_discarded());
}

}  // namespace
}  // namespace linnet::gateway
