// Our answers in OpenAI's JSON: whole ones, the events of a stream, model lists and errors. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "linnet/v1/generation.pb.h"

namespace linnet::gateway {

// What every object of one answer has in common.
struct OpenAiAnswer {
  bool chat = false;
  bool include_usage = false;
  std::string id;  // "chatcmpl-..." or "cmpl-..."
  int64_t created_seconds = 0;
  std::string model;  // as the client wrote it
};

// A whole answer ("chat.completion", "text_completion").
std::string CompletionJson(const OpenAiAnswer& answer, std::string_view text, const v1::Finish& finish);

// The objects of a stream ("chat.completion.chunk", "text_completion"), without "data:" and line ends.
std::string RoleChunkJson(const OpenAiAnswer& answer);  // the first of a chat: who speaks
std::string TextChunkJson(const OpenAiAnswer& answer, std::string_view text);
std::string FinishChunkJson(const OpenAiAnswer& answer, const v1::Finish& finish);
std::string UsageChunkJson(const OpenAiAnswer& answer, const v1::Finish& finish);

std::string ModelListJson(const v1::ListModelsResponse& models);
// `id`: as the client wrote it.
std::string ModelJson(std::string_view id, int64_t created_seconds);

// {"error": {"message", "type", "param", "code"}}
std::string ErrorJson(const absl::Status& status);
// The HTTP status for an error: 400, 404, 429, 499, 503, ...
int HttpStatusOf(const absl::Status& status);

}  // namespace linnet::gateway
