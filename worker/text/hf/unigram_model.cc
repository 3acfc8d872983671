// Unigram as Hugging Face's library has it.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/text/hf/fields.h"
#include "worker/text/hf/model.h"
#include "worker/text/unigram.h"

namespace linnet::worker::hf {
namespace {

// How much less than the worst piece an unknown character scores.
constexpr double kUnknownPenalty = 10;

class UnigramModel : public Model {
 public:
  explicit UnigramModel(Unigram unigram) : unigram_(std::move(unigram)) {}
  void Encode(std::string_view word, std::vector<TokenId>& out) const override { unigram_.Encode(word, out); }

 private:
  const Unigram unigram_;
};

class UnigramSource : public ModelSource {
 public:
  absl::Status Read(const nlohmann::json& json) {
    LINNET_ASSIGN_OR_RETURN(Fields fields, Fields::Of(json, "model"));
    fields.Ignore("type");
    LINNET_ASSIGN_OR_RETURN(byte_fallback_, fields.Bool("byte_fallback", false));
    LINNET_ASSIGN_OR_RETURN(const nlohmann::json* pieces, fields.Array("vocab"));
    if (pieces->empty()) return fields.Error("vocab is empty");
    if (pieces->size() > Vocabulary::kMaxTokens) {
      return fields.Error(base::StrCat(pieces->size(), " tokens are too many"));
    }
    for (size_t i = 0; i < pieces->size(); ++i) {
      const nlohmann::json& piece = (*pieces)[i];
      if (!piece.is_array() || piece.size() != 2 || !piece[0].is_string() || !piece[1].is_number() ||
          piece[0].get_ref<const std::string&>().size() > Unigram::kMaxPieceBytes) {
        return fields.Error(base::StrCat("vocab[", i, "] should be a text of at most ", Unigram::kMaxPieceBytes,
                                         " bytes and its score"));
      }
      tokens_.emplace_back(piece[0].get<std::string>(), static_cast<TokenId>(i));
      scores_.push_back(piece[1].get<double>());
    }
    if (fields.Find("unk_id") != nullptr) {
      LINNET_ASSIGN_OR_RETURN(const int64_t unknown, fields.Integer("unk_id"));
      if (unknown < 0 || unknown >= static_cast<int64_t>(tokens_.size())) {
        return fields.Error(base::StrCat("unk_id is ", unknown, ", and there are ", tokens_.size(), " tokens"));
      }
      unknown_ = static_cast<TokenId>(unknown);
    }
    return fields.Finish();
  }

  absl::StatusOr<std::unique_ptr<Model>> Make(const Vocabulary& vocabulary) const override {
    std::vector<std::pair<std::string_view, TokenId>> texts;
    for (const auto& [text, id] : tokens_) {
      if (!text.empty() && !vocabulary.IsControl(id)) texts.emplace_back(text, id);
    }
    Unigram::Options options{
        .unknown = unknown_,
        .unknown_score = *std::min_element(scores_.begin(), scores_.end()) - kUnknownPenalty,
    };
    if (byte_fallback_) options.token_of_byte = vocabulary.BytePieces();
    return std::make_unique<UnigramModel>(Unigram(std::move(texts), scores_, options));
  }

 private:
  std::vector<double> scores_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModelSource>> ReadUnigram(const nlohmann::json& json) {
  auto source = std::make_unique<UnigramSource>();
  LINNET_RETURN_IF_ERROR(source->Read(json));
  return source;
}

}  // namespace linnet::worker::hf
