#include "gateway/openai_response.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/ascii.h"
#include "base/error.h"
#include "base/strings.h"
#include "google/rpc/error_details.pb.h"

namespace linnet::gateway {
namespace {

// Keeps the order that OpenAI's documents show.
using nlohmann::ordered_json;

std::string Dump(const ordered_json& value) {
  return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

const char* FinishReasonName(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_LENGTH:
    case v1::FINISH_REASON_CONTEXT:
      return "length";
    default:
      return "stop";
  }
}

ordered_json UsageOf(const v1::Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens()},
          {"completion_tokens", usage.completion_tokens()},
          {"total_tokens", uint64_t{usage.prompt_tokens()} + usage.completion_tokens()},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_prompt_tokens()}}}};
}

ordered_json Head(const OpenAiAnswer& answer, const char* chat_object) {
  return {{"id", answer.id},
          {"object", answer.chat ? chat_object : "text_completion"},
          {"created", answer.created_seconds},
          {"model", answer.model}};
}

// One event of a stream. `part`: the delta of a chat, the text of a completion.
std::string Chunk(const OpenAiAnswer& answer, ordered_json part, ordered_json finish_reason,
                  std::string_view fingerprint = "") {
  ordered_json chunk = Head(answer, "chat.completion.chunk");
  chunk["system_fingerprint"] = fingerprint.empty() ? ordered_json(nullptr) : ordered_json(fingerprint);
  ordered_json choice = {{"index", 0}};
  choice[answer.chat ? "delta" : "text"] = std::move(part);
  choice["logprobs"] = nullptr;
  choice["finish_reason"] = std::move(finish_reason);
  chunk["choices"] = ordered_json::array({std::move(choice)});
  if (answer.include_usage) chunk["usage"] = nullptr;
  return Dump(chunk);
}

// The parameter that the first violation is about, by OpenAI's name for it.
std::optional<std::string> ParamOf(const absl::Status& status) {
  const auto payload = status.GetPayload("type.googleapis.com/google.rpc.BadRequest");
  google::rpc::BadRequest bad;
  if (!payload.has_value() || !bad.ParseFromString(std::string(*payload)) || bad.field_violations().empty()) {
    return std::nullopt;
  }
  std::string field = bad.field_violations(0).field();
  for (const std::string_view prefix : {"sampling.", "input.conversation."}) {
    if (field.starts_with(prefix)) return field.substr(prefix.size());
  }
  if (field == "input.text" || field.starts_with("input.tokens")) return "prompt";
  return field;
}

const char* ErrorType(int http_status) {
  if (http_status == 429) return "rate_limit_error";
  return http_status < 500 ? "invalid_request_error" : "server_error";
}

}  // namespace

std::string CompletionJson(const OpenAiAnswer& answer, std::string_view text, const v1::Finish& finish) {
  ordered_json body = Head(answer, "chat.completion");
  ordered_json choice = {{"index", 0}};
  if (answer.chat) {
    choice["message"] = {{"role", "assistant"}, {"content", text}, {"refusal", nullptr}};
  } else {
    choice["text"] = text;
  }
  choice["logprobs"] = nullptr;
  choice["finish_reason"] = FinishReasonName(finish.reason());
  body["choices"] = ordered_json::array({std::move(choice)});
  body["usage"] = UsageOf(finish.usage());
  body["system_fingerprint"] =
      finish.numerics_id().empty() ? ordered_json(nullptr) : ordered_json(finish.numerics_id());
  return Dump(body);
}

std::string RoleChunkJson(const OpenAiAnswer& answer) {
  return Chunk(answer, {{"role", "assistant"}, {"content", ""}}, nullptr);
}

std::string TextChunkJson(const OpenAiAnswer& answer, std::string_view text) {
  if (answer.chat) return Chunk(answer, {{"content", text}}, nullptr);
  return Chunk(answer, text, nullptr);
}

std::string FinishChunkJson(const OpenAiAnswer& answer, const v1::Finish& finish) {
  ordered_json part = answer.chat ? ordered_json::object() : ordered_json("");
  return Chunk(answer, std::move(part), FinishReasonName(finish.reason()), finish.numerics_id());
}

std::string UsageChunkJson(const OpenAiAnswer& answer, const v1::Finish& finish) {
  ordered_json chunk = Head(answer, "chat.completion.chunk");
  chunk["system_fingerprint"] =
      finish.numerics_id().empty() ? ordered_json(nullptr) : ordered_json(finish.numerics_id());
  chunk["choices"] = ordered_json::array();
  chunk["usage"] = UsageOf(finish.usage());
  return Dump(chunk);
}

std::string ModelJson(std::string_view id, int64_t created_seconds) {
  return Dump({{"id", id}, {"object", "model"}, {"created", created_seconds}, {"owned_by", "linnet"}});
}

std::string ModelListJson(const v1::ListModelsResponse& models) {
  ordered_json data = ordered_json::array();
  for (const v1::ServedModel& model : models.models()) {
    data.push_back(
        {{"id", model.model()}, {"object", "model"}, {"created", model.created_seconds()}, {"owned_by", "linnet"}});
  }
  return Dump({{"object", "list"}, {"data", std::move(data)}});
}

std::string ErrorJson(const absl::Status& status) {
  const std::string reason = base::ErrorReason(status);
  // The names that OpenAI's clients know, where there are any.
  std::string code = absl::AsciiStrToLower(reason);
  if (reason == "PROMPT_TOO_LONG") code = "context_length_exceeded";
  if (reason.empty() || reason == "INVALID_FIELD") code = "";
  std::optional<std::string> param = ParamOf(status);
  if (reason == "PROMPT_TOO_LONG") param = "messages";
  if (reason == "MODEL_NOT_FOUND") param = "model";
  return Dump({{"error",
                {{"message", std::string(status.message())},
                 {"type", ErrorType(HttpStatusOf(status))},
                 {"param", param.has_value() ? ordered_json(*param) : ordered_json(nullptr)},
                 {"code", code.empty() ? ordered_json(nullptr) : ordered_json(code)}}}});
}

int HttpStatusOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return 200;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kAlreadyExists:
      return 409;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kCancelled:
      return 499;
    case absl::StatusCode::kUnimplemented:
      return 501;
    case absl::StatusCode::kUnavailable:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

}  // namespace linnet::gateway
