// The byte-level BPE tokenizer: words first, then merges by rank.
#include <utility>

#include "base/status_macros.h"
#include "worker/text/bpe_merges.h"
#include "worker/text/bpe_vocabulary.h"
#include "worker/text/pre_tokenizer.h"
#include "worker/text/tokenizers.h"
#include "worker/text/utf8.h"
#include "worker/text/vocabulary_tokenizer.h"

namespace linnet::worker {
namespace {

class BpeTokenizer : public VocabularyTokenizer {
 public:
  BpeTokenizer(std::unique_ptr<BpeVocabulary> vocabulary, std::unique_ptr<PreTokenizer> pre_tokenizer, Options options)
      : VocabularyTokenizer(vocabulary->tokens(), std::move(options)),
        vocabulary_(std::move(vocabulary)),
        pre_tokenizer_(std::move(pre_tokenizer)) {}

  using VocabularyTokenizer::OptionsFromGguf;

 private:
  void EncodeOrdinary(std::string_view text, bool, bool, std::vector<TokenId>& out) const override {
    WordMerger merger(vocabulary_->merges());
    std::vector<TokenId> symbols;
    const std::string well_formed = TokenizerUtf8(text);
    for (std::string_view word : pre_tokenizer_->Split(well_formed)) {
      if (pre_tokenizer_->ignore_merges()) {
        if (const TokenId id = vocabulary_->TokenOfBytes(word); id >= 0) {
          out.push_back(id);
          continue;
        }
      }
      symbols.clear();
      for (const char c : word) symbols.push_back(vocabulary_->TokenOfByte(static_cast<uint8_t>(c)));
      merger.Append(symbols, out);  // a byte without a token is left out
    }
  }
  std::string_view BytesOfToken(TokenId id) const override { return vocabulary_->bytes(id); }

  const std::unique_ptr<BpeVocabulary> vocabulary_;
  const std::unique_ptr<PreTokenizer> pre_tokenizer_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> BpeTokenizerFromGguf(const GgufFile& file) {
  LINNET_ASSIGN_OR_RETURN(const std::string_view pre, file.GetStringOr("tokenizer.ggml.pre", "default"));
  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<PreTokenizer> pre_tokenizer, PreTokenizer::Create(pre));
  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<BpeVocabulary> vocabulary, BpeVocabulary::FromGguf(file));
  LINNET_ASSIGN_OR_RETURN(auto options, BpeTokenizer::OptionsFromGguf(file, pre_tokenizer->add_bos_default(),
                                                                      /*add_eos_default=*/false));
  return std::make_unique<BpeTokenizer>(std::move(vocabulary), std::move(pre_tokenizer), std::move(options));
}

}  // namespace linnet::worker
