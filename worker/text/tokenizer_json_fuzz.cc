// Any bytes as a tokenizer.json: refused, or a tokenizer that is safe: ids of its vocabulary, no control tokens from
// plain text, whole characters from a stream. Bytes behind a zero byte are the text; without one, a text of many kinds
// is.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "worker/text/fuzz_support.h"
#include "worker/text/test_support.h"

namespace {

using namespace linnet::worker;  // NOLINT: a program of one file

// The token that stands for unknown characters may be a control token, and no other.
bool IsUnknown(const nlohmann::json& json, const Tokenizer& tokenizer, TokenId id) {
  const nlohmann::json& model = json["model"];
  return model.value("unk_token", nlohmann::json()) == tokenizer.TokenBytes(id, /*special=*/true) ||
         model.value("unk_id", nlohmann::json()) == id;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string_view json = input.substr(0, input.find('\0'));
  std::string text(json.size() < input.size() ? input.substr(json.size() + 1) : "");
  if (text.empty()) text = kFuzzText;
  GgufTestWriter writer;
  writer.String("tokenizer.huggingface.json", json);
  const std::string bytes = writer.Build();
  const auto file = GgufFile::Parse(BytesOf(bytes), "fuzz.gguf");
  if (!file.ok()) return 0;
  const auto tokenizer = Tokenizer::FromGguf(**file);
  if (!tokenizer.ok()) return 0;
  const nlohmann::json parsed = nlohmann::json::parse(json);
  const auto is_unknown = [&](TokenId id) { return IsUnknown(parsed, **tokenizer, id); };
  CheckEncoding(**tokenizer, text, {}, is_unknown);
  CheckEncoding(**tokenizer, text, {.parse_special = true, .add_special = true}, is_unknown);
  return 0;
}
