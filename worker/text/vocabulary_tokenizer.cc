#include "worker/text/vocabulary_tokenizer.h"

#include <utility>

#include "worker/text/utf8.h"

namespace linnet::worker {
namespace {

size_t PairAt(std::string_view text, size_t at) {
  return static_cast<size_t>(static_cast<uint8_t>(text[at])) << 8 | static_cast<uint8_t>(text[at + 1]);
}

void Without(std::string_view text, std::string_view breaker, std::string& out) {
  out.clear();
  size_t done = 0;
  for (size_t at; (at = text.find(breaker, done)) != std::string_view::npos; done = at + breaker.size()) {
    out.append(text.substr(done, at - done));
  }
  out.append(text.substr(done));
}

}  // namespace

VocabularyTokenizer::VocabularyTokenizer(const Vocabulary& vocabulary, bool add_bos, bool add_eos)
    : vocabulary_(vocabulary), add_bos_(add_bos), add_eos_(add_eos) {
  for (TokenId id = 0; id < vocabulary_.size(); ++id) {
    if (vocabulary_.IsControl(id)) control_texts_.push_back(vocabulary_.text(id));
  }
}

std::vector<TokenId> VocabularyTokenizer::Encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<TokenId> out;
  if (options.add_special && add_bos_ && bos() >= 0) out.push_back(bos());
  bool begins = true;
  std::string kept;
  const std::vector<Fragment> fragments = Partition(text, options);
  for (size_t i = 0; i < fragments.size(); ++i) {
    const Fragment& fragment = fragments[i];
    if (fragment.token >= 0) {
      out.push_back(fragment.token);
      begins = vocabulary_.IsControl(fragment.token);
      continue;
    }
    std::string_view ordinary = fragment.text;
    if (!options.breaker.empty()) {
      Without(fragment.text, options.breaker, kept);
      ordinary = kept;
    }
    if (ordinary.empty()) continue;
    EncodeOrdinary(ordinary, begins, i + 1 == fragments.size() || IsControl(fragments[i + 1].token), out);
    begins = false;
  }
  if (options.add_special && add_eos_ && eos() >= 0) out.push_back(eos());
  return out;
}

std::string_view VocabularyTokenizer::TokenBytes(TokenId id, bool special) const {
  if (!vocabulary_.contains(id) || (vocabulary_.IsControl(id) && !special)) return {};
  return BytesOfToken(id);
}

// Cuts special tokens out of the text, the longest first wherever they stand, as llama.cpp does.
std::vector<VocabularyTokenizer::Fragment> VocabularyTokenizer::Partition(std::string_view text,
                                                                          const EncodeOptions& options) const {
  std::vector<Fragment> fragments;
  if (text.empty()) return fragments;
  fragments.push_back({text});
  // Most special tokens are not in most texts: their first two bytes tell so in one pass over the text.
  std::vector<bool> pairs(1 << 16);
  for (size_t i = 0; i + 1 < text.size(); ++i) pairs[PairAt(text, i)] = true;
  std::vector<Fragment> next;
  for (TokenId id : vocabulary_.special_tokens()) {
    const std::string& special = vocabulary_.text(id);
    if (IsControl(id)) {
      if (!options.parse_special) continue;
      // A single character cannot be broken up: where that matters, it is never a control token.
      if (!options.breaker.empty() && Utf8CharBytes(special, 0) == special.size()) continue;
    }
    if (special.size() > 1 && !pairs[PairAt(special, 0)]) continue;
    if (text.find(special) == std::string_view::npos) continue;
    next.clear();
    for (const Fragment& fragment : fragments) {
      if (fragment.token >= 0) {
        next.push_back(fragment);
        continue;
      }
      size_t done = 0;
      for (size_t at; (at = fragment.text.find(special, done)) != std::string_view::npos; done = at + special.size()) {
        if (at > done) next.push_back({fragment.text.substr(done, at - done)});
        next.push_back({{}, id});
      }
      if (done < fragment.text.size()) next.push_back({fragment.text.substr(done)});
    }
    std::swap(fragments, next);
  }
  return fragments;
}

}  // namespace linnet::worker
