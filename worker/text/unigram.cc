#include "worker/text/unigram.h"

#include <algorithm>
#include <utility>

#include "worker/text/utf8.h"

namespace linnet::worker {

Unigram::Unigram(std::vector<std::pair<std::string_view, TokenId>> pieces, std::vector<double> scores,
                 const Options& options)
    : trie_(std::move(pieces)), scores_(std::move(scores)), options_(options) {}

void Unigram::Encode(std::string_view text, std::vector<TokenId>& out) const {
  if (options_.single_precision) {
    EncodeAs<float>(text, out);
  } else {
    EncodeAs<double>(text, out);
  }
}

template <typename Score>
void Unigram::EncodeAs(std::string_view text, std::vector<TokenId>& out) const {
  constexpr TokenId kUnknown = -1;
  struct Best {  // way to cut the text up to here
    Score score = 0;
    int64_t begin = -1;  // of its last piece; -1: none yet
    TokenId id = kUnknown;
  };
  std::vector<Best> best(text.size() + 1);
  for (size_t at = 0; at < text.size();) {
    const size_t character = std::max<size_t>(Utf8CharBytes(text, at), 1);
    const Score here = best[at].score;
    const auto offer = [&](size_t bytes, TokenId id, double score) {
      Best& there = best[at + bytes];
      const Score sum = static_cast<Score>(score) + here;
      if (there.begin < 0 || sum > there.score) there = {sum, static_cast<int64_t>(at), id};
    };
    bool known = false;
    trie_.ForEachPrefix(text.substr(at), [&](size_t bytes, TokenId id) {
      known = known || bytes == character;
      offer(bytes, id, scores_[static_cast<size_t>(id)]);
    });
    if (!known) offer(character, kUnknown, options_.unknown_score);
    at += character;
  }
  std::vector<std::pair<std::string_view, TokenId>> backwards;
  for (size_t end = text.size(); end > 0;) {
    const auto begin = static_cast<size_t>(best[end].begin);
    const std::string_view piece = text.substr(begin, end - begin);
    if (best[end].id == kUnknown && !backwards.empty() && backwards.back().second == kUnknown) {
      backwards.back().first = std::string_view(piece.data(), piece.size() + backwards.back().first.size());
    } else {
      backwards.emplace_back(piece, best[end].id);
    }
    end = begin;
  }
  for (auto it = backwards.rbegin(); it != backwards.rend(); ++it) {
    if (it->second != kUnknown) {
      out.push_back(it->second);
    } else {
      AppendUnknown(it->first, out);
    }
  }
}

void Unigram::AppendUnknown(std::string_view text, std::vector<TokenId>& out) const {
  const auto token = [&](char c) { return options_.token_of_byte[static_cast<uint8_t>(c)]; };
  if (std::all_of(text.begin(), text.end(), [&](char c) { return token(c) >= 0; })) {
    for (const char c : text) out.push_back(token(c));
  } else if (options_.unknown >= 0) {
    out.push_back(options_.unknown);
  }
}

}  // namespace linnet::worker
