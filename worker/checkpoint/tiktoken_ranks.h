// A vocabulary as tiktoken keeps it: a token's bytes in base64 and its rank, a line each. Internal to
// worker/checkpoint.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace linnet::worker {

struct TiktokenRanks {
  std::vector<std::string> tokens;  // by rank; spelled as byte-level BPE spells bytes
  std::vector<std::string> merges;  // "a b", in the order of what they make
};

// INVALID_ARGUMENT INVALID_MODEL_FILE, naming `path` and the line: no such file, ranks that are not 0, 1, 2, ..., a
// token twice.
absl::StatusOr<TiktokenRanks> ParseTiktoken(std::string_view text, const std::string& path);

}  // namespace linnet::worker
