// What the tests of worker/text/hf share: GGUF files that hold a tokenizer.json.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/log/check.h"
#include "worker/text/test_support.h"

namespace linnet::worker {

inline std::string HfBytes(const std::string& json, GgufTestWriter extra = {}) {
  extra.String("tokenizer.huggingface.json", json);
  return extra.Build();
}

inline absl::Status HfError(const std::string& json, const GgufTestWriter& extra = {}) {
  return TokenizerError(HfBytes(json, extra));
}

inline TokenizerFile MakeHf(const std::string& json, const GgufTestWriter& extra = {}) {
  return OpenTokenizer(HfBytes(json, extra));
}

// The smallest of its kind: the letters a to h, U+2581, a space, the merges of "ab" and "cd", an unknown token.
inline nlohmann::json SmallBpe() {
  nlohmann::json vocab = {{"<unk>", 0}};
  for (const char* text : {"a", "b", "c", "d", "e", "f", "g", "h", "\xE2\x96\x81", " ", "ab", "cd"}) {
    vocab[text] = vocab.size();
  }
  return {{"version", "1.0"},
          {"added_tokens", nlohmann::json::array()},
          {"model", {{"type", "BPE"}, {"unk_token", "<unk>"}, {"vocab", vocab}, {"merges", {"a b", "c d"}}}},
          {"decoder", {{"type", "Fuse"}}}};
}

inline nlohmann::json AddedTokenJson(int id, const std::string& content, bool special, bool normalized = false) {
  return {{"id", id},        {"content", content}, {"special", special},  {"normalized", normalized},
          {"lstrip", false}, {"rstrip", false},    {"single_word", false}};
}

}  // namespace linnet::worker
