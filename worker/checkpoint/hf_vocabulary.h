// Tokens of a tokenizer on their way into GGUF's lists. Internal to worker/checkpoint.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "worker/gguf/gguf_writer.h"
#include "worker/gguf/token_kind.h"

namespace linnet::worker {

class HfVocabulary {
 public:
  // Of as many tokens as there are embeddings; those that nothing is put in are unused.
  explicit HfVocabulary(int64_t size)
      : texts_(static_cast<size_t>(size)), kinds_(texts_.size()), scores_(texts_.size()) {}

  // Gathers complaints about ids that are none, without an embedding, or taken.
  void Put(const nlohmann::json& id, std::string_view text, TokenKind kind);
  // Of an element of added_tokens: {id, content, special}. One without an embedding is left out, and counted.
  void PutAdded(const nlohmann::json& id, std::string_view text, bool special);
  void SetScore(std::string_view text, float score);

  // -1: none.
  int64_t IdOf(std::string_view text) const;
  int64_t size() const { return static_cast<int64_t>(texts_.size()); }
  int left_out() const { return left_out_; }
  std::vector<std::string>& problems() { return problems_; }

  void Write(bool with_scores, GgufMetadata& metadata) const;

 private:
  // Complains where it is none.
  int64_t CheckedId(const nlohmann::json& id, std::string_view text);

  std::vector<std::string> texts_;
  std::vector<TokenKind> kinds_;  // 0: nothing there
  std::vector<float> scores_;
  std::map<std::string, int64_t, std::less<>> ids_;
  int left_out_ = 0;
  std::vector<std::string> problems_;
};

}  // namespace linnet::worker
