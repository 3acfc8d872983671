// SentencePiece's unigram tokenizer (T5, XLM-R and their kin) from GGUF metadata.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/text/sentencepiece_normalizer.h"
#include "worker/text/sentencepiece_pieces.h"
#include "worker/text/tokenizers.h"
#include "worker/text/unigram.h"
#include "worker/text/vocabulary_tokenizer.h"

namespace linnet::worker {
namespace {

// How much less than the worst piece an unknown character scores, as SentencePiece has it.
constexpr double kUnknownPenalty = 10;

class UnigramTokenizer : public VocabularyTokenizer {
 public:
  UnigramTokenizer(std::unique_ptr<SentencePieces> pieces, Unigram unigram, SentencePieceNormalizer normalizer,
                   Options options)
      : VocabularyTokenizer(pieces->tokens(), std::move(options)),
        pieces_(std::move(pieces)),
        unigram_(std::move(unigram)),
        normalizer_(std::move(normalizer)) {}

  using VocabularyTokenizer::OptionsFromGguf;

 private:
  void EncodeOrdinary(std::string_view text, bool begins, bool ends, std::vector<TokenId>& out) const override {
    unigram_.Encode(normalizer_.Normalize(text, begins, ends), out);
  }
  std::string_view BytesOfToken(TokenId id) const override { return pieces_->bytes(id); }

  const std::unique_ptr<SentencePieces> pieces_;
  const Unigram unigram_;
  const SentencePieceNormalizer normalizer_;
};

absl::StatusOr<Unigram> MakeUnigram(const GgufFile& file, const SentencePieces& pieces) {
  const Vocabulary& tokens = pieces.tokens();
  std::vector<std::pair<std::string_view, TokenId>> texts;
  std::vector<double> scores;
  double worst = std::numeric_limits<double>::max();
  for (TokenId id = 0; id < tokens.size(); ++id) {
    const TokenKind kind = tokens.kind(id);
    scores.push_back(kind == TokenKind::kUserDefined ? 0 : pieces.score(id));
    if (kind == TokenKind::kNormal) worst = std::min(worst, scores.back());
    if (tokens.IsControl(id) || kind == TokenKind::kByte || kind == TokenKind::kUnused) continue;
    if (tokens.text(id).size() > Unigram::kMaxPieceBytes) {
      return VocabularyError(file, absl::StrCat("token ", id, " has ", tokens.text(id).size(), " bytes; at most ",
                                                Unigram::kMaxPieceBytes, " are supported"));
    }
    texts.emplace_back(tokens.text(id), id);
  }
  Unigram::Options options{
      .unknown = pieces.unknown(), .unknown_score = worst - kUnknownPenalty, .single_precision = true};
  for (int b = 0; b < 256; ++b) {
    options.token_of_byte[static_cast<size_t>(b)] = pieces.TokenOfByte(static_cast<uint8_t>(b));
  }
  return Unigram(std::move(texts), std::move(scores), options);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> UnigramTokenizerFromGguf(const GgufFile& file) {
  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<SentencePieces> pieces, SentencePieces::FromGguf(file));
  LINNET_ASSIGN_OR_RETURN(Unigram unigram, MakeUnigram(file, *pieces));
  LINNET_ASSIGN_OR_RETURN(SentencePieceNormalizer normalizer, SentencePieceNormalizer::FromGguf(file, {}));
  LINNET_ASSIGN_OR_RETURN(auto options, UnigramTokenizer::OptionsFromGguf(file, /*add_bos_default=*/false,
                                                                          /*add_eos_default=*/true));
  return std::make_unique<UnigramTokenizer>(std::move(pieces), std::move(unigram), std::move(normalizer),
                                            std::move(options));
}

}  // namespace linnet::worker
