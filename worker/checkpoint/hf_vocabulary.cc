#include "worker/checkpoint/hf_vocabulary.h"

#include "absl/strings/str_replace.h"
#include "base/strings.h"
#include "worker/checkpoint/json_text.h"

namespace linnet::worker {
namespace {

constexpr float kAddedScore = -1000;  // as llama.cpp's converter has it

// Added tokens that models use as control tokens though their files do not say so; the list is llama.cpp's.
bool LooksSpecial(std::string_view text) {
  if (text == "<pad>" || text == "<mask>" || text == "<2mass>" || text == "[@BOS@]") return true;
  if (text.starts_with("<|") && text.ends_with("|>")) return true;
  if (text.starts_with("<｜") && text.ends_with("｜>")) return true;
  return text.starts_with("<unused") && text.ends_with(">");
}

}  // namespace

int64_t HfVocabulary::CheckedId(const nlohmann::json& id, std::string_view text) {
  if (id.is_number_unsigned() && id.get<uint64_t>() < static_cast<uint64_t>(size())) return id.get<int64_t>();
  problems_.push_back(base::StrCat("token ", Quoted(text), " has the id ", id.is_number() ? id.dump() : "(none)",
                                   ", and the embeddings have ", size(), " rows"));
  return -1;
}

void HfVocabulary::Put(const nlohmann::json& id, std::string_view text, TokenKind kind) {
  const int64_t at = CheckedId(id, text);
  if (at < 0) return;
  const auto i = static_cast<size_t>(at);
  if (kinds_[i] != TokenKind{}) {
    problems_.push_back(base::StrCat("tokens ", Quoted(texts_[i]), " and ", Quoted(text), " both have the id ", at));
    return;
  }
  texts_[i] = text;
  kinds_[i] = kind;
  ids_.emplace(text, at);
}

void HfVocabulary::PutAdded(const nlohmann::json& id, std::string_view text, bool special) {
  if (id.is_number_unsigned() && id.get<uint64_t>() >= static_cast<uint64_t>(size())) {
    ++left_out_;
    return;
  }
  const int64_t at = CheckedId(id, text);
  if (at < 0) return;
  const auto i = static_cast<size_t>(at);
  if (kinds_[i] != TokenKind{} && texts_[i] != text) {
    problems_.push_back(base::StrCat("tokens ", Quoted(texts_[i]), " and ", Quoted(text), " both have the id ", at));
    return;
  }
  const bool control = special || LooksSpecial(text);
  texts_[i] = control ? std::string(text) : absl::StrReplaceAll(base::ToAbsl(text), {{"▁", " "}});
  kinds_[i] = control ? TokenKind::kControl : TokenKind::kUserDefined;
  scores_[i] = kAddedScore;
  ids_.emplace(text, at);
}

void HfVocabulary::SetScore(std::string_view text, float score) {
  if (const int64_t id = IdOf(text); id >= 0) scores_[static_cast<size_t>(id)] = score;
}

int64_t HfVocabulary::IdOf(std::string_view text) const {
  const auto it = ids_.find(text);
  return it == ids_.end() ? -1 : it->second;
}

void HfVocabulary::Write(bool with_scores, GgufMetadata& metadata) const {
  std::vector<std::string> texts = texts_;
  std::vector<int32_t> kinds;
  std::vector<float> scores = scores_;
  for (size_t i = 0; i < texts.size(); ++i) {
    const bool unused = kinds_[i] == TokenKind{};
    if (unused) {
      texts[i] = base::StrCat("[PAD", i, "]");
      scores[i] = -10000;
    }
    kinds.push_back(static_cast<int32_t>(unused ? TokenKind::kUnused : kinds_[i]));
  }
  metadata.SetStrings("tokenizer.ggml.tokens", texts);
  if (with_scores) metadata.SetF32s("tokenizer.ggml.scores", scores);
  metadata.SetI32s("tokenizer.ggml.token_type", kinds);
}

}  // namespace linnet::worker
