#include "worker/text/vocabulary_tokenizer.h"

#include <utility>

#include "base/status_macros.h"
#include "worker/text/hf/unicode.h"
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

bool IsSpace(std::string_view character) {
  size_t at = 0;
  return hf::IsWhitespace(hf::NextCharacter(character, at));
}

std::string_view WithoutSpaceBefore(std::string_view text) {
  while (!text.empty()) {
    const size_t bytes = Utf8CharBytes(text, 0);
    if (bytes == 0 || !IsSpace(text.substr(0, bytes))) break;
    text.remove_prefix(bytes);
  }
  return text;
}

std::string_view WithoutSpaceBehind(std::string_view text) {
  while (!text.empty()) {
    size_t begin = text.size() - 1;
    while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
    if (Utf8CharBytes(text, begin) != text.size() - begin || !IsSpace(text.substr(begin))) break;
    text.remove_suffix(text.size() - begin);
  }
  return text;
}

}  // namespace

absl::StatusOr<VocabularyTokenizer::Options> VocabularyTokenizer::OptionsFromGguf(const GgufFile& file,
                                                                                  bool add_bos_default,
                                                                                  bool add_eos_default) {
  Options options;
  LINNET_ASSIGN_OR_RETURN(options.add_bos, file.GetBoolOr("tokenizer.ggml.add_bos_token", add_bos_default));
  LINNET_ASSIGN_OR_RETURN(options.add_eos, file.GetBoolOr("tokenizer.ggml.add_eos_token", add_eos_default));
  LINNET_ASSIGN_OR_RETURN(options.added, AddedTokenRules::FromGguf(file));
  return options;
}

VocabularyTokenizer::VocabularyTokenizer(const Vocabulary& vocabulary, Options options)
    : vocabulary_(vocabulary), options_(std::move(options)) {
  for (TokenId id = 0; id < vocabulary_.size(); ++id) {
    if (vocabulary_.IsControl(id)) control_texts_.push_back(vocabulary_.text(id));
  }
}

std::vector<TokenId> VocabularyTokenizer::Encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<TokenId> out;
  if (options.add_special && options_.add_bos && bos() >= 0) out.push_back(bos());
  bool begins = true;
  std::string kept;
  const std::vector<Fragment> fragments = Partition(text, options);
  for (size_t i = 0; i < fragments.size(); ++i) {
    const Fragment& fragment = fragments[i];
    if (fragment.token >= 0) {
      out.push_back(fragment.token);
      begins = BeginsBehind(fragment.token);
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
  if (options.add_special && options_.add_eos && eos() >= 0) out.push_back(eos());
  return out;
}

bool VocabularyTokenizer::BeginsBehind(TokenId id) const {
  const auto& ids = options_.added.begins_behind;
  return ids ? AddedTokenRules::Has(*ids, id) : vocabulary_.IsControl(id);
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
      CutOut(id, text, fragment, next);
    }
    std::swap(fragments, next);
  }
  TakeSpaces(fragments);
  return fragments;
}

// Appends what becomes of a fragment of ordinary text.
void VocabularyTokenizer::CutOut(TokenId id, std::string_view text, const Fragment& fragment,
                                 std::vector<Fragment>& out) const {
  const std::string& special = vocabulary_.text(id);
  const bool alone = AddedTokenRules::Has(options_.added.single_word, id);
  const auto fragment_begin = static_cast<size_t>(fragment.text.data() - text.data());
  size_t done = 0;
  for (size_t from = 0, at; (at = fragment.text.find(special, from)) != std::string_view::npos;) {
    from = at + special.size();
    const size_t begin = fragment_begin + at, end = begin + special.size();
    if (alone && ((begin > 0 && text[begin - 1] != ' ') || (end < text.size() && text[end] != ' '))) continue;
    if (at > done) out.push_back({fragment.text.substr(done, at - done)});
    out.push_back({{}, id});
    done = from;
  }
  if (done < fragment.text.size()) out.push_back({fragment.text.substr(done)});
}

void VocabularyTokenizer::TakeSpaces(std::vector<Fragment>& fragments) const {
  const AddedTokenRules& rules = options_.added;
  if (rules.lstrip.empty() && rules.rstrip.empty()) return;
  for (size_t i = 0; i < fragments.size(); ++i) {
    const TokenId id = fragments[i].token;
    if (id < 0) continue;
    if (AddedTokenRules::Has(rules.rstrip, id) && i + 1 < fragments.size()) {
      fragments[i + 1].text = WithoutSpaceBefore(fragments[i + 1].text);
    }
    if (AddedTokenRules::Has(rules.lstrip, id) && i > 0) {
      fragments[i - 1].text = WithoutSpaceBehind(fragments[i - 1].text);
    }
  }
}

}  // namespace linnet::worker
