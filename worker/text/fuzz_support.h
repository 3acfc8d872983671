// What the tokenizers' fuzz targets check.
#pragma once

#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>

#include "worker/text/stream_decoder.h"
#include "worker/text/tokenizer.h"
#include "worker/text/utf8.h"

namespace linnet::worker {

// Dies unless ids are of the vocabulary, plain text yields no control token, and a stream has whole characters and ends
// at its stop string. `is_unknown`: of the token that stands for characters which the vocabulary lacks; it may be a
// control token. Returns the bytes of the tokens.
inline std::string CheckEncoding(const Tokenizer& tokenizer, std::string_view text,
                                 const Tokenizer::EncodeOptions& options,
                                 const std::function<bool(TokenId)>& is_unknown) {
  std::string bytes;
  StreamDecoder decoder(&tokenizer, {"stop"});
  std::string streamed;
  for (const TokenId id : tokenizer.Encode(text, options)) {
    if (id < 0 || id >= tokenizer.vocab_size()) abort();
    const bool plain = !options.parse_special && !options.add_special;
    if (plain && tokenizer.IsControl(id) && !is_unknown(id)) abort();
    bytes.append(tokenizer.TokenBytes(id, /*special=*/true));
    streamed += decoder.Push(id);
  }
  streamed += decoder.Flush();
  if (ReplaceBrokenUtf8(streamed) != streamed) abort();
  if (streamed.find("stop") != std::string::npos) abort();
  return bytes;
}

// Text of many kinds.
inline constexpr std::string_view kFuzzText =
    "The  123 caf\xC3\xA9 e\xCC\x81 \xFF <s></s> aaaa\n\xE4\xBD\xA0\xF0\x9F\x98\x80";

}  // namespace linnet::worker
