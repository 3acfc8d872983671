// What all tokenizers do alike: special tokens are cut out of a text, BOS and EOS put around it; what lies between is
// for the kind of tokenizer. Internal to worker/text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/text/added_token_rules.h"
#include "worker/text/tokenizer.h"
#include "worker/text/vocabulary.h"

namespace linnet::worker {

class VocabularyTokenizer : public Tokenizer {
 public:
  std::vector<TokenId> Encode(std::string_view text, const EncodeOptions& options) const final;
  std::string_view TokenBytes(TokenId id, bool special) const final;
  int vocab_size() const final { return vocabulary_.size(); }
  bool IsControl(TokenId id) const final { return vocabulary_.contains(id) && vocabulary_.IsControl(id); }
  const std::vector<TokenId>& end_of_generation() const final { return vocabulary_.end_of_generation(); }
  TokenId bos() const final { return vocabulary_.bos(); }
  TokenId eos() const final { return vocabulary_.eos(); }
  const std::vector<std::string>& control_texts() const final { return control_texts_; }

 protected:
  struct Options {
    bool add_bos = false, add_eos = false;
    AddedTokenRules added;
  };
  // tokenizer.ggml.add_bos_token and .add_eos_token, and what else there is to say of added tokens.
  static absl::StatusOr<Options> OptionsFromGguf(const GgufFile& file, bool add_bos_default, bool add_eos_default);

  // `vocabulary` must outlive the tokenizer.
  VocabularyTokenizer(const Vocabulary& vocabulary, Options options);
  // A part of the text without special tokens, not empty. `begins`, `ends`: it is the first or the last, or a control
  // token stands before or behind it.
  virtual void EncodeOrdinary(std::string_view text, bool begins, bool ends, std::vector<TokenId>& out) const = 0;
  virtual std::string_view BytesOfToken(TokenId id) const = 0;

 private:
  struct Fragment {
    std::string_view text;
    TokenId token = -1;  // -1: ordinary text
  };
  std::vector<Fragment> Partition(std::string_view text, const EncodeOptions& options) const;
  void CutOut(TokenId id, std::string_view text, const Fragment& fragment, std::vector<Fragment>& out) const;
  void TakeSpaces(std::vector<Fragment>& fragments) const;
  bool BeginsBehind(TokenId id) const;

  const Vocabulary& vocabulary_;
  const Options options_;
  std::vector<std::string> control_texts_;
};

}  // namespace linnet::worker
