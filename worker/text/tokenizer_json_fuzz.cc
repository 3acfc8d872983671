// Any bytes as a tokenizer.json: refused, or a tokenizer that is safe: ids of its vocabulary, no control tokens from
// plain text, whole characters from a stream. Bytes behind a zero byte are the text; without one, a text of many kinds
// is.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "worker/text/stream_decoder.h"
#include "worker/text/test_support.h"
#include "worker/text/utf8.h"

namespace {

using namespace linnet::worker;  // NOLINT: a program of one file

// The token that stands for unknown characters may be a control token, and no other.
bool IsUnknown(const nlohmann::json& json, const Tokenizer& tokenizer, TokenId id) {
  const nlohmann::json& model = json["model"];
  return model.value("unk_token", nlohmann::json()) == tokenizer.TokenBytes(id, /*special=*/true) ||
         model.value("unk_id", nlohmann::json()) == id;
}

void Check(const nlohmann::json& json, const Tokenizer& tokenizer, std::string_view text, bool special) {
  StreamDecoder decoder(&tokenizer, {"stop"});
  std::string streamed;
  for (const TokenId id : tokenizer.Encode(text, {.parse_special = special, .add_special = special})) {
    if (id < 0 || id >= tokenizer.vocab_size()) abort();
    if (!special && tokenizer.IsControl(id) && !IsUnknown(json, tokenizer, id)) abort();
    streamed += decoder.Push(id);
  }
  streamed += decoder.Flush();
  if (ReplaceBrokenUtf8(streamed) != streamed) abort();
  if (streamed.find("stop") != std::string::npos) abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string_view json = input.substr(0, input.find('\0'));
  std::string text(json.size() < input.size() ? input.substr(json.size() + 1) : "");
  if (text.empty()) text = "The  123 caf\xC3\xA9 e\xCC\x81 \xFF <s></s> aaaa\n\xE4\xBD\xA0\xF0\x9F\x98\x80";
  GgufTestWriter writer;
  writer.String("tokenizer.huggingface.json", json);
  const std::string bytes = writer.Build();
  const auto file = GgufFile::Parse(BytesOf(bytes), "fuzz.gguf");
  if (!file.ok()) return 0;
  const auto tokenizer = Tokenizer::FromGguf(**file);
  if (!tokenizer.ok()) return 0;
  const nlohmann::json parsed = nlohmann::json::parse(json);
  Check(parsed, **tokenizer, text, false);
  Check(parsed, **tokenizer, text, true);
  return 0;
}
