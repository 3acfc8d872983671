// Cuts text into the words within which BPE merges: the regular expressions of the model's pre-tokenizer (PCRE2, JIT).
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/text/regex.h"

namespace linnet::worker {

// Thread-safe (const).
class PreTokenizer {
 public:
  // `name`: tokenizer.ggml.pre. INVALID_ARGUMENT: not supported.
  static absl::StatusOr<std::unique_ptr<PreTokenizer>> Create(std::string_view name);
  // The words in order; together they are `text`, of which they are views. REQUIRES: text is what TokenizerUtf8
  // returns.
  std::vector<std::string_view> Split(std::string_view text) const;

  // What else follows from the pre-tokenizer's name, as llama.cpp has it.
  bool ignore_merges() const { return ignore_merges_; }      // a word that is a token is not merged up to it
  bool add_bos_default() const { return add_bos_default_; }  // where the file does not say

 private:
  PreTokenizer() = default;

  // Applied one after another: what one finds, and what lies between, the next one cuts further.
  std::vector<Regex> expressions_;
  bool ignore_merges_ = false;
  bool add_bos_default_ = false;
};

}  // namespace linnet::worker
