#include "worker/checkpoint/tiktoken_ranks.h"

#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "base/strings.h"
#include "worker/checkpoint/json_text.h"

namespace linnet::worker {
namespace {

constexpr size_t kMaxTokens = 1 << 20;
constexpr size_t kMaxTokenBytes = 1024;

using Ranks = boost::unordered_flat_map<std::string, size_t>;

// GPT-2's letters for the 256 bytes: printable ones stand for themselves, the others for U+0100 and on, in order.
std::array<std::string, 256> ByteLetters() {
  std::array<std::string, 256> letters;
  unsigned other = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
    const unsigned letter = printable ? byte : other++;
    if (letter < 0x80) {
      letters[byte] = std::string(1, static_cast<char>(letter));
    } else {
      letters[byte] = {static_cast<char>(0xC0 | (letter >> 6)), static_cast<char>(0x80 | (letter & 0x3F))};
    }
  }
  return letters;
}

std::string Spelled(std::string_view bytes) {
  static const auto* const letters = new std::array<std::string, 256>(ByteLetters());
  std::string text;
  for (const char c : bytes) text += (*letters)[static_cast<unsigned char>(c)];
  return text;
}

// The two tokens that the token is merged of: what is left of merging its bytes, best rank first, by ranks below its
// own. Fewer or more than two: it cannot be reached.
std::vector<std::string> Parts(const std::string& token, size_t rank, const Ranks& ranks) {
  std::vector<std::string> parts;
  for (const char c : token) parts.emplace_back(1, c);
  while (parts.size() > 1) {
    size_t best = rank, at = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = ranks.find(parts[i] + parts[i + 1]);
      if (found != ranks.end() && found->second < best) best = found->second, at = i;
    }
    if (best == rank) break;
    parts[at] += parts[at + 1];
    parts.erase(parts.begin() + static_cast<ptrdiff_t>(at) + 1);
  }
  return parts;
}

}  // namespace

absl::StatusOr<TiktokenRanks> ParseTiktoken(std::string_view text, const std::string& path) {
  std::vector<std::string> tokens;
  Ranks ranks;
  const auto wrong = [&](std::string_view what) {
    return CheckpointError(path, {base::StrCat("line ", tokens.size() + 1, " ", what, "; fetch the file again")});
  };
  for (std::string_view line : base::StrSplit(text, '\n')) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const std::vector<std::string_view> fields = base::StrSplit(line, ' ');
    std::string token;
    uint64_t rank = 0;
    if (fields.size() != 2 || !absl::Base64Unescape(base::ToAbsl(fields[0]), &token) ||
        !absl::SimpleAtoi(base::ToAbsl(fields[1]), &rank)) {
      return wrong("is no token in base64 with its rank");
    }
    if (token.empty() || token.size() > kMaxTokenBytes) return wrong("has a token that is empty or too long");
    if (rank != tokens.size() || rank >= kMaxTokens) return wrong("has a rank that is not the next one");
    if (!ranks.emplace(token, rank).second) return wrong("has a token that was there before");
    tokens.push_back(std::move(token));
  }
  TiktokenRanks result;
  for (size_t rank = 0; rank < tokens.size(); ++rank) {
    result.tokens.push_back(Spelled(tokens[rank]));
    if (tokens[rank].size() == 1) continue;
    const std::vector<std::string> parts = Parts(tokens[rank], rank, ranks);
    if (parts.size() == 2) result.merges.push_back(base::StrCat(Spelled(parts[0]), " ", Spelled(parts[1])));
  }
  return result;
}

}  // namespace linnet::worker
