#include "gateway/openai_request.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/json_depth.h"
#include "base/strings.h"

namespace linnet::gateway {
namespace {

using nlohmann::json;

// Arrays are bounded by the body's size; violations of their elements by this.
constexpr size_t kMaxListed = 8;

// A body as a JSON object, or INVALID_FIELD.
absl::StatusOr<json> ParseObject(std::string_view text) {
  if (text.empty()) return base::FieldErrors({{"body", "is empty; a JSON object is expected"}});
  if (base::NestsDeeperThan(text, kMaxJsonDepth))
    return base::FieldErrors({{"body", base::StrCat("nests deeper than ", kMaxJsonDepth)}});
  json value;
  try {
    value = json::parse(text);
  } catch (const json::parse_error& e) {
    return base::FieldErrors({{"body", base::StrCat("is not valid JSON (error at byte ", e.byte, ")")}});
  } catch (const json::exception&) {  // a number out of range
    return base::FieldErrors({{"body", "has a number that is out of range"}});
  }
  if (!value.is_object()) return base::FieldErrors({{"body", "must be a JSON object"}});
  return value;
}

// Reads the members of one object and gathers what is wrong with them. Null counts as absent, as in OpenAI's API.
class Reader {
 public:
  explicit Reader(const json& object) : object_(object) {}

  const json* Find(const char* name) const {
    const auto it = object_.find(name);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }
  void Bad(std::string field, std::string what) { bad_.emplace_back(std::move(field), std::move(what)); }

  std::optional<bool> Bool(const char* name) {
    const json* value = Find(name);
    if (value == nullptr) return std::nullopt;
    if (value->is_boolean()) return value->get<bool>();
    Bad(name, "must be true or false");
    return std::nullopt;
  }
  std::optional<double> Number(const char* name) {
    const json* value = Find(name);
    if (value == nullptr) return std::nullopt;
    if (value->is_number()) return value->get<double>();
    Bad(name, "must be a number");
    return std::nullopt;
  }
  std::optional<int64_t> Integer(const char* name, int64_t least, int64_t most) {
    const json* value = Find(name);
    if (value == nullptr) return std::nullopt;
    std::optional<int64_t> n;
    if (value->is_number_unsigned()) {
      if (const auto u = value->get<uint64_t>(); u <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        n = static_cast<int64_t>(u);
      }
    } else if (value->is_number_integer()) {
      n = value->get<int64_t>();
    } else if (value->is_number_float()) {
      const double d = value->get<double>();
      if (d == std::floor(d) && std::abs(d) < 9e15) n = static_cast<int64_t>(d);
    }
    if (n.has_value() && *n >= least && *n <= most) return n;
    Bad(name, base::StrCat("must be an integer in [", least, ", ", most, "]"));
    return std::nullopt;
  }
  // Refuses a parameter that would change the answer, unless it has a value that asks for nothing.
  void Unsupported(const char* name, bool (*asks_for_nothing)(const json&)) {
    const json* value = Find(name);
    if (value != nullptr && !asks_for_nothing(*value)) Bad(name, "is not supported yet; leave it out");
  }

  size_t violations() const { return bad_.size(); }
  absl::Status status() const { return bad_.empty() ? absl::OkStatus() : base::FieldErrors(bad_); }

 private:
  const json& object_;
  std::vector<std::pair<std::string, std::string>> bad_;
};

bool IsZero(const json& v) { return v.is_number() && v.get<double>() == 0; }
bool IsOne(const json& v) { return v.is_number() && v.get<double>() == 1; }
bool IsFalse(const json& v) { return v.is_boolean() && !v.get<bool>(); }
bool IsEmpty(const json& v) { return (v.is_array() || v.is_object()) && v.empty(); }
bool IsNone(const json& v) { return v.is_string() && (v == "none" || v == "auto"); }
bool IsEmptyString(const json& v) { return v.is_string() && v.get_ref<const std::string&>().empty(); }
bool IsTextFormat(const json& v) { return v.is_object() && v.contains("type") && v["type"] == "text"; }
bool IsTextOnly(const json& v) { return v.is_array() && v.size() == 1 && v[0] == "text"; }

void ReadStop(Reader& in, v1::GenerateRequest& out) {
  const json* stop = in.Find("stop");
  if (stop == nullptr) return;
  if (stop->is_string()) {
    out.add_stop(stop->get<std::string>());
  } else if (stop->is_array()) {
    for (const json& text : *stop) {
      if (!text.is_string()) return in.Bad("stop", "must be a string or an array of strings");
      out.add_stop(text.get<std::string>());
    }
  } else {
    in.Bad("stop", "must be a string or an array of strings");
  }
}

void ReadSampling(Reader& in, v1::Sampling& out) {
  if (auto v = in.Number("temperature")) out.set_temperature(static_cast<float>(*v));
  if (auto v = in.Number("top_p")) out.set_top_p(static_cast<float>(*v));
  if (auto v = in.Number("min_p")) out.set_min_p(static_cast<float>(*v));
  // -1 is how several servers write "all".
  if (auto v = in.Integer("top_k", -1, std::numeric_limits<int32_t>::max())) {
    out.set_top_k(static_cast<uint32_t>(std::max<int64_t>(*v, 0)));
  }
  if (auto v = in.Integer("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max())) {
    out.set_seed(static_cast<uint64_t>(*v));
  }
}

// What both endpoints have in common.
void ReadCommon(Reader& in, OpenAiRequest& out) {
  const json* model = in.Find("model");
  if (model == nullptr) {
    in.Bad("model", "is required");
  } else if (!model->is_string()) {
    in.Bad("model", "must be a string");
  } else {
    out.generate.set_model(model->get<std::string>());
  }
  ReadSampling(in, *out.generate.mutable_sampling());
  ReadStop(in, out.generate);
  out.stream = in.Bool("stream").value_or(false);
  if (const json* options = in.Find("stream_options"); options != nullptr) {
    if (!options->is_object()) {
      in.Bad("stream_options", "must be an object");
    } else if (!out.stream) {
      in.Bad("stream_options", "is only allowed where stream is true");
    } else if (const auto it = options->find("include_usage"); it != options->end() && !it->is_null()) {
      if (it->is_boolean()) {
        out.include_usage = it->get<bool>();
      } else {
        in.Bad("stream_options.include_usage", "must be true or false");
      }
    }
  }
  if (auto v = in.Bool("ignore_eos")) out.generate.set_ignore_eos(*v);
  if (const json* n = in.Find("n"); n != nullptr && !IsOne(*n)) in.Bad("n", "must be 1: one choice per request");
  in.Unsupported("frequency_penalty", IsZero);
  in.Unsupported("presence_penalty", IsZero);
  in.Unsupported("repetition_penalty", IsOne);
  in.Unsupported("logit_bias", IsEmpty);
}

void ReadMaxTokens(Reader& in, const char* name, OpenAiRequest& out) {
  if (auto v = in.Integer(name, 1, std::numeric_limits<int32_t>::max())) {
    out.generate.set_max_tokens(static_cast<uint32_t>(*v));
  }
}

// A message's content: a string, or an array of text parts.
void ReadContent(Reader& in, const std::string& field, const json& content, std::string& out) {
  if (content.is_string()) {
    out = content.get<std::string>();
    return;
  }
  if (!content.is_array()) return in.Bad(field, "must be a string or an array of text parts");
  for (size_t i = 0; i < content.size(); ++i) {
    const json& part = content[i];
    const std::string name = base::StrCat(field, "[", i, "]");
    if (!part.is_object() || !part.contains("type") || !part["type"].is_string()) {
      return in.Bad(name, "must be an object with a type");
    }
    if (part["type"] != "text") {
      return in.Bad(base::StrCat(name, ".type"), "only \"text\" parts are supported");
    }
    if (!part.contains("text") || !part["text"].is_string()) {
      return in.Bad(base::StrCat(name, ".text"), "must be a string");
    }
    out += part["text"].get_ref<const std::string&>();
  }
}

void ReadMessage(Reader& in, const std::string& field, const json& message, v1::Message& out) {
  if (!message.is_object()) return in.Bad(field, "must be an object");
  const auto role = message.find("role");
  if (role == message.end() || !role->is_string() || role->get_ref<const std::string&>().empty()) {
    return in.Bad(base::StrCat(field, ".role"), "must be a string, such as \"user\"");
  }
  // What newer clients write for "system".
  out.set_role(*role == "developer" ? "system" : role->get<std::string>());
  for (const char* name : {"tool_calls", "function_call", "audio"}) {
    if (const auto it = message.find(name); it != message.end() && !it->is_null() && !IsEmpty(*it)) {
      return in.Bad(base::StrCat(field, ".", name), "is not supported yet; leave it out");
    }
  }
  const auto content = message.find("content");
  if (content == message.end() || content->is_null()) {
    return in.Bad(base::StrCat(field, ".content"), "is required");
  }
  ReadContent(in, base::StrCat(field, ".content"), *content, *out.mutable_content());
}

void ReadMessages(Reader& in, OpenAiRequest& out) {
  const json* messages = in.Find("messages");
  if (messages == nullptr) return in.Bad("messages", "is required");
  if (!messages->is_array() || messages->empty())
    return in.Bad("messages", "must be an array with at least one message");
  v1::Conversation& conversation = *out.generate.mutable_input()->mutable_conversation();
  size_t failed = 0;
  for (size_t i = 0; i < messages->size() && failed < kMaxListed; ++i) {
    const size_t before = in.violations();
    ReadMessage(in, base::StrCat("messages[", i, "]"), (*messages)[i], *conversation.add_messages());
    if (in.violations() != before) ++failed;
  }
}

bool ReadTokens(const json& list, v1::Tokens& out) {
  for (const json& id : list) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > std::numeric_limits<uint32_t>::max()) return false;
    out.add_ids(static_cast<uint32_t>(id.get<uint64_t>()));
  }
  return true;
}

void ReadPrompt(Reader& in, OpenAiRequest& out) {
  const json* prompt = in.Find("prompt");
  if (prompt == nullptr) return in.Bad("prompt", "is required");
  v1::Input& input = *out.generate.mutable_input();
  if (prompt->is_array() && !prompt->empty() && !(*prompt)[0].is_number()) {
    if (prompt->size() != 1) return in.Bad("prompt", "must be one prompt: a request has one choice");
    prompt = &(*prompt)[0];
  }
  if (prompt->is_string()) {
    input.set_text(prompt->get<std::string>());
  } else if (!prompt->is_array() || prompt->empty() || !ReadTokens(*prompt, *input.mutable_tokens())) {
    in.Bad("prompt", "must be a string or an array of token ids");
  }
}

}  // namespace

absl::StatusOr<OpenAiRequest> ParseChatRequest(std::string_view text) {
  absl::StatusOr<json> body = ParseObject(text);
  if (!body.ok()) return body.status();
  Reader in(*body);
  OpenAiRequest out;
  out.chat = true;
  ReadCommon(in, out);
  ReadMessages(in, out);
  ReadMaxTokens(in, "max_tokens", out);
  ReadMaxTokens(in, "max_completion_tokens", out);  // the newer name wins
  in.Unsupported("logprobs", IsFalse);
  in.Unsupported("top_logprobs", IsZero);
  in.Unsupported("tools", IsEmpty);
  in.Unsupported("tool_choice", IsNone);
  in.Unsupported("functions", IsEmpty);
  in.Unsupported("function_call", IsNone);
  in.Unsupported("response_format", IsTextFormat);
  in.Unsupported("modalities", IsTextOnly);
  in.Unsupported("audio", IsEmpty);
  in.Unsupported("web_search_options", [](const json&) { return false; });
  if (absl::Status status = in.status(); !status.ok()) return status;
  return out;
}

absl::StatusOr<OpenAiRequest> ParseCompletionRequest(std::string_view text) {
  absl::StatusOr<json> body = ParseObject(text);
  if (!body.ok()) return body.status();
  Reader in(*body);
  OpenAiRequest out;
  ReadCommon(in, out);
  ReadPrompt(in, out);
  out.generate.set_max_tokens(kDefaultCompletionTokens);
  ReadMaxTokens(in, "max_tokens", out);
  in.Unsupported("logprobs", [](const json&) { return false; });  // 0 asks for the chosen tokens' own
  in.Unsupported("echo", IsFalse);
  in.Unsupported("suffix", IsEmptyString);
  in.Unsupported("best_of", IsOne);
  in.Unsupported("response_format", IsTextFormat);
  if (absl::Status status = in.status(); !status.ok()) return status;
  return out;
}

}  // namespace linnet::gateway
