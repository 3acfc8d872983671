// tokenizer.json's added_tokens: tokens that are found in a text before the model sees it. Internal to worker/text/hf.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/text/piece_trie.h"
#include "worker/text/tokenizer.h"

namespace linnet::worker::hf {

struct AddedToken {
  TokenId id = -1;
  std::string content;
  bool single_word = false;  // only between characters that belong to no word
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space behind it
  bool normalized = false;   // looked for in the normalized text, by its normalized form
  bool special = false;      // a control token
};

// INVALID_ARGUMENT: malformed or not supported, by name; an id that is not the one that Hugging Face's library gives:
// that of the model's token with this text, else the next one behind the model's.
absl::StatusOr<std::vector<AddedToken>> ReadAddedTokens(const nlohmann::json& json,
                                                        const std::vector<std::pair<std::string, TokenId>>& model);

// Finds some of the added tokens. Thread-safe (const).
class AddedTokenFinder {
 public:
  struct Fragment {
    size_t begin = 0, end = 0;
    TokenId id = -1;  // -1: ordinary text
  };

  AddedTokenFinder() = default;
  // (form, token): what the token looks like in the texts. Of equal forms the first counts; empty ones are not found.
  // REQUIRES: the tokens outlive it.
  explicit AddedTokenFinder(const std::vector<std::pair<std::string, const AddedToken*>>& forms);

  // The whole text in order, without empty fragments. Of tokens that overlap, the leftmost and then the longest counts,
  // also where `skip` then says that it is ordinary text.
  std::vector<Fragment> Find(std::string_view text, const std::function<bool(const AddedToken&)>& skip) const;

 private:
  PieceTrie trie_;  // of indices into tokens_
  std::vector<const AddedToken*> tokens_;
};

}  // namespace linnet::worker::hf
