#include "worker/text/hf/added_tokens.h"

#include <algorithm>
#include <boost/unordered/unordered_flat_map.hpp>
#include <set>

#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/text/hf/fields.h"
#include "worker/text/hf/unicode.h"
#include "worker/text/regex.h"
#include "worker/text/utf8.h"
#include "worker/text/vocabulary.h"

namespace linnet::worker::hf {
namespace {

// Texts are looked up from each byte on: what is longer would make that slow.
constexpr size_t kMaxContentBytes = 1024;

bool IsWordCharacter(std::string_view character) {
  static const auto* word = new Regex(*Regex::Compile("[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]"));
  std::vector<Regex::Match> matches;
  word->FindAll(character, matches);
  return !matches.empty();
}

bool BeginsWithWord(std::string_view text) {
  if (text.empty()) return false;
  size_t end = 0;
  NextCharacter(text, end);
  return IsWordCharacter(text.substr(0, end));
}

bool EndsWithWord(std::string_view text) {
  if (text.empty()) return false;
  size_t begin = text.size();
  PreviousCharacter(text, begin);
  return IsWordCharacter(text.substr(begin));
}

absl::StatusOr<AddedToken> ReadOne(const nlohmann::json& json, const std::string& where) {
  LINNET_ASSIGN_OR_RETURN(Fields fields, Fields::Of(json, where));
  AddedToken token;
  LINNET_ASSIGN_OR_RETURN(const int64_t id, fields.Integer("id"));
  LINNET_ASSIGN_OR_RETURN(token.content, fields.String("content"));
  LINNET_ASSIGN_OR_RETURN(token.single_word, fields.Bool("single_word", false));
  LINNET_ASSIGN_OR_RETURN(token.lstrip, fields.Bool("lstrip", false));
  LINNET_ASSIGN_OR_RETURN(token.rstrip, fields.Bool("rstrip", false));
  LINNET_ASSIGN_OR_RETURN(token.special, fields.Bool("special", false));
  LINNET_ASSIGN_OR_RETURN(token.normalized, fields.Bool("normalized", !token.special));
  if (id < 0 || id >= static_cast<int64_t>(Vocabulary::kMaxTokens)) return fields.Error(base::StrCat("the id is ", id));
  if (token.content.empty() || token.content.size() > kMaxContentBytes) {
    return fields.Error(base::StrCat("content should have 1 to ", kMaxContentBytes, " bytes"));
  }
  token.id = static_cast<TokenId>(id);
  LINNET_RETURN_IF_ERROR(fields.Finish());
  return token;
}

}  // namespace

absl::StatusOr<std::vector<AddedToken>> ReadAddedTokens(const nlohmann::json& json,
                                                        const std::vector<std::pair<std::string, TokenId>>& model) {
  std::vector<AddedToken> tokens;
  if (json.is_null()) return tokens;
  if (!json.is_array()) return absl::InvalidArgumentError("added_tokens should be an array");
  if (json.size() > Vocabulary::kMaxTokens) return absl::InvalidArgumentError("added_tokens are too many");
  boost::unordered_flat_map<std::string_view, TokenId> by_text;
  by_text.reserve(model.size());
  for (const auto& [text, id] : model) by_text.emplace(text, id);
  auto next = static_cast<TokenId>(model.size());
  std::set<std::string> seen;
  for (size_t i = 0; i < json.size(); ++i) {
    const std::string where = base::StrCat("added_tokens[", i, "]");
    LINNET_ASSIGN_OR_RETURN(AddedToken token, ReadOne(json[i], where));
    if (!seen.insert(token.content).second) {
      return absl::InvalidArgumentError(base::StrCat(where, ": ", QuoteToken(token.content), " is there twice"));
    }
    const auto it = by_text.find(token.content);
    const TokenId expected = it != by_text.end() ? it->second : next++;
    if (token.id != expected) {
      return absl::InvalidArgumentError(base::StrCat(where, ": ", QuoteToken(token.content), " has the id ", token.id,
                                                     ", and should have ", expected));
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

AddedTokenFinder::AddedTokenFinder(const std::vector<std::pair<std::string, const AddedToken*>>& forms) {
  std::set<std::string_view> seen;
  std::vector<std::pair<std::string_view, TokenId>> texts;
  for (const auto& [form, token] : forms) {
    if (form.empty() || !seen.insert(form).second) continue;
    texts.emplace_back(form, static_cast<TokenId>(tokens_.size()));
    tokens_.push_back(token);
  }
  trie_ = PieceTrie(std::move(texts));
}

std::vector<AddedTokenFinder::Fragment> AddedTokenFinder::Find(
    std::string_view text, const std::function<bool(const AddedToken&)>& skip) const {
  std::vector<Fragment> fragments;
  size_t done = 0;
  for (size_t at = 0; at < text.size() && !trie_.empty();) {
    const PieceTrie::Found found = trie_.Longest(text.substr(at));
    if (found.id < 0) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + found.bytes;
    at = end;
    const AddedToken& token = *tokens_[static_cast<size_t>(found.id)];
    if (skip(token)) continue;
    if (token.single_word && (EndsWithWord(text.substr(0, begin)) || BeginsWithWord(text.substr(end)))) continue;
    while (token.lstrip && begin > done) {
      size_t before = begin;
      if (!IsWhitespace(PreviousCharacter(text, before))) break;
      begin = before;
    }
    begin = std::max(begin, done);
    while (token.rstrip && end < text.size()) {
      size_t behind = end;
      if (!IsWhitespace(NextCharacter(text, behind))) break;
      end = behind;
    }
    if (begin > done) fragments.push_back({done, begin});
    fragments.push_back({begin, std::max(begin, end), token.id});
    done = std::max(done, end);
  }
  if (done < text.size()) fragments.push_back({done, text.size()});
  return fragments;
}

}  // namespace linnet::worker::hf
